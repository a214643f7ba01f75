"""The bytes of a tar out of what is stored: plain or with gzip, checked, never more than is safe.

    stored chunks ──magic bytes──► plain, gzip ──► chunks of the tar ──sha256──► is it the diff_id?

What a manifest says of the compression is not believed: some tools write it wrong.  A bomb ends
when it gets too large for its size; memory is constant.

gzip: RFC 1952.  diff_id: the digest of the uncompressed tar (OCI image specification, config).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from modelpack.errors import RefusedError
from modelpack.store.hashing import StreamHash
from modelpack.store.tar import CHUNK
from modelpack.store.untar import damaged

MAX_BYTES = 64 * 1024**3
"""Longest tar of a layer that is read."""
MAX_RATIO = 200
"""Most bytes that one stored byte may become, once there are more than ``FREE_BYTES``."""
FREE_BYTES = 256 * 1024**2
"""So much may come of few bytes: zeros are packed a thousand to one."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_LONGEST_MAGIC = 5
_WITH_HEADER = 16 + zlib.MAX_WBITS


def unpacked(chunks: Iterator[bytes], diff_id: str, what: str) -> Iterator[bytes]:
    """Give the bytes of a layer's tar; ``what`` names the layer in messages.

    Raises DigestMismatchError at the end when they are not those of ``diff_id``, and in between
    when they cannot be unpacked; RefusedError for zstd and for what grows too large.
    """
    digest = StreamHash()
    try:
        for data in plain(chunks, what):
            digest.update(data)
            yield data
        if f"sha256:{digest.hexdigest()}" != diff_id:
            raise damaged(what, "it has other bytes than its config says")
    finally:
        digest.close()


def plain(chunks: Iterator[bytes], what: str) -> Iterator[bytes]:
    """Give the bytes without their compression; raises as ``unpacked`` does, but checks no digest."""
    head, rest = peek(chunks, _LONGEST_MAGIC)
    if head.startswith(_GZIP):
        yield from _gunzipped(rest, what)
        return
    if head.startswith(_ZSTD):
        raise RefusedError(
            f"{what} is compressed with zstd, which cannot be read here",
            hint="copy the image with 'skopeo copy --dest-compress-format gzip' and name the copy",
        )
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise RefusedError(
                f"{what} is compressed with {name}, which no image should be",
                hint="copy the image with 'skopeo copy' and name the copy",
            )
    size = 0
    for data in rest:
        size += len(data)
        _refuse_large(size, size, what)
        yield data


def peek(chunks: Iterator[bytes], count: int) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes, up to ``count``, and all of the bytes."""
    head = bytearray()
    for data in chunks:
        head += data
        if len(head) >= count:
            break
    first = bytes(head)

    def every() -> Iterator[bytes]:
        yield first
        yield from chunks

    return first[:count], every()


def _gunzipped(chunks: Iterator[bytes], what: str) -> Iterator[bytes]:
    """Unpack gzip, also of several parts one after the other."""
    part = zlib.decompressobj(_WITH_HEADER)
    stored = size = 0
    try:
        for chunk in chunks:
            stored += len(chunk)
            data = chunk
            while data:
                if part.eof:  # another part follows, or zeros that fill a block
                    if not data.strip(b"\0"):
                        break
                    part = zlib.decompressobj(_WITH_HEADER)
                made = part.decompress(data, CHUNK)
                size += len(made)
                _refuse_large(size, stored, what)
                if made:
                    yield made
                data = part.unused_data if part.eof else part.unconsumed_tail
        if left := part.flush():
            yield left
    except zlib.error as cause:
        raise damaged(what, f"it cannot be unpacked ({cause})") from cause
    if not part.eof:
        raise damaged(what, "it is cut short")


def _refuse_large(size: int, stored: int, what: str) -> None:
    if size > MAX_BYTES or (size > FREE_BYTES and size > stored * MAX_RATIO):
        raise RefusedError(
            f"{what} unpacks to more than {size} bytes out of {stored}",
            hint="no image is made like that; get it again from who made it",
        )
