"""Layers of bases that are kept on this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelpack.image.direct import base_layers
from modelpack.image.reading import ReadLayer
from modelpack.registry.base import Place
from modelpack.store.durable import Blob

PLACE = Place("r.example", "base")


class Remote:
    """A layer of a registry that counts how often it is read."""

    def __init__(self, data: bytes, *, breaks: bool = False) -> None:
        self.data = data
        self.reads = 0
        self.breaks = breaks
        self.blob = Blob(f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))

    def chunks(self) -> Iterator[bytes]:
        self.reads += 1
        yield self.data[:5]
        if self.breaks:
            raise ConnectionError
        yield self.data[5:]

    def layer(self) -> ReadLayer:
        return ReadLayer(self.blob, "a/layer", self.blob.digest, self.chunks)


def read(remote: Remote, place: Place | None = PLACE) -> bytes:
    return b"".join(base_layers.kept(remote.layer(), place).chunks())


@pytest.fixture
def folder(own_cache: Path) -> Path:
    return own_cache / "image" / "base-layers"


def test_it_is_fetched_once(folder: Path) -> None:
    remote = Remote(b"a layer of a base")

    assert [read(remote), read(remote)] == [remote.data] * 2
    assert remote.reads == 1
    assert [one.name for one in folder.iterdir()] == [remote.blob.hex]


def test_one_that_is_on_this_machine_is_not_copied(folder: Path) -> None:
    remote = Remote(b"a layer of a folder")

    assert [read(remote, None), read(remote, None)] == [remote.data] * 2
    assert remote.reads == 2
    assert not folder.exists()


def test_one_that_breaks_off_is_not_kept(folder: Path) -> None:
    remote = Remote(b"a layer of a base", breaks=True)
    with pytest.raises(ConnectionError):
        read(remote)
    assert [*folder.iterdir()] == []

    stopped = base_layers.kept(Remote(b"read in part").layer(), PLACE).chunks()
    next(stopped)
    del stopped
    assert [*folder.iterdir()] == []


def test_one_with_other_bytes_is_not_kept(folder: Path) -> None:
    remote = Remote(b"a layer of a base")
    remote.data = b"the bytes of a liar"

    assert read(remote) == remote.data  # whoever takes them checks the digest
    assert [*folder.iterdir()] == []


def test_what_was_not_used_for_longest_makes_room(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_layers, "MAX_BYTES", 250)
    first, second, third = (Remote(text * 100) for text in (b"1", b"2", b"3"))
    read(first)
    read(second)
    for age, remote in enumerate((second, first)):
        os.utime(folder / remote.blob.hex, (age, age))
    read(second)  # used again

    read(third)

    assert {one.name for one in folder.iterdir()} == {second.blob.hex, third.blob.hex}


def test_a_cache_that_cannot_be_written_is_none(own_cache: Path) -> None:
    own_cache.write_text("a file")
    remote = Remote(b"a layer of a base")

    assert [read(remote), read(remote)] == [remote.data] * 2
