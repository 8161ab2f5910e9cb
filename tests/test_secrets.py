"""``Secret``: used by whoever asks for it by name, and shown nowhere else."""

import copy
import dataclasses
import json
import logging
import pickle
import traceback

import pytest

from secure_asgi.errors import ConfigurationError
from secure_asgi.secrets import Secret

TEXT = "correct horse battery staple"


@dataclasses.dataclass
class Options:
    secret: Secret


SHOWN = {
    "repr": (repr, "Secret(***)"),
    "str": (str, "***"),
    "format": (format, "***"),
    "format with a width": (lambda secret: format(secret, ">40"), "***"),
    "f-string": (lambda secret: f"{secret}", "***"),
    "f-string with !r": (lambda secret: f"{secret!r}", "Secret(***)"),
    "f-string with =": (lambda secret: f"{secret=}", "secret=Secret(***)"),
    # The older ways are what is tested here.
    "percent s": (lambda secret: "%s" % secret, "***"),  # noqa: UP031 -- this is what is tested
    "percent r": (lambda secret: "%r" % secret, "Secret(***)"),  # noqa: UP031 -- this is what is tested
    "in a list": (lambda secret: str([secret]), "[Secret(***)]"),
    "in a dataclass": (lambda secret: repr(Options(secret)), "Options(secret=Secret(***))"),
    "json by str": (lambda secret: json.dumps([secret], default=str), '["***"]'),
}


@pytest.mark.parametrize(("show", "shown"), SHOWN.values(), ids=SHOWN)
def test_showing_it_shows_stars(show, shown):
    assert show(Secret(TEXT)) == shown


REFUSED = {
    **{f"pickle {protocol}": lambda secret, protocol=protocol: pickle.dumps(secret, protocol) for protocol in range(6)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy of what holds it": lambda secret: copy.deepcopy([secret]),
    "a dataclass as a dict": lambda secret: dataclasses.asdict(Options(secret)),
    "json": json.dumps,
    "bytes": bytes,
    "vars": vars,
    "joining": lambda secret: "".join([secret]),
    "adding": lambda secret: "x" + secret,
    "iterating": list,
    "length": len,
}


@pytest.mark.parametrize("take", REFUSED.values(), ids=REFUSED)
def test_what_would_make_another_of_it_is_refused(take):
    with pytest.raises(TypeError) as raised:
        take(Secret(TEXT))
    assert TEXT not in "".join(traceback.format_exception(raised.value))


def test_a_log_record_shows_stars(caplog):
    logging.getLogger("test").warning("with %s and %r", Secret(TEXT), Secret(TEXT))
    assert caplog.messages == ["with *** and Secret(***)"]


def test_it_is_given_to_who_asks_by_name():
    assert Secret(TEXT).reveal() == TEXT


def test_it_equals_nothing_that_can_be_guessed():
    assert Secret(TEXT) != TEXT
    assert Secret(TEXT) != Secret(TEXT)


@pytest.mark.parametrize("text", ["", None, b"octets", 7, Secret(TEXT)], ids=repr)
def test_what_is_no_text_is_refused_without_being_shown(text):
    with pytest.raises(ConfigurationError, match=r"^a Secret is made of text that is not empty, got \w+$"):
        Secret(text)
