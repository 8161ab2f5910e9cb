"""What clients are told: the challenges of RFC 6750, RFC 9449, RFC 9470 and RFC 9728, octet for octet."""

import re
from math import inf, nan

import pytest
from starlette.middleware.cors import CORSMiddleware

from secure_asgi import ConfigurationError, Denial, Reason
from secure_asgi.bearer.challenge import (
    MALFORMED,
    Challenges,
    credentials_of,
    is_bearer,
    unavailable,
)
from secure_asgi.bearer.keys import ASYMMETRIC
from secure_asgi.flow import Layer

from . import asgi

METADATA = "https://api.example.com/.well-known/oauth-protected-resource"
BEARER = 'Bearer realm="api"'
DPOP = 'DPoP realm="api", algs="ES256 Ed25519"'
PLAIN = Challenges("api")
BOTH = Challenges("api", dpop=("Ed25519", "ES256"))
ONLY_DPOP = Challenges("api", dpop=["ES256", "Ed25519"], bearer=False)
DESCRIBED = Challenges("api", dpop=["ES256", "Ed25519"], resource_metadata=METADATA)

# --- what was sent -------------------------------------------------------------------------------------------------

CREDENTIALS = {
    "bearer": (b"Bearer abc", ("bearer", b"abc")),
    "DPoP": (b"DPoP abc", ("dpop", b"abc")),
    "any case": (b"bEARER abc", ("bearer", b"abc")),
    "any case of DPoP": (b"dpop abc", ("dpop", b"abc")),
    "several spaces": (b"DPoP   abc", ("dpop", b"abc")),
    "all of token68": (b"DPoP aZ09-._~+/==", ("dpop", b"aZ09-._~+/==")),
    "no space": (b"DPoP", ("dpop", MALFORMED)),
    "nothing after it": (b"Bearer ", ("bearer", MALFORMED)),
    "only padding": (b"DPoP ==", ("dpop", MALFORMED)),
    "a tab": (b"DPoP\tabc", ("dpop", MALFORMED)),
    "a tab after the space": (b"Bearer \tabc", ("bearer", MALFORMED)),
    "padding inside": (b"DPoP a=b", ("dpop", MALFORMED)),
    "two tokens": (b"DPoP abc def", ("dpop", MALFORMED)),
    "a blank at the end": (b"Bearer abc ", ("bearer", MALFORMED)),
    "a parameter": (b'DPoP token="abc"', ("dpop", MALFORMED)),
    "both schemes": (b"DPoP abc, Bearer def", ("dpop", MALFORMED)),
    "a colon": (b"Bearer: abc", ("bearer", MALFORMED)),
    "no ASCII": (b"Bearer ab\xe9", ("bearer", MALFORMED)),
    "another scheme": (b"Basic abc", None),
    "a longer name": (b"DPoPx abc", None),
    "a longer name with a hyphen": (b"Bearer-Token abc", None),
    "a blank before it": (b" DPoP abc", None),
    "nothing": (b"", None),
}


@pytest.mark.parametrize(("field", "found"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_credentials(field, found):
    """BRR-1, DPOP-10."""
    assert credentials_of(field) == found
    is_ours = found is not None and found[0] == "bearer"
    assert is_bearer(field) is is_ours


# --- what is told --------------------------------------------------------------------------------------------------


def challenges_of(denial):
    return [value.decode("ascii") for name, value in denial.headers if name == b"www-authenticate"]


REQUEST = ', error="invalid_request", error_description="more than one Authorization field"'
NO_BEARER = ', error="invalid_request", error_description="not one bearer token"'
NO_DPOP = ', error="invalid_request", error_description="not one DPoP-bound token"'
TOKEN = ', error="invalid_token", error_description="the access token is not valid here"'
PROOF = ', error="invalid_dpop_proof", error_description="the DPoP proof is not valid here"'
NONCE = ', error="use_dpop_nonce", error_description="the DPoP proof needs the nonce in DPoP-Nonce"'
SCOPE = ', error="insufficient_scope", error_description="the access token lacks a scope that this needs"'
USER = ', error="insufficient_user_authentication", error_description="a stronger or more recent sign-in is needed"'

TOLD = {
    "no token": (PLAIN.missing, 401, "token_missing", [BEARER]),
    "no token, both schemes": (BOTH.missing, 401, "token_missing", [BEARER, DPOP]),
    "no token, DPoP alone": (ONLY_DPOP.missing, 401, "token_missing", [DPOP]),
    "two fields": (PLAIN.ambiguous, 400, "credentials_ambiguous", [BEARER + REQUEST]),
    "two fields, both schemes": (BOTH.ambiguous, 400, "credentials_ambiguous", [BEARER + REQUEST, DPOP + REQUEST]),
    "two fields, DPoP alone": (ONLY_DPOP.ambiguous, 400, "credentials_ambiguous", [DPOP + REQUEST]),
    "malformed": (PLAIN.malformed, 400, "credentials_malformed", [BEARER + NO_BEARER]),
    "malformed, both schemes": (BOTH.malformed, 400, "credentials_malformed", [BEARER + NO_BEARER, DPOP]),
    "malformed Bearer, DPoP alone": (ONLY_DPOP.malformed, 400, "credentials_malformed", [DPOP]),
    "malformed DPoP": (BOTH.malformed_dpop, 400, "credentials_malformed", [BEARER, DPOP + NO_DPOP]),
    "one field, one token too many": (
        BOTH.not_one_token(b"Bearer abc def"),
        400,
        "credentials_malformed",
        [BEARER + NO_BEARER, DPOP],
    ),
    "one field, no DPoP-bound token": (
        BOTH.not_one_token(b"dpop "),
        400,
        "credentials_malformed",
        [BEARER, DPOP + NO_DPOP],
    ),
    "two fields joined": (
        BOTH.not_one_token(b"DPoP abc,bearer def"),
        400,
        "credentials_ambiguous",
        [BEARER + REQUEST, DPOP + REQUEST],
    ),
    "a comma alone joins nothing": (
        PLAIN.not_one_token(b"Bearer abc, dpopx"),
        400,
        "credentials_malformed",
        [BEARER + NO_BEARER],
    ),
    "a bad token": (PLAIN.invalid("token_expired", ""), 401, "token_expired", [BEARER + TOKEN]),
    "a bad token, both schemes": (BOTH.invalid("token_expired", ""), 401, "token_expired", [BEARER + TOKEN, DPOP]),
    "a bad DPoP-bound token": (
        BOTH.invalid("token_expired", "", "dpop"),
        401,
        "token_expired",
        [BEARER, DPOP + TOKEN],
    ),
    "a Bearer token, DPoP alone": (ONLY_DPOP.invalid("token_expired", ""), 401, "token_expired", [DPOP]),
    "a bad proof": (
        BOTH.invalid_proof("dpop_proof_replayed", ""),
        401,
        "dpop_proof_replayed",
        [BEARER, DPOP + PROOF],
    ),
    "no nonce": (BOTH.use_nonce("n-1", ""), 401, "dpop_nonce_required", [BEARER, DPOP + NONCE]),
    "scope": (
        PLAIN.insufficient_scope(["orders:write", "orders:read", "orders:read"], ""),
        403,
        "scope_insufficient",
        [BEARER + SCOPE + ', scope="orders:read orders:write"'],
    ),
    "scope of a set, by DPoP": (
        BOTH.insufficient_scope(set("hgfedcba"), "", "dpop"),
        403,
        "scope_insufficient",
        [BEARER, DPOP + SCOPE + ', scope="a b c d e f g h"'],
    ),
    "one scope": (
        PLAIN.insufficient_scope("orders", ""),
        403,
        "scope_insufficient",
        [BEARER + SCOPE + ', scope="orders"'],
    ),
    "no scope that can be named": (
        PLAIN.insufficient_scope(['"', "a b", "\\", "é", "\r\n", ""], ""),
        403,
        "scope_insufficient",
        [BEARER + SCOPE],
    ),
    "step-up": (
        PLAIN.insufficient_authentication(["urn:mfa", "urn:aal1", "urn:mfa", 'x", y="'], 300, ""),
        401,
        "authentication_insufficient",
        [BEARER + USER + ', acr_values="urn:mfa urn:aal1", max_age="300"'],
    ),
    "step-up by DPoP, one acr": (
        BOTH.insufficient_authentication("urn:mfa", None, "", "dpop"),
        401,
        "authentication_insufficient",
        [BEARER, DPOP + USER + ', acr_values="urn:mfa"'],
    ),
    "step-up, at once": (
        PLAIN.insufficient_authentication((), 0, ""),
        401,
        "authentication_insufficient",
        [BEARER + USER + ', max_age="0"'],
    ),
}
for odd in (-1, nan, inf):
    TOLD[f"step-up, an age of {odd}"] = (
        PLAIN.insufficient_authentication((), odd, ""),
        401,
        "authentication_insufficient",
        [BEARER + USER],
    )


@pytest.mark.parametrize(("denial", "status", "reason", "challenges"), TOLD.values(), ids=TOLD)
def test_what_is_told(denial, status, reason, challenges):
    """BRR-4 to BRR-7, DPOP-11 to DPOP-13, STEP-1: the error is in the challenge of the scheme that was used."""
    assert denial.status == status
    assert denial.reason == reason
    assert denial.reason in set(Reason)
    assert challenges_of(denial) == challenges


@pytest.mark.parametrize("denial", [denial for denial, *_ in TOLD.values()], ids=TOLD)
def test_every_challenge_keeps_to_the_grammar(denial):
    """BRR-4, BRR-5: each parameter once, at least one, no octet that ends a quoted string."""
    for challenge in challenges_of(denial):
        scheme, parameters = challenge.split(" ", 1)
        assert scheme in ("Bearer", "DPoP")
        assert re.fullmatch(r'(\w+="[ !#-\[\]-~]+"(, |$))+', parameters)
        names = re.findall(r'(\w+)="', parameters)
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "denial",
    [
        PLAIN.invalid("token_expired", "why"),
        BOTH.invalid_proof("dpop_proof_invalid", "why"),
        BOTH.use_nonce("n", "why"),
        PLAIN.insufficient_scope("orders", "why"),
        PLAIN.insufficient_authentication("urn:mfa", 300, "why"),
        unavailable(1, "why"),
    ],
    ids=["token", "proof", "nonce", "scope", "step-up", "outage"],
)
def test_the_note_is_for_the_audit_log_alone(denial):
    assert denial.note == "why"
    assert "why" not in str(denial.problem("id"))
    assert b"why" not in b"".join(value for _, value in denial.headers)


def test_one_answer_for_every_bad_token():
    """BRR-6."""
    one, other = BOTH.invalid("token_expired", "", "dpop"), BOTH.invalid("token_key_unknown", "", "dpop")
    assert one.headers is other.headers
    assert one.problem("id") == other.problem("id")


def test_where_the_metadata_is():
    """META-5: on every challenge."""
    bearer = f'Bearer realm="api", resource_metadata="{METADATA}"'
    dpop = f'DPoP realm="api", resource_metadata="{METADATA}", algs="ES256 Ed25519"'
    assert challenges_of(DESCRIBED.missing) == [bearer, dpop]
    assert challenges_of(DESCRIBED.invalid("token_expired", "")) == [bearer + TOKEN, dpop]
    assert challenges_of(DESCRIBED.insufficient_scope("a", "", "dpop")) == [bearer, dpop + SCOPE + ', scope="a"']


def test_the_nonce_goes_out_beside_the_challenge():
    """DPOP-12."""
    assert dict(BOTH.use_nonce("n-1.x", "").headers)[b"dpop-nonce"] == b"n-1.x"


# --- scripts of other origins --------------------------------------------------------------------------------------


class Refuse(Layer):
    """Refuses everything."""

    def __init__(self, app, denial):
        super().__init__(app)
        self.denial = denial

    def on_request(self, exchange, scope):
        return self.denial


EXPOSED = {
    "no CORS layer": ({}, None, "WWW-Authenticate, DPoP-Nonce"),
    "a CORS layer without a list": ({"allow_origins": ["https://app.example"]}, True, "WWW-Authenticate, DPoP-Nonce"),
    "a CORS layer with a list": (
        {"allow_origins": ["https://app.example"], "expose_headers": ["X-Own"]},
        True,
        "X-Own",
    ),
    "an origin that is not allowed": (
        {"allow_origins": ["https://other.example"]},
        False,
        "WWW-Authenticate, DPoP-Nonce",
    ),
}


@pytest.mark.parametrize(("options", "is_allowed", "names"), EXPOSED.values(), ids=EXPOSED)
def test_scripts_may_read_the_challenge_where_cors_lets_them_in(options, is_allowed, names):
    """DPOP-13: one list, and no access by it."""
    app = Refuse(asgi.hello, BOTH.use_nonce("n-1", ""))
    app = CORSMiddleware(app, **options) if options else app
    lines = asgi.http(app, headers={"origin": "https://app.example"}).lines
    assert [value for name, value in lines if name == "access-control-expose-headers"] == [names]
    assert ("access-control-allow-origin" in dict(lines)) is bool(is_allowed)
    assert [value for name, value in lines if name == "www-authenticate"] == [BEARER, DPOP + NONCE]
    assert dict(lines)["cache-control"] == "no-store"


def test_without_dpop_there_is_no_nonce_to_read():
    assert PLAIN.missing.headers[-1] == (b"access-control-expose-headers", b"WWW-Authenticate")


# --- outage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait", "seconds"), [(5, b"5"), (1.2, b"2"), (0, b"1"), (-3, b"1"), (inf, b"3600"), (nan, b"1")]
)
def test_an_outage_is_no_verdict(wait, seconds):
    """BRR-8."""
    denial = unavailable(wait, "")
    assert (denial.status, denial.reason) == (503, Reason.KEYS_UNAVAILABLE)
    assert denial.headers == ((b"retry-after", seconds),)
    assert unavailable(wait, "", Reason.TOKEN_STATUS_UNKNOWN).reason == "token_status_unknown"
    assert isinstance(denial, Denial)


# --- options -------------------------------------------------------------------------------------------------------

WRONG = {
    "realm with a quote": ({"realm": 'a"'}, "realm= is printable ASCII"),
    "realm with a backslash": ({"realm": "a\\"}, "realm= is printable ASCII"),
    "realm empty": ({"realm": ""}, "realm= is printable ASCII"),
    "realm None": ({"realm": None}, "realm= is printable ASCII"),
    "bearer no flag": ({"bearer": 1}, "bearer= is True or False, got 1"),
    "no scheme at all": ({"bearer": False}, "leaves no scheme"),
    "dpop none": ({"dpop": ["none"]}, "dpop= takes some of RS256"),
    "dpop symmetric": ({"dpop": "HS256"}, "dpop= takes some of RS256"),
    "metadata over http": ({"resource_metadata": "http://api.example.com/m"}, "resource_metadata= is an https URL"),
    "metadata with a quote": ({"resource_metadata": METADATA + '"'}, "resource_metadata= is an https URL"),
    "metadata no text": ({"resource_metadata": 7}, "resource_metadata= is an https URL"),
}


@pytest.mark.parametrize(("options", "says"), WRONG.values(), ids=WRONG)
def test_wrong_options(options, says):
    with pytest.raises(ConfigurationError, match=says):
        Challenges(**{"realm": "api", **options})


def test_one_algorithm_as_a_text():
    assert challenges_of(Challenges("api", dpop="ES256").missing)[1] == 'DPoP realm="api", algs="ES256"'


def test_algorithms_of_a_set_come_in_one_order():
    challenge = challenges_of(Challenges("api", dpop=frozenset(ASYMMETRIC)).missing)[1]
    assert challenge == f'DPoP realm="api", algs="{" ".join(sorted(ASYMMETRIC))}"'
