"""What a client is told by a layer that has not authenticated it: in the words of the one that does (BRR-4, BRR-7)."""

import pytest

from secure_asgi import Denial, Principal, Reason
from secure_asgi._challengers import insufficient_authentication, insufficient_scope, unauthenticated
from secure_asgi.exchange import Exchange

from . import asgi


class Says:
    """A challenger of one method; its refusals name it."""

    def __init__(self, *methods, field=b"www-authenticate"):
        self.methods = frozenset(methods)
        self.missing = Denial(
            Reason.TOKEN_MISSING, 401, methods[0], headers=((field, methods[0].encode()), (b"x-common", b"1"))
        )

    def insufficient_scope(self, scopes, note, scheme):
        return Denial("acme.scope", 403, f"{scheme} {sorted(scopes)}", note=note)

    def insufficient_authentication(self, acr_values, max_age, note, scheme):
        return Denial("acme.sign_in", 401, f"{scheme} {acr_values} {max_age}", note=note)


def exchange(*challengers, method=None):
    made = Exchange(asgi.http_scope())
    made.challengers = challengers
    made.principal = None if method is None else Principal(subject="ann", method=method)
    return made


TOKENS, KEYS = Says("bearer", "dpop"), Says("api-key")


def test_who_is_not_known_is_told_every_way():
    denial = unauthenticated(exchange(TOKENS, KEYS), "note")
    assert (denial.reason, denial.status, denial.detail, denial.note) == ("principal_missing", 401, "bearer", "note")
    assert denial.headers == (
        (b"www-authenticate", b"bearer"),
        (b"x-common", b"1"),
        (b"www-authenticate", b"api-key"),
    )
    assert unauthenticated(exchange(), "").status == 403


WHO = {
    "by a token": ("dpop", "acme.scope", "dpop ['a']"),
    "by a key": ("api-key", "acme.scope", "api-key ['a']"),
    "by a certificate": ("mtls", "scope_insufficient", "This is not allowed."),
    "nobody": (None, "scope_insufficient", "This is not allowed."),
}


@pytest.mark.parametrize("who", WHO.values(), ids=WHO)
def test_who_has_not_proven_enough_is_told_by_whom_it_is_known(who):
    method, reason, detail = who
    asked = exchange(TOKENS, KEYS, method=method)
    denial = insufficient_scope(asked, {"a"}, "note")
    assert (denial.reason, denial.detail, denial.note) == (reason, detail, "note")
    sign_in = insufficient_authentication(asked, ("gold",), 60, "note")
    assert (sign_in.status, sign_in.note) == (401 if reason == "acme.scope" else 403, "note")
