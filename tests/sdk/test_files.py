"""Files and images come as bytes or base64; images are opened with care."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import PIL.Image
import pytest

from modelpack.errors import Issue
from modelpack.sdk.files import MAX_PIXELS, BytesValue, ImageValue
from modelpack.sdk.hints import value_of


def png(width: int, height: int) -> bytes:
    """Write a PNG header that claims a size, with next to no data behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_an_image_hint_gives_an_image() -> None:
    value = value_of(PIL.Image.Image, "f(a)")
    assert isinstance(value, ImageValue)
    file = io.BytesIO()
    PIL.Image.new("RGB", (3, 2)).save(file, format="JPEG")
    for raw in (file.getvalue(), base64.b64encode(file.getvalue()).decode()):
        issues: list[Issue] = []
        image = value.decode(raw, "/a", issues)
        assert issues == []
        assert image.size == (3, 2)


def test_an_image_goes_out_as_png() -> None:
    data = ImageValue().encode_bytes(PIL.Image.new("L", (2, 2)))
    assert PIL.Image.open(io.BytesIO(data)).format == "PNG"


def test_the_example_is_an_image() -> None:
    issues: list[Issue] = []
    ImageValue().decode(ImageValue().example(), "/a", issues)
    assert issues == []


@pytest.mark.parametrize("raw", [b"", b"not an image", png(2, 2)[:30], "***", 5, png(30000, 30000)])
def test_what_is_no_image_or_too_large_is_an_issue(raw: Any) -> None:
    issues: list[Issue] = []
    ImageValue().decode(raw, "/a", issues)
    assert [issue.pointer for issue in issues] == ["/a"]
    assert MAX_PIXELS < 30000 * 30000


def test_bytes_go_out_raw_or_in_base64() -> None:
    assert BytesValue().encode_bytes(bytearray(b"hi")) == b"hi"
    assert BytesValue().encode(b"hi") == "aGk="
    with pytest.raises(TypeError):
        BytesValue().encode_bytes("hi")
