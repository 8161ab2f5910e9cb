"""What a client is told that is not known, or that has not proven enough: in the words of who authenticates it here.

The layers that authenticate leave a ``Challenger`` in the exchange; whoever asks for more further in refuses by it.
"""

from collections.abc import Iterable

from .denial import Denial, Reason
from .exchange import Challenger, Exchange


def unauthenticated(exchange: Exchange, note: str) -> Denial:
    """401 with the challenges of all that could have authenticated the client (RFC 9110 section 15.5.2).

    403 where nobody could have: a 401 must name a way, and there is none.
    """
    challengers = exchange.challengers
    if not challengers:
        return forbidden(Reason.PRINCIPAL_MISSING, note)
    # One field may stand once only, such as Access-Control-Expose-Headers; dict keeps the order of the layers.
    headers = tuple(dict.fromkeys(field for challenger in challengers for field in challenger.missing.headers))
    return Denial(Reason.PRINCIPAL_MISSING, 401, challengers[0].missing.detail, headers=headers, note=note)


def insufficient_scope(exchange: Exchange, scopes: Iterable[str], note: str) -> Denial:
    """403, with the ``scopes`` that are needed where the client's scheme has a way to say so (RFC 6750 section 3.1)."""
    challenger, scheme = _own_challenger(exchange)
    if challenger is None:
        return forbidden(Reason.SCOPE_INSUFFICIENT, note)
    return challenger.insufficient_scope(scopes, note, scheme)


def insufficient_authentication(
    exchange: Exchange, acr_values: Iterable[str], max_age: float | None, note: str
) -> Denial:
    """401 with the step-up challenge (RFC 9470 section 3); 403 for a client that cannot sign in otherwise."""
    challenger, scheme = _own_challenger(exchange)
    if challenger is None:
        return forbidden(Reason.AUTHENTICATION_INSUFFICIENT, note)
    return challenger.insufficient_authentication(acr_values, max_age, note, scheme)


def forbidden(reason: str, note: str) -> Denial:
    """403: one answer for every refusal that the client can do nothing about."""
    return Denial(reason, 403, "This is not allowed.", note=note)


def _own_challenger(exchange: Exchange) -> tuple[Challenger | None, str]:
    """That of the layer which has authenticated the client."""
    principal = exchange.principal
    if principal is not None:
        for challenger in exchange.challengers:
            if principal.method in challenger.methods:
                return challenger, principal.method
    return None, ""
