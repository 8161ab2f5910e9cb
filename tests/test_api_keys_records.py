"""Records, how keys are made and rotated; and the stores in memory and in a file."""

import asyncio
import json
import logging
import re
import threading
import time
from types import SimpleNamespace

import pytest

from secure_asgi import ConfigurationError, Secret
from secure_asgi.api_keys import (
    APIKeyMiddleware,
    FileKeys,
    KeyRecord,
    KeysUnavailableError,
    MemoryKeys,
    create_key,
    records,
    rotate,
    stores,
)
from secure_asgi.api_keys.text import id_of

from . import asgi

SCANNERS = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}")
NEW = create_key(client="shop", prefix="shop_live", scopes="a", claims={"tenant": ["t"]}, note="till 1")


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(now=1_790_000_000.0)
    monkeypatch.setattr(records, "time", SimpleNamespace(time=lambda: now.now))
    return now


def test_the_form():
    """ASVS 11.5.1; and what scanners look for."""
    keys = [create_key(client="shop", prefix="shop_live") for _ in range(200)]
    texts = [new.key.reveal() for new in keys]
    assert all(SCANNERS.fullmatch(one) for one in texts)
    assert [id_of(one.encode()) for one in texts] == [new.record.id for new in keys]
    assert len(set(texts)) == len({new.record.id for new in keys}) == 200
    assert 62**43 >= 2**256


def test_there_and_back():
    assert KeyRecord.from_json(json.loads(json.dumps(NEW.record.to_json()))) == NEW.record
    assert hash(NEW.record) == hash(KeyRecord.from_json(NEW.record.to_json()))


def test_claims_are_our_own():
    claims = {"tenant": ["t"]}
    record = create_key(client="shop", claims=claims).record
    claims["tenant"].append("u")
    assert record.claims == {"tenant": ["t"]}
    with pytest.raises(TypeError):
        record.claims["tenant"] = "u"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("id", "short"),
        ("id", 7),
        ("digest", "sha256:" + "A" * 64),
        ("digest", "md5:" + "a" * 32),
        ("digest", None),
        ("client", ""),
        ("client", 7),
        ("scopes", 7),
        ("scopes", ["two words"]),
        ("scopes", [7]),
        ("roles", ""),
        ("claims", []),
        ("claims", {1: 2}),
        ("claims", {"a": object()}),
        ("claims", {"a": float("nan")}),
        ("created", None),
        ("created", True),
        ("created", "now"),
        ("expires", float("inf")),
        ("expires", -1),
        ("not_before", "now"),
        ("prefix", "Key"),
        ("prefix", "_key"),
        ("prefix", "k" * 33),
        ("prefix", "a__b"),
        ("prefix", ""),
        ("prefix", 7),
        ("note", None),
    ],
)
def test_what_is_no_record(member, value):
    with pytest.raises(ConfigurationError) as refused:
        KeyRecord(**{**NEW.record.to_json(), member: value})
    assert NEW.record.digest not in str(refused.value)


@pytest.mark.parametrize(
    "document",
    [[], None, {}, {"id": "a"}, {**NEW.record.to_json(), "networks": ["10.0.0.0/8"]}],
    ids=["a list", "null", "empty", "incomplete", "an unknown member, which may restrict it"],
)
def test_what_is_no_document(document):
    with pytest.raises(ConfigurationError):
        KeyRecord.from_json(document)


@pytest.mark.parametrize(
    ("expires", "overlap", "given", "new_expires", "old_expires"),
    [
        (None, 60, {}, None, 160),
        (None, 0, {}, None, 100),
        (1000, 60, {}, 1100, 160),
        (120, 60, {}, 220, 120),
        (50, 60, {}, 150, 50),
        (1000, 60, {"expires": None}, None, 160),
        (1000, 60, {"expires": 700}, 700, 160),
    ],
    ids=["for ever", "at once", "as long as before", "the old one ends before", "has ended", "none", "given"],
)
def test_rotation(clock, expires, overlap, given, new_expires, old_expires):
    """ASVS 13.3.4. Seconds after the creation; a hundred have passed."""
    began = clock.now

    def at(seconds):
        return None if seconds is None else began + seconds

    kept = {"client": "shop", "prefix": "sk", "scopes": "a", "roles": "r", "claims": {"t": 1}, "note": "n"}
    record = create_key(**kept, expires=at(expires))
    clock.now += 100
    options = {name: at(value) for name, value in given.items()}
    new, old = rotate(record.record, overlap=overlap, **options)
    assert (new.record.expires, old.expires) == (at(new_expires), at(old_expires))
    assert (old.id, old.digest) == (record.record.id, record.record.digest)
    assert new.record.id != old.id
    for name in kept:
        assert getattr(new.record, name) == getattr(old, name)
    assert new.record.created == clock.now


@pytest.mark.parametrize("overlap", [-1, True, None, float("inf"), float("nan")])
def test_no_overlap(overlap):
    with pytest.raises(ConfigurationError, match="overlap="):
        rotate(NEW.record, overlap=overlap)


def test_both_keys_pass_while_they_overlap():
    store = MemoryKeys(NEW.record)
    layer = APIKeyMiddleware(asgi.hello, keys=store)
    new, old = rotate(NEW.record, overlap=60)
    store.add(new.record)
    store.add(old)

    def ask(key):
        return asgi.http(layer, headers={"x-api-key": key.key.reveal()}).status

    assert (ask(NEW), ask(new)) == (200, 200)
    layer._clock = lambda: time.time() + 61
    assert (ask(NEW), ask(new)) == (401, 200)
    assert store.remove(new.record.id)
    assert ask(new) == 401


# --- in memory, and what both stores do ----------------------------------------------------------------------------


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path):
    return MemoryKeys() if request.param == "memory" else FileKeys(tmp_path / "keys.json")


def test_add_list_remove(store):
    mine = [create_key(client="shop").record for _ in range(2)]
    other = create_key(client="bank").record
    for record in (*mine, other):
        store.add(record)
    assert set(store.list()) == {*mine, other}
    assert list(store.list()) == sorted(store.list(), key=lambda record: (record.created, record.id))
    assert store.list(client="bank") == (other,)
    ended = KeyRecord(**{**other.to_json(), "expires": 1})
    store.add(ended)
    assert store.list(client="bank") == (ended,)
    assert store.remove(other.id) is True
    assert store.remove(other.id) is False
    assert set(store.list()) == set(mine)
    with pytest.raises(ConfigurationError, match="KeyRecord"):
        store.add(NEW)


# --- in a file -----------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "keys.json"
    FileKeys(path).add(NEW.record)
    return path


@pytest.fixture
def opened(file):
    keys = FileKeys(file)
    asyncio.run(keys.open())
    return keys


def look(keys, key_id=NEW.record.id):
    """Ask with a look due, and let the thread that reads come to its end."""
    keys._watched._next_look = 0.0
    keys.find(key_id)
    for thread in threading.enumerate():
        if thread.name == "secure_asgi api keys":
            thread.join()
    return keys.find(key_id)


def write(file, *new, also=None):
    file.write_text(json.dumps({"keys": [one.record.to_json() for one in new], **(also or {})}))


def test_a_new_file_is_its_owners_alone(file):
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    FileKeys(file).remove(NEW.record.id)
    assert file.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in file.parent.iterdir()) == ["keys.json", "keys.json.lock"]


def test_a_link_stays_one(file):
    link = file.with_name("link.json")
    link.symlink_to(file)
    FileKeys(link).remove(NEW.record.id)
    assert link.is_symlink()
    assert FileKeys(file).list() == ()


def test_a_write_that_fails_leaves_the_file(file, monkeypatch):
    monkeypatch.setattr(stores.os, "fsync", lambda handle: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        FileKeys(file).remove(NEW.record.id)
    assert FileKeys(file).list() == (NEW.record,)
    assert sorted(path.name for path in file.parent.iterdir()) == ["keys.json", "keys.json.lock"]


def test_two_writers_lose_nothing(file):
    added = [create_key(client="shop").record for _ in range(20)]
    threads = [
        threading.Thread(target=lambda half=half: [FileKeys(file).add(one) for one in half])
        for half in (added[:10], added[10:])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(FileKeys(file).list()) == {NEW.record, *added}


def test_a_replaced_file_is_read_beside_the_requests(opened, file):
    other = create_key(client="bank")
    write(file, other)
    assert opened.find(NEW.record.id) == NEW.record, "no look is due"
    assert look(opened) is None
    assert opened.find(other.record.id) == other.record


def test_one_thread_reads_at_a_time(opened, file, monkeypatch):
    gate, reads = threading.Event(), []
    monkeypatch.setattr(FileKeys, "_read", lambda self: (reads.append(1), gate.wait(10), {})[2])
    write(file)
    for _ in range(3):
        opened._watched._next_look = 0.0
        assert opened.find(NEW.record.id) == NEW.record, "meanwhile as before"
    gate.set()
    assert look(opened) is None
    assert reads == [1]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"keys": 7}', '{"keys": [7]}', '{"keys": [{}]}', "twice", "\xff", "[" * 100_000, "huge"],
)
def test_a_broken_file(opened, file, content, caplog, monkeypatch):
    """At start-up it fails; later those from before stay, it is logged once, and a mended one is taken."""
    if content == "twice":
        write(file, NEW, NEW)
    else:
        file.write_text(content, encoding="latin-1")
    if content == "huge":
        monkeypatch.setattr(stores, "MAX_FILE_BYTES", 3)
    with pytest.raises(ConfigurationError, match="file of keys"):
        asyncio.run(FileKeys(file).open())
    for _ in range(2):
        assert look(opened) == NEW.record
    (logged,) = caplog.records
    assert logged.levelno == logging.ERROR
    assert NEW.record.digest not in caplog.text
    with pytest.raises(ConfigurationError):
        opened.add(NEW.record)
    monkeypatch.undo()
    write(file)
    assert look(opened) is None


def test_a_missing_file(opened, file, caplog):
    file.unlink()
    layer = APIKeyMiddleware(asgi.hello, keys=FileKeys(file))
    with pytest.raises(ConfigurationError, match="No such file"):
        asyncio.run(layer.on_startup({}))
    assert look(opened) == NEW.record
    assert asgi.http(layer, headers={"x-api-key": NEW.key.reveal()}).status == 503
    with pytest.raises(KeysUnavailableError):
        asyncio.run(FileKeys(file).find(NEW.record.id))


def test_without_a_lifespan_the_first_request_reads(file):
    layer = APIKeyMiddleware(asgi.hello, keys=FileKeys(file))
    headers = {"x-api-key": NEW.key.reveal()}
    assert asgi.http(layer, headers=headers).status == 200
    assert layer._keys.find(NEW.record.id) == NEW.record, "from then on without waiting"


def test_here_a_change_holds_at_once(opened):
    opened.remove(NEW.record.id)
    assert opened.find(NEW.record.id) is None


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o660, True)])
def test_a_file_that_is_open_to_others(file, mode, warned, caplog):
    file.chmod(mode)
    keys = FileKeys(file)
    for _ in range(2):
        keys.list()
    assert len(caplog.records) == int(warned)


@pytest.mark.parametrize("path", ["", None, b"keys.json", 7])
def test_what_is_no_path(path):
    with pytest.raises(ConfigurationError, match="path"):
        FileKeys(path)


def test_the_default_prefix_and_pepper():
    assert create_key(client="shop").key.reveal().startswith("key_")
    with pytest.raises(ConfigurationError, match="pepper="):
        create_key(client="shop", pepper=Secret("short"))
