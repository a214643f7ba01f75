"""Objects of an S3 bucket for a run: read like files, written whole.

    s3://BUCKET/KEY ──ObjectFile──► seek, read     one request while reading goes straight on
    s3://BUCKET/PREFIX/ ──listed──► keys, sizes, ETags
    bytes, chunks ──put, put_chunks──► an object    there whole or not at all; multipart when long

Credentials, region and endpoint are those of every AWS tool; ``registry.s3`` makes the client and says
in our words what goes wrong.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from modelpack.errors import UsageError
from modelpack.registry.s3 import PART_BYTES, make_client, readable

SCHEME = "s3://"

_TRIES = 4
_BUFFER_BYTES = 1 << 20


def is_object(text: str) -> bool:
    """Say whether a path is one in a bucket."""
    return text.startswith(SCHEME)


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing."""

    key: str
    size: int
    etag: str


class Objects:
    """A bucket, and a prefix in it."""

    def __init__(self, url: str, client: Any = None) -> None:
        """Raises UsageError for what names no bucket, ToolMissingError without boto3."""
        parts = urlsplit(url)
        self.url = url
        self.bucket = parts.netloc
        self.key = parts.path.lstrip("/")
        if not self.bucket or parts.query or parts.fragment:
            raise UsageError(f"'{url}' names no object", hint="write s3://BUCKET/KEY")
        self.client = client or make_client()

    def at(self, key: str) -> Objects:
        """Return the same bucket at another key."""
        return Objects(f"{SCHEME}{self.bucket}/{key}", self.client)

    def head(self) -> Listed:
        """Return what is known of the object; raises NotFoundError."""
        with readable(self.url, "look for it"):
            found = self.client.head_object(Bucket=self.bucket, Key=self.key)
        return Listed(self.key, int(found["ContentLength"]), str(found["ETag"]))

    def listed(self) -> Iterator[Listed]:
        """Yield the objects whose keys begin with this one, in the order of their keys."""
        with readable(self.url, "list it"):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.key
            )
            for page in pages:
                for one in page.get("Contents", ()):
                    yield Listed(one["Key"], int(one["Size"]), str(one["ETag"]))

    def read(self) -> bytes:
        """Return a short object; raises NotFoundError."""
        with readable(self.url, "read it"):
            data: bytes = self.client.get_object(Bucket=self.bucket, Key=self.key)["Body"].read()
        return data

    def open(self) -> io.BufferedReader:
        """Return the object as a file; raises NotFoundError."""
        return io.BufferedReader(ObjectFile(self), _BUFFER_BYTES)

    def put(self, data: bytes, *, is_new: bool = False) -> None:
        """Write an object; ``is_new``: raises ConflictError when there is one."""
        condition = {"IfNoneMatch": "*"} if is_new else {}
        with readable(self.url, "write it"):
            self.client.put_object(Bucket=self.bucket, Key=self.key, Body=data, **condition)

    def put_chunks(self, chunks: Iterator[bytes]) -> None:
        """Write an object of any length, in parts; nothing is there when a chunk fails."""
        from boto3.s3.transfer import TransferConfig

        config = TransferConfig(multipart_chunksize=PART_BYTES, max_concurrency=2)
        with readable(self.url, "write it"):
            self.client.upload_fileobj(_Chunks(chunks), self.bucket, self.key, Config=config)

    def delete(self) -> None:
        """Remove an object; none there is as good."""
        with readable(self.url, "remove it"):
            self.client.delete_object(Bucket=self.bucket, Key=self.key)


class ObjectFile(io.RawIOBase):
    """An object as a file that can be read from any place.

    What it was when it was opened, or nothing: an object that is replaced meanwhile is not mixed
    into it.  A connection that breaks is opened again where it broke.
    """

    def __init__(self, place: Objects) -> None:
        super().__init__()
        self._place = place
        found = place.head()
        self._size = found.size
        self._etag = found.etag
        self._at = 0
        self._body: Any = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place; the next read asks for what begins there."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if (target := base + offset) != self._at:
            self._hang_up()
            self._at = target
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read some bytes; 0 at the end."""
        if self._at >= self._size:
            return 0
        for left in reversed(range(_TRIES)):
            try:
                data = self._open().read(len(buffer))
                if data:
                    break
            except Exception:  # botocore's own, urllib3's, the socket's
                if not left:
                    raise
            self._hang_up()
        else:
            raise OSError(f"'{self._place.url}' ends before its length")
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Let go of the connection."""
        self._hang_up()
        super().close()

    def _open(self) -> Any:
        if self._body is None:
            with readable(self._place.url, "read it"):
                self._body = self._place.client.get_object(
                    Bucket=self._place.bucket,
                    Key=self._place.key,
                    Range=f"bytes={self._at}-",
                    IfMatch=self._etag,
                )["Body"]
        return self._body

    def _hang_up(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


class _Chunks(io.RawIOBase):
    """Chunks of bytes as boto3 wants them: an object with ``read``."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        found = bytearray()
        while size < 0 or len(found) < size:
            data = self._rest or next(self._chunks, b"")
            if not data:
                break
            wanted = len(data) if size < 0 else size - len(found)
            found += data[:wanted]
            self._rest = data[wanted:]
        return bytes(found)
