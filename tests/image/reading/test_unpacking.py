from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator

import pytest

from modelpack.errors import DigestMismatchError, RefusedError
from modelpack.image.reading import unpacking
from modelpack.image.reading.unpacking import unpacked

DATA = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(20_000))


def diff_id(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


@pytest.mark.parametrize("step", [1_000, 65_536, 10_000_000])
@pytest.mark.parametrize(
    "stored",
    [
        DATA,
        gzip.compress(DATA),
        gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:]),
        gzip.compress(DATA) + bytes(1000),
    ],
    ids=["plain", "gzip", "gzip in parts", "gzip and zeros"],
)
def test_the_bytes_of_the_tar_come_out(stored: bytes, step: int) -> None:
    assert b"".join(unpacked(pieces(stored, step), diff_id(DATA), "a layer")) == DATA


def test_an_empty_layer_is_empty() -> None:
    assert b"".join(unpacked(iter(()), diff_id(b""), "a layer")) == b""


def test_other_bytes_than_the_config_says_are_refused() -> None:
    for stored in (DATA, gzip.compress(DATA)):
        with pytest.raises(DigestMismatchError, match="other bytes than its config says"):
            list(unpacked(iter([stored]), diff_id(b"something else"), "a layer"))


@pytest.mark.parametrize("keep", [5, 1000, -9, -1])
def test_gzip_that_is_cut_short_is_refused(keep: int) -> None:
    with pytest.raises(DigestMismatchError, match="a layer: it"):
        list(unpacked(iter([gzip.compress(DATA)[:keep]]), diff_id(DATA), "a layer"))


def test_gzip_that_has_rotted_is_refused() -> None:
    stored = bytearray(gzip.compress(DATA))
    stored[5000] ^= 0xFF

    with pytest.raises(DigestMismatchError):
        list(unpacked(iter([bytes(stored)]), diff_id(DATA), "a layer"))


def test_a_bomb_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand to one, without an end: only so much of it is ever made."""
    monkeypatch.setattr(unpacking, "FREE_BYTES", 8_000_000)
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1_000_000)
    made = 0

    def bomb() -> Iterator[bytes]:
        while True:
            yield packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)

    with pytest.raises(RefusedError, match="unpacks to more than"):
        for data in unpacked(bomb(), diff_id(b""), "a layer"):
            made += len(data)
    assert made < 20_000_000


def test_no_layer_is_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_BYTES", 1000)

    with pytest.raises(RefusedError, match="unpacks to more than"):
        list(unpacked(iter([DATA]), diff_id(DATA), "a layer"))


def test_zstd_is_refused_with_what_to_do() -> None:
    stored = b"\x28\xb5\x2f\xfd" + b"rest"

    with pytest.raises(RefusedError, match="compressed with zstd") as caught:
        list(unpacked(iter([stored]), diff_id(b""), "a layer"))

    assert "--dest-compress-format gzip" in (caught.value.hint or "")
