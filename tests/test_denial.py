"""A refusal as a value: the document it becomes, and the code that closes a WebSocket."""

import http
from dataclasses import FrozenInstanceError

import pytest

from secure_asgi import Denial, Reason, Reply
from secure_asgi.denial import TITLES

from . import asgi

DOCUMENTS = [
    ("the least", Denial("x.y", 403), {"type": "about:blank", "title": "Forbidden", "status": 403, "request_id": "id"}),
    (
        "a detail",
        Denial("x.y", 401, "Say who you are."),
        {
            "type": "about:blank",
            "title": "Unauthorized",
            "status": 401,
            "detail": "Say who you are.",
            "request_id": "id",
        },
    ),
    (
        "a type and a title",
        Denial("x.y", 429, type="https://example.com/quota", title="Quota"),
        {"type": "https://example.com/quota", "title": "Quota", "status": 429, "request_id": "id"},
    ),
    (
        "an error id",
        Denial("x.y", 500, error_id="e"),
        {
            "type": "about:blank",
            "title": "Internal Server Error",
            "status": 500,
            "instance": "urn:uuid:e",
            "request_id": "id",
        },
    ),
    (
        "members",
        Denial("x.y", 422, members={"errors": [1]}),
        {"type": "about:blank", "title": "Unprocessable Content", "status": 422, "request_id": "id", "errors": [1]},
    ),
    (
        "a status without a name",
        Denial("x.y", 499),
        {"type": "about:blank", "title": "Error", "status": 499, "request_id": "id"},
    ),
]


@pytest.mark.parametrize(("denial", "document"), [row[1:] for row in DOCUMENTS], ids=[row[0] for row in DOCUMENTS])
def test_problem_documents(denial, document):
    """RFC 9457 section 3.1, in this order; section 4.2.1: with ``about:blank`` the title is the status phrase."""
    problem = denial.problem("id")
    assert problem == document
    assert list(problem) == list(document)


CODES = [
    (400, 0, 1008),
    (401, 0, 1008),
    (403, 0, 1008),
    (429, 0, 1008),
    (500, 0, 1011),
    (503, 0, 1013),
    (504, 0, 1011),
    (503, 4503, 4503),
]


@pytest.mark.parametrize(("status", "own", "code"), CODES)
def test_close_codes(status, own, code):
    """ASGI-10: 1008 policy, 1013 try again later, 1011 internal; or the denial's own."""
    assert Denial("x.y", status, close_code=own).websocket_code == code


@pytest.mark.parametrize("status", sorted(TITLES))
def test_titles_are_the_registered_phrases(status):
    """RFC 9110 section 15; the standard library had older phrases for some of them before Python 3.13."""
    renamed = {
        413: "Content Too Large",
        414: "URI Too Long",
        416: "Range Not Satisfiable",
        422: "Unprocessable Content",
    }
    assert TITLES[status] == renamed.get(status, http.HTTPStatus(status).phrase)


def test_reasons_are_stable_words():
    """“ours are the closed `Reason` StrEnum; foreign layers use codes with a dot”"""
    assert all(reason.value == reason.name.lower() and "." not in reason for reason in Reason)
    assert len({reason.value for reason in Reason}) == len(Reason)
    assert f"{Reason.INTERNAL_ERROR}" == "internal_error"


def test_values_do_not_change():
    for value in (Denial("x.y", 403), Reply(asgi.hello)):
        with pytest.raises(FrozenInstanceError):
            value.reason = "z"


def test_neither_the_reason_nor_the_note_is_told():
    """“a private note for the audit log only”; the reason is for the audit log too."""
    document = str(Denial("x.reason", 403, note="secret").problem("id"))
    assert "x.reason" not in document
    assert "secret" not in document
