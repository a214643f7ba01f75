"""The objects of an S3 bucket as files: read in ranges, written whole.

    chunks ◄──GetObject── bucket ◄──PutObject, multipart── BlobReader

Credentials, region and endpoint are those of every AWS tool: environment, profiles, roles.
boto3 tries again by itself; what it raises in the end is said in our words.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from modelpack.errors import (
    ConflictError,
    LoginNeededError,
    ModelpackError,
    NotFoundError,
    RegistryError,
    ToolMissingError,
    UnreachableError,
)
from modelpack.registry import problems
from modelpack.registry.counts import Counts
from modelpack.registry.names import LayoutReference
from modelpack.registry.reader import BlobReader
from modelpack.store.tar import CHUNK

PART_BYTES = 16 * 1024 * 1024

_ABSENT = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
_FORBIDDEN = {
    "401",
    "403",
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
}
_CHANGED = {"409", "412", "ConditionalRequestConflict", "PreconditionFailed"}


class Bucket:
    """The objects below a prefix of a bucket."""

    def __init__(self, reference: LayoutReference, counts: Counts) -> None:
        parts = urlsplit(reference.url)
        self.name = reference.url
        self.counts = counts
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/")
        self._client = make_client()

    def chunks(self, path: str, offset: int) -> Iterator[bytes]:
        """Give the bytes of an object from ``offset`` on; raises NotFoundError."""
        wanted = {"Range": f"bytes={offset}-"} if offset else {}
        with readable(self.name, f"read '{path}'"):
            found = self._client.get_object(Bucket=self._bucket, Key=self._key(path), **wanted)
            body = found["Body"]
            try:
                while data := body.read(CHUNK):
                    self.counts.received(len(data))
                    yield data
            finally:
                body.close()

    def size(self, path: str) -> int | None:
        """Return how long an object is, None when there is none."""
        try:
            with readable(self.name, f"look for '{path}'"):
                found = self._client.head_object(Bucket=self._bucket, Key=self._key(path))
        except NotFoundError:
            return None
        return int(found["ContentLength"])

    def upload(self, path: str, reader: BlobReader) -> None:
        """Write a blob; nothing is there when its bytes do not fit its digest."""
        from boto3.s3.transfer import TransferConfig

        config = TransferConfig(multipart_chunksize=PART_BYTES, max_concurrency=2)
        with readable(self.name, f"write '{path}'"):
            self._client.upload_fileobj(
                _Stream(reader, self.counts), self._bucket, self._key(path), Config=config
            )

    def read_tagged(self, path: str) -> tuple[bytes, str] | None:
        """Return a short object and its ETag, or None."""
        try:
            with readable(self.name, f"read '{path}'"):
                found = self._client.get_object(Bucket=self._bucket, Key=self._key(path))
                return found["Body"].read(), str(found["ETag"])
        except NotFoundError:
            return None

    def write(self, path: str, data: bytes, *, etag: str | None, is_new: bool = False) -> bool:
        """Write a short object if it still has that ETag, or is not there; False when it is not so."""
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"} if is_new else {}
        try:
            with readable(self.name, f"write '{path}'"):
                self._client.put_object(
                    Bucket=self._bucket, Key=self._key(path), Body=data, **condition
                )
        except ConflictError:
            return False
        self.counts.sent(len(data))
        return True

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{path}" if self._prefix else path


class _Stream:
    """A reader of a blob as boto3 wants it: an object with ``read``."""

    def __init__(self, reader: BlobReader, counts: Counts) -> None:
        self._chunks: Generator[bytes] = reader.read()
        self._counts = counts
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Return ``size`` bytes, fewer only at the end, where the digest is checked."""
        found = bytearray()
        while size < 0 or len(found) < size:
            data = self._rest or next(self._chunks, b"")
            if not data:
                break
            wanted = len(data) if size < 0 else size - len(found)
            found += data[:wanted]
            self._rest = data[wanted:]
        self._counts.sent(len(found))
        return bytes(found)


def make_client() -> Any:
    """Return a client for S3; raises ToolMissingError without boto3."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError as cause:
        raise ToolMissingError(
            "a bucket needs the package 'boto3', which is not installed",
            hint="install 'modelpack-cli[aws]'",
        ) from cause
    retries: Any = {"max_attempts": 5, "mode": "standard"}
    return boto3.session.Session().client("s3", config=Config(retries=retries))


@contextmanager
def readable(place: str, what: str) -> Iterator[None]:
    """Say in our words what boto3 raises."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        EndpointConnectionError,
        NoCredentialsError,
        NoRegionError,
    )

    try:
        yield
    except ModelpackError:
        raise
    except ClientError as cause:
        raise _refusal(cause.response.get("Error", {}), place, what) from cause
    except NoCredentialsError as cause:
        raise LoginNeededError(
            f"cannot {what} in '{place}': there are no AWS credentials",
            hint="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ) from cause
    except NoRegionError as cause:
        raise RegistryError(
            f"cannot {what} in '{place}': no region is set", hint="set AWS_REGION"
        ) from cause
    except EndpointConnectionError as cause:
        raise UnreachableError(
            f"cannot reach '{place}': {problems.line(str(cause)).lower()}",
            hint="see whether this machine has a network",
        ) from cause
    except (BotoCoreError, Boto3Error) as cause:
        raise RegistryError(f"cannot {what} in '{place}': {problems.line(str(cause))}") from cause


def _refusal(error: Any, place: str, what: str) -> ModelpackError:
    code = str(error.get("Code", ""))
    said = problems.line(str(error.get("Message") or code))
    if code in _ABSENT:
        return NotFoundError(f"cannot {what} in '{place}': {said}", hint="see whether it is right")
    if code in _FORBIDDEN:
        return LoginNeededError(
            f"'{place}' does not permit to {what}: {said}", hint="see which AWS credentials are set"
        )
    if code in _CHANGED:
        return ConflictError(f"cannot {what} in '{place}': {said}")
    return RegistryError(f"cannot {what} in '{place}': {said}")
