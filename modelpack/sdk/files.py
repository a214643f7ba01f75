"""Bytes and images.

    request   raw body, multipart part   ──► bytes, PIL image
              base64 string inside JSON  ──► the same
    answer    the whole answer           ──► raw bytes with ``media_type``
              inside an object or list   ──► base64 string

An image is opened only after its header told a size below the limit, so that a small file cannot
unfold into gigabytes.
"""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelpack.errors import Issue
from modelpack.sdk.values import Issues, Value, describe

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 64 * 1024 * 1024
"""Largest image that is decoded, in pixels."""


class FileValue(Value):
    """What may be sent as raw bytes, and stands in base64 inside JSON."""

    __slots__ = ()

    is_file = True

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "contentEncoding": "base64", "contentMediaType": self.media_type}

    def encode(self, value: Any) -> str:
        """Return the base64 form, for a place inside JSON."""
        return base64.b64encode(self.encode_bytes(value)).decode()

    def encode_bytes(self, value: Any) -> bytes:  # noqa: ARG002
        """Return the raw form, for a whole answer; raises TypeError."""
        raise AssertionError(f"{type(self).__name__} has no raw form")


@dataclass(frozen=True, slots=True)
class BytesValue(FileValue):
    """A file, as bytes."""

    media_type: str = "application/octet-stream"

    @property
    def expectation(self) -> str:
        return "a file, or its bytes in base64"

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        data = _bytes_of(raw)
        if data is None:
            issues.append(Issue(at, self.expectation, describe(raw)))
            return b""
        return data

    def encode_bytes(self, value: Any) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"expected bytes, got {type(value).__name__}")
        return bytes(value)

    def example(self) -> str:
        return base64.b64encode(b"bytes of a file").decode()


@dataclass(frozen=True, slots=True)
class ImageValue(FileValue):
    """A picture: any format that Pillow reads comes in, PNG goes out."""

    media_type: str = "image/png"

    @property
    def expectation(self) -> str:
        return "an image file, or its bytes in base64"

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        data = _bytes_of(raw)
        if data is None:
            issues.append(Issue(at, self.expectation, describe(raw)))
            return None
        return _open_image(data, at, issues)

    def encode_bytes(self, value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        if not hasattr(value, "save"):
            raise TypeError(f"expected an image, got {type(value).__name__}")
        file = io.BytesIO()
        value.save(file, format="PNG")
        return file.getvalue()

    def example(self) -> str:
        return _ONE_PIXEL


_ONE_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def _bytes_of(raw: Any) -> bytes | None:
    if isinstance(raw, bytes | bytearray | memoryview):
        return bytes(raw)
    if isinstance(raw, str):
        try:
            return base64.b64decode(raw, validate=True)
        except (binascii.Error, ValueError):
            return None
    return None


def _open_image(data: bytes, at: str, issues: Issues) -> Image | None:
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            got = f"{image.width} x {image.height}"
            issues.append(Issue(at, f"an image of at most {MAX_PIXELS} pixels", got))
            return None
        image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        issues.append(Issue(at, "an image file that can be read", f"{len(data)} other bytes"))
        return None
    return image
