"""Push, pull, copy and login: what the commands of those names do.

    push   entry of the store ──► registry, bucket, folder
    pull   registry, bucket, folder, web server ──► entry of the store, verified
    copy   any of them ──► any that can be written; nothing is kept here

Each of them opens its connections, moves what has to move and closes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from modelpack.errors import LoginNeededError, RefusedError, UsageError
from modelpack.registry import credentials, problems
from modelpack.registry.base import Source, Target
from modelpack.registry.bucket import BucketTarget
from modelpack.registry.counts import Counts
from modelpack.registry.credentials import Credentials
from modelpack.registry.downloads import WebFiles
from modelpack.registry.layouts import Folder, LayoutSource
from modelpack.registry.local import StoreSource, StoreTarget
from modelpack.registry.names import LayoutReference, Reference, RegistryReference
from modelpack.registry.places import Places
from modelpack.registry.remote import RegistrySource, RegistryTarget
from modelpack.registry.s3 import Bucket
from modelpack.registry.transfer import transfer
from modelpack.registry.transport import Transport
from modelpack.store import Entry, Store
from modelpack.store.base import ref_name
from modelpack.store.durable import Blob
from modelpack.store.receive import Check


@dataclass(frozen=True, slots=True)
class Options:
    """How a place is spoken to."""

    insecure: bool = False
    """Plain HTTP with anybody, and any certificate."""
    force: bool = False
    """A tag that leads to something else is moved."""
    find_credentials: Callable[[str], Credentials | None] = credentials.find
    """Gives what a host is logged in to with; by default what Docker knows."""


PLAIN = Options()


@dataclass(frozen=True, slots=True)
class Moved:
    """What a transfer did."""

    reference: Reference
    """Where it came from, or where it is now."""
    digest: str
    """Of the manifest."""
    size_bytes: int
    """All blobs, and the manifest."""
    statements: int
    """Signatures and the like that went with it."""
    counts: Counts


def push(
    store: Store,
    entry: Entry,
    reference: Reference,
    *,
    options: Options = PLAIN,
    counts: Counts | None = None,
) -> Moved:
    """Bring an entry, and what is said about it, to a remote place.

    Raises ConflictError when its tag there leads to something else (unless it is another than the
    entry's own, or ``force``), LoginNeededError, UnreachableError, RegistryError, and
    DigestMismatchError when a stored byte has rotted.
    """
    counts = counts or Counts()
    with ExitStack() as stack:
        source = StoreSource(store, entry)
        is_layout = isinstance(reference, LayoutReference)
        own = ref_name(entry.kind, entry.tag) if is_layout else entry.tag.version
        is_extra = reference.tag != own
        target = _target(reference, source, options, counts, stack, is_extra=is_extra)
        return _moved(source, target, reference, counts)


def pull(
    store: Store,
    reference: Reference,
    *,
    check: Check | None = None,
    options: Options = PLAIN,
    counts: Counts | None = None,
) -> tuple[Entry, Moved]:
    """Bring a model or bundle into the store; visible when every byte was read and fits.

    ``check`` sees it before anybody else does and raises to refuse it.  Raises NotFoundError,
    ConflictError, RefusedError, DigestMismatchError, LoginNeededError, UnreachableError.
    """
    counts = counts or Counts()
    with ExitStack() as stack:
        source = _source(reference, options, counts, stack)
        target = StoreTarget(store, str(reference), counts, check=check)
        moved = _moved(source, target, reference, counts)
    if target.entry is None:
        raise AssertionError
    if source.place is not None:
        blobs = [Blob(layer.digest, layer.size) for layer in target.entry.layers]
        Places(source.place.host).remember(source.place.repository, blobs)
    return target.entry, moved


def copy(
    source: Reference,
    target: Reference,
    *,
    options: Options = PLAIN,
    counts: Counts | None = None,
) -> Moved:
    """Bring something from one remote place to another; within a registry, blobs are mounted.

    Raises what ``push`` and ``pull`` raise.
    """
    counts = counts or Counts()
    with ExitStack() as stack:
        origin = _source(source, options, counts, stack)
        goal = _target(target, origin, options, counts, stack, is_extra=False)
        return _moved(origin, goal, target, counts)


def login(
    host: str, found: Credentials, *, options: Options = PLAIN, counts: Counts | None = None
) -> str:
    """Try credentials and keep them where Docker keeps its own; return where that is.

    Raises LoginNeededError when the registry does not accept them; then nothing is kept.
    """
    with _transport(host, options, counts or Counts(), lambda _: found) as transport:
        answer = transport.request("GET", "/v2/", what="log in", ok=(200, 401, 403))
        if answer.status == 200:
            # It lets anybody in here; a wrong password is still told from a right one.
            answer = transport.request(
                "GET",
                "/v2/",
                what="log in",
                ok=(200, 401, 403),
                headers={"Authorization": found.basic},
            )
        if answer.status != 200:
            said = problems.said_by(answer.data)
            raise LoginNeededError(
                f"'{host}' does not accept '{found.username}' with that password"
                + (f": {said}" if said else ""),
                hint="see whether user and password, or token, are right",
            )
    return credentials.save(host, found)


def _moved(source: Source, target: Target, reference: Reference, counts: Counts) -> Moved:
    graph = transfer(source, target, counts)
    size = len(graph.top.data) + sum(blob.size for blob in graph.blobs)
    return Moved(reference, graph.top.blob.digest, size, len(graph.referrers), counts)


def _source(reference: Reference, options: Options, counts: Counts, stack: ExitStack) -> Source:
    if isinstance(reference, RegistryReference):
        transport = stack.enter_context(_transport(reference.host, options, counts))
        return RegistrySource(transport, reference)
    if reference.scheme == "file":
        return LayoutSource(Folder(_folder(reference)), reference)
    if reference.scheme == "s3":
        return LayoutSource(Bucket(reference, counts), reference)
    host = urlsplit(reference.url).netloc
    transport = stack.enter_context(_transport(host, options, counts, scheme=reference.scheme))
    return LayoutSource(WebFiles(transport, reference.url), reference)


def _target(
    reference: Reference,
    source: Source,
    options: Options,
    counts: Counts,
    stack: ExitStack,
    *,
    is_extra: bool,
) -> Target:
    """Return the target; a tag that is extra, not the one something was built under, may move."""
    may_move = options.force or is_extra
    if isinstance(reference, RegistryReference):
        transport = stack.enter_context(_transport(reference.host, options, counts))
        return RegistryTarget(transport, reference, may_move=may_move)
    if reference.scheme == "s3":
        bucket = Bucket(reference, counts)
        return BucketTarget(bucket, reference, may_move=may_move, is_extra=is_extra)
    if reference.scheme == "file":
        return StoreTarget(Store(_folder(reference)), source.name, counts, tag=reference.tag)
    raise RefusedError(
        f"'{reference.url}' can only be read",
        hint="push to a registry, to s3:// or to file://, and serve that folder",
    )


@contextmanager
def _transport(
    host: str,
    options: Options,
    counts: Counts,
    find: Callable[[str], Credentials | None] | None = None,
    *,
    scheme: str | None = None,
) -> Iterator[Transport]:
    transport = Transport(
        host,
        scheme=scheme,
        insecure=options.insecure,
        counts=counts,
        find_credentials=find or options.find_credentials,
    )
    try:
        yield transport
    finally:
        transport.close()


def _folder(reference: LayoutReference) -> Path:
    path = Path(unquote(urlsplit(reference.url).path))
    if not path.is_absolute():
        raise UsageError(
            f"'{reference.url}' is not an absolute path", hint="write 'file:///FOLDER'"
        )
    return path
