"""Layers that are kept: believed while they are untouched, made again when not, and never too many."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack.errors import BuildError
from modelpack.image.direct.cache import LayerCache, LayerFile
from modelpack.image.direct.layer import LayerWriter

HOUR_S = 3600


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "layers"


class Filler:
    """Writes a layer and counts how often."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.times = 0

    def __call__(self, out: LayerWriter) -> None:
        self.times += 1
        out.write(self.data)


def ensure(home: Path, fill: Callable[[LayerWriter], None], name: str = "one") -> LayerFile:
    return LayerCache(home).ensure({"layer": name}, what=name, created_by=name, fill=fill)


def test_a_layer_is_made_once(home: Path) -> None:
    fill = Filler(b"layer" * 1000)
    made = ensure(home, fill)
    assert ensure(home, fill) == made
    assert fill.times == 1
    assert made.digest == f"sha256:{hashlib.sha256(fill.data).hexdigest()}"
    assert (made.path.read_bytes(), made.size) == (fill.data, len(fill.data))
    assert made.path.stat().st_mode & 0o777 == 0o400


def test_a_layer_that_was_only_touched_is_read_and_kept(home: Path) -> None:
    fill = Filler(b"layer")
    made = ensure(home, fill)
    os.utime(made.path, (1, 1))
    assert ensure(home, fill) == made
    assert fill.times == 1


@pytest.mark.parametrize("damage", [b"lay3r", b"longer layer", b"", None])
def test_a_layer_that_is_damaged_or_gone_is_made_again(home: Path, damage: bytes | None) -> None:
    fill = Filler(b"layer")
    made = ensure(home, fill)
    made.path.unlink()
    if damage is not None:
        made.path.write_bytes(damage)
    again = ensure(home, fill)
    assert fill.times == 2
    assert again.path.read_bytes() == b"layer"


@pytest.mark.parametrize("note", [b"", b"[]", b"{", b'{"digest": "../../etc/passwd"}', b"null"])
def test_a_note_that_makes_no_sense_counts_as_none(home: Path, note: bytes) -> None:
    fill = Filler(b"layer")
    ensure(home, fill)
    (path,) = home.glob("*.json")
    path.write_bytes(note)
    assert ensure(home, fill).path.read_bytes() == b"layer"
    assert fill.times == 2


def test_the_words_of_a_kept_layer_are_those_of_today(home: Path) -> None:
    cache = LayerCache(home)
    cache.ensure({"a": 1}, what="old", created_by="old", fill=Filler(b"x"))
    found = cache.ensure({"a": 1}, what="new", created_by="new", fill=Filler(b"x"))
    assert (found.what, found.created_by) == ("new", "new")


def test_what_fails_leaves_nothing(home: Path) -> None:
    def fail(out: LayerWriter) -> None:
        out.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure(home, fail)
    assert [path.name for path in home.rglob("*") if path.is_file()] == ["lock"]


def test_builders_who_work_at_the_same_time_get_the_same_layer(home: Path) -> None:
    both_there = threading.Barrier(2)
    found: list[LayerFile] = []

    def fill(out: LayerWriter) -> None:
        out.write(b"half ")
        both_there.wait(timeout=30)
        out.write(b"and half")

    threads = [threading.Thread(target=lambda: found.append(ensure(home, fill))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    assert found[0].path.read_bytes() == b"half and half"
    assert list((home / "scratch").iterdir()) == []


def test_folders_of_the_dead_go_and_those_of_the_living_stay(home: Path) -> None:
    code = (
        "import os, sys, pathlib; from modelpack.image.direct.cache import LayerCache\n"
        "with LayerCache(pathlib.Path(sys.argv[1])).scratch() as folder:\n"
        "    (folder / 'half').write_bytes(b'x'); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, home], check=False)
    (dead,) = (home / "scratch").iterdir()
    with LayerCache(home).scratch() as living, LayerCache(home).scratch() as other:
        assert not dead.exists()
        assert living.exists()
        assert other != living
    assert list((home / "scratch").iterdir()) == []


def test_what_was_not_used_for_longest_goes_when_there_is_too_much(home: Path) -> None:
    cache = LayerCache(home, cap_bytes=2500)
    made = {}
    for age, name in enumerate(("old", "older", "oldest")):
        made[name] = cache.ensure(
            {"layer": name}, what=name, created_by=name, fill=Filler(name.encode() * 200)
        )
        set_age(home, made[name], (age + 2) * HOUR_S)
    newest = cache.ensure({"layer": "new"}, what="", created_by="", fill=Filler(b"n" * 1000))
    there = {name for name, layer in made.items() if layer.path.exists()}
    assert there == {"old"}
    assert newest.path.exists()
    assert len(list(home.glob("*.json"))) == 2


def test_what_was_used_within_the_hour_stays_even_when_it_is_too_much(home: Path) -> None:
    cache = LayerCache(home, cap_bytes=10)
    layers = [
        cache.ensure({"layer": n}, what="", created_by="", fill=Filler(bytes([n]) * 100))
        for n in range(3)
    ]
    assert all(layer.path.exists() for layer in layers)


def test_a_note_whose_layer_is_gone_goes_too(home: Path) -> None:
    ensure(home, Filler(b"one"), "one").path.unlink()
    ensure(home, Filler(b"two"), "two")
    assert len(list(home.glob("*.json"))) == 1


def test_using_a_layer_makes_it_young_again(home: Path) -> None:
    cache = LayerCache(home, cap_bytes=150)
    fill = Filler(b"a" * 100)
    made = cache.ensure({"layer": 1}, what="", created_by="", fill=fill)
    set_age(home, made, 5 * HOUR_S)
    cache.ensure({"layer": 1}, what="", created_by="", fill=fill)
    cache.ensure({"layer": 2}, what="", created_by="", fill=Filler(b"b" * 100))
    assert made.path.exists()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BuildError, match="cannot make a layer in") as caught:
        ensure(tmp_path / "file" / "layers", Filler(b"x"))
    assert "MODELPACK_CACHE" in str(caught.value.hint)


def set_age(home: Path, layer: LayerFile, seconds: float) -> None:
    """Make a layer look as if it was last used so many seconds ago."""
    moment = time.time() - seconds
    for note in home.glob("*.json"):
        if layer.digest in note.read_text():
            os.utime(note, (moment, moment))


def test_the_lock_is_held_for_a_moment_only(home: Path) -> None:
    with LayerCache(home).scratch(), (home / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
