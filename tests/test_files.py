"""Which replacement of a file is noticed, and when."""

import os

import pytest

from secure_asgi._files import LOOK_EVERY, WatchedFiles


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watched(tmp_path, clock):
    (tmp_path / "a").write_text("one")
    files = WatchedFiles((tmp_path / "a", str(tmp_path / "missing")), clock=clock)
    assert files.have_changed(), "the first time"
    assert not files.have_changed()
    clock.now += LOOK_EVERY
    assert not files.have_changed()
    clock.now += LOOK_EVERY
    return files


def replace(folder):
    (folder / "b").write_text("two")
    os.utime(folder / "b", ns=(os.stat(folder / "a").st_atime_ns, os.stat(folder / "a").st_mtime_ns))
    os.replace(folder / "b", folder / "a")


CHANGES = {
    "other content": lambda folder: (folder / "a").write_text("longer"),
    "another file of the same size and time": replace,
    "another time": lambda folder: os.utime(folder / "a", (1, 1)),
    "gone": lambda folder: (folder / "a").unlink(),
    "come": lambda folder: (folder / "missing").write_text(""),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen_once(tmp_path, clock, watched, change):
    change(tmp_path)
    assert watched.have_changed()
    clock.now += LOOK_EVERY
    assert not watched.have_changed()


def test_a_link_that_is_switched(tmp_path, clock):
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tls.crt").write_text(name)
    (tmp_path / "now").symlink_to("v1")
    files = WatchedFiles([tmp_path / "now" / "tls.crt"], clock=clock)
    assert files.have_changed()
    (tmp_path / "then").symlink_to("v2")
    os.replace(tmp_path / "then", tmp_path / "now")
    assert not files.have_changed(), "not looked at yet"
    clock.now += LOOK_EVERY
    assert files.have_changed()


def test_a_look_that_is_to_be_repeated_is_one_when_it_is_due(clock, watched):
    assert not watched.have_changed()
    watched.look_again()
    assert not watched.have_changed()
    clock.now += LOOK_EVERY
    assert watched.have_changed()
    clock.now += LOOK_EVERY
    assert not watched.have_changed()
