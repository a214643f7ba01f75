"""What breaks on the way: connections, servers, bytes.  Nothing half-done can ever be seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from modelpack import registry as registries
from modelpack.errors import (
    DigestMismatchError,
    NotFoundError,
    RefusedError,
    RegistryError,
    UnreachableError,
)
from modelpack.registry import Counts, parse
from modelpack.registry.local import StoreSource
from modelpack.registry.names import RegistryReference
from modelpack.registry.remote import RegistryTarget
from modelpack.registry.transfer import transfer
from modelpack.registry.transport import Transport
from modelpack.store import Entry, Store

WEIGHTS = bytes(range(256)) * 8000
CHUNK = 256 * 1024
FITS = [" /v2/$", "HEAD .*/blobs/", "POST .*/uploads/", "PUT .*/uploads/", "PUT .*/manifests/"]


@pytest.fixture
def entry(workshop: Any) -> Entry:
    return workshop.bundle(model=workshop.model(WEIGHTS))


@pytest.fixture
def pushed(store: Store, entry: Entry, stand_in: Any) -> Entry:
    """The bundle, which the registry has as ``x:1``."""
    registries.push(store, entry, parse(f"{stand_in.host}/x:1"))
    stand_in.requests.clear()
    return entry


@pytest.fixture
def passing(
    request: pytest.FixtureRequest, stand_in: Any, fault: Any, fits: str, status: int | None
) -> Iterator[None]:
    """Two requests in a row fail; afterwards they must have."""
    if "pushed" in request.fixturenames:
        request.getfixturevalue("pushed")
    stand_in.faults = [fault(fits, status, times=2)]
    yield
    assert stand_in.faults[0].times < 2


def push_in_chunks(store: Store, entry: Entry, stand_in: Any) -> Counts:
    """Push with chunks that are small enough for the weights to need several."""
    counts = Counts()
    reference = parse(f"{stand_in.host}/x:1")
    assert isinstance(reference, RegistryReference)
    transport = Transport(stand_in.host, counts=counts)
    try:
        target = RegistryTarget(transport, reference, may_move=False, chunk_bytes=CHUNK)
        transfer(StoreSource(store, entry), target, counts)
    finally:
        transport.close()
    return counts


def is_whole(stand_in: Any, store: Store, entry: Entry) -> bool:
    """Say whether the registry has what the store has."""
    kept = stand_in.blobs["x"]
    stored = {layer.digest: store.open_blob(layer.digest) for layer in entry.layers}
    same = all(kept[digest] == blob.read() for digest, blob in stored.items())
    for blob in stored.values():
        blob.close()
    return same and ("x", "1") in stand_in.manifests


@pytest.mark.parametrize("status", [503, 429, None])
@pytest.mark.parametrize("fits", FITS)
def test_a_push_survives_what_passes(
    store: Store, entry: Entry, stand_in: Any, passing: Callable[..., None]
) -> None:
    registries.push(store, entry, parse(f"{stand_in.host}/x:1"))
    assert is_whole(stand_in, store, entry)


@pytest.mark.parametrize("status", [503, None])
@pytest.mark.parametrize("fits", [" /v2/$", "GET .*/manifests/", "GET .*/blobs/"])
def test_a_pull_survives_what_passes(
    other: Store, pushed: Entry, stand_in: Any, passing: Callable[..., None]
) -> None:
    brought, _ = registries.pull(other, parse(f"{stand_in.host}/x:1"))
    assert brought.digest == pushed.digest
    other.verify(brought)


def test_an_upload_goes_on_where_it_was_cut_off(
    store: Store, entry: Entry, stand_in: Any, fault: Any
) -> None:
    stand_in.faults = [fault("PATCH", None, after=100_000, times=3)]
    counts = push_in_chunks(store, entry, stand_in)
    assert is_whole(stand_in, store, entry)
    assert len(stand_in.lines("GET .*/uploads/")) == 3
    # Not from the start again: three cut chunks cost less than three chunks.
    assert counts.sent_bytes < len(WEIGHTS) + 3 * CHUNK + 100_000


def test_an_upload_whose_offset_nobody_knows_begins_again(
    store: Store, entry: Entry, stand_in: Any, fault: Any
) -> None:
    stand_in.tells_offset = False
    stand_in.faults = [fault("PATCH", None, after=1000, times=2)]
    push_in_chunks(store, entry, stand_in)
    assert is_whole(stand_in, store, entry)


def test_a_lost_answer_to_the_last_request_sends_nothing_again(
    store: Store, workshop: Any, stand_in: Any, fault: Any
) -> None:
    entry = workshop.bundle(model=workshop.model(WEIGHTS))
    stand_in.loses_answers = 1
    counts = Counts()
    registries.push(store, entry, parse(f"{stand_in.host}/x:1"), counts=counts)
    assert stand_in.loses_answers == 0
    assert is_whole(stand_in, store, entry)
    assert counts.sent_bytes < len(WEIGHTS) + 100_000


def test_a_download_goes_on_where_it_was_cut_off(
    store: Store, other: Store, entry: Entry, stand_in: Any, fault: Any
) -> None:
    registries.push(store, entry, parse(f"{stand_in.host}/x:1"))
    weights = entry.layers[0].digest
    stand_in.faults = [fault(f"GET .*{weights}", None, after=500_000, times=3)]
    counts = Counts()
    brought, _ = registries.pull(other, parse(f"{stand_in.host}/x:1"), counts=counts)
    other.verify(brought)
    asked = [h["Range"] for line, h in stand_in.requests if weights in line and "Range" in h]
    starts = [int(one.removeprefix("bytes=").rstrip("-")) for one in asked]
    assert len(starts) == 3
    assert starts == sorted(starts)
    assert counts.received_bytes < len(WEIGHTS) + 100_000


def test_a_server_without_ranges_is_read_again_from_its_start(
    store: Store, other: Store, entry: Entry, stand_in: Any, fault: Any
) -> None:
    registries.push(store, entry, parse(f"{stand_in.host}/x:1"))
    stand_in.has_ranges = False
    stand_in.faults = [fault("GET .*/blobs/", None, after=1000, times=2)]
    brought, _ = registries.pull(other, parse(f"{stand_in.host}/x:1"))
    other.verify(brought)


def test_a_pull_that_was_given_up_goes_on_the_next_time(
    store: Store, other: Store, entry: Entry, stand_in: Any, fault: Any
) -> None:
    registries.push(store, entry, parse(f"{stand_in.host}/x:1"))
    weights = entry.layers[0].digest
    stand_in.faults = [
        fault(f"GET .*{weights}", None, after=500_000),
        fault(f"GET .*{weights}", 503, times=99),
    ]
    with pytest.raises(RegistryError):
        registries.pull(other, parse(f"{stand_in.host}/x:1"))
    assert other.list() == []
    assert list((other.root / ".incoming").iterdir())
    stand_in.faults = []
    counts = Counts()
    brought, _ = registries.pull(other, parse(f"{stand_in.host}/x:1"), counts=counts)
    other.verify(brought)
    assert counts.received_bytes < len(WEIGHTS) - 300_000
    assert not (other.root / ".incoming").exists()


def test_what_does_not_pass_is_said_and_leaves_nothing_visible(
    store: Store, other: Store, entry: Entry, stand_in: Any, fault: Any
) -> None:
    registries.push(store, entry, parse(f"{stand_in.host}/x:1"))
    stand_in.faults = [fault("PUT .*/uploads/", 500, times=99)]
    with pytest.raises(RegistryError, match="answered 500"):
        registries.push(store, entry, parse(f"{stand_in.host}/y:1"))
    assert not [key for key in stand_in.manifests if key[0] == "y"]
    stand_in.faults = [fault("GET .*/blobs/", None, times=99)]
    with pytest.raises(UnreachableError, match=stand_in.host):
        registries.pull(other, parse(f"{stand_in.host}/x:1"))
    assert other.list() == []


# Bytes that are others


@pytest.mark.parametrize(
    ("which", "change"),
    [
        (which, change)
        for which in ("manifest", "config", "weights", "code")
        for change in ("flipped", "longer", "shorter", "other")
    ],
)
def test_other_bytes_are_refused_and_nothing_is_stored(
    other: Store, pushed: Entry, stand_in: Any, *, which: str, change: str
) -> None:
    entry = pushed
    config = json.loads(stand_in.manifests["x", "1"][0])["config"]["digest"]
    wanted = {
        "manifest": entry.digest,
        "config": config,
        "weights": entry.layers[0].digest,
        "code": entry.layers[-1].digest,
    }[which]

    def tamper(line: str, data: bytes) -> bytes:
        if not (line.startswith("GET") and line.endswith(wanted)):
            return data
        middle = len(data) // 2
        return {
            "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
            "longer": data + b"x",
            "shorter": data[:-1],
            "other": b"{}",
        }[change]

    stand_in.tamper = tamper
    with pytest.raises((RefusedError, UnreachableError)) as caught:
        registries.pull(other, parse(f"{stand_in.host}/x@{entry.digest}"))
    assert other.list() == []
    # A blob that ends too early is a connection that broke off, as far as anybody can tell.
    if which == "manifest" or change in ("flipped", "longer"):
        assert isinstance(caught.value, DigestMismatchError)
        assert caught.value.exit_code == 4
        kept = [path for path in other.root.rglob("*") if path.is_file()]
        assert {path.name for path in kept} <= {"oci-layout", "index.json", ".lock"}


def test_a_manifest_with_any_byte_changed_is_refused(
    other: Store, pushed: Entry, stand_in: Any, is_untouched: Callable[[Store], bool]
) -> None:
    data, kind = stand_in.manifests["x", "1"]
    for at in range(0, len(data), 29):
        changed = data[:at] + bytes([data[at] ^ 2]) + data[at + 1 :]
        stand_in.manifests["x", pushed.digest] = (changed, kind)
        with pytest.raises(RefusedError):
            registries.pull(other, parse(f"{stand_in.host}/x@{pushed.digest}"))
        assert is_untouched(other)


def test_a_tag_whose_header_says_another_digest_is_refused(
    store: Store, other: Store, entry: Entry, stand_in: Any
) -> None:
    registries.push(store, entry, parse(f"{stand_in.host}/x:1"))
    stand_in.said_digest = "sha256:" + "0" * 64
    with pytest.raises(DigestMismatchError):
        registries.pull(other, parse(f"{stand_in.host}/x:1"))


def test_a_statement_about_something_else_is_left_out(
    store: Store, other: Store, entry: Entry, workshop: Any, stand_in: Any
) -> None:
    stranger = workshop.bundle("2", b"x = 2\n")
    said = store.attach(stranger, artifact_type="t/t", media_type="text/plain", data=b"evil")
    registries.push(store, stranger, parse(f"{stand_in.host}/x:2"))
    registries.push(store, entry, parse(f"{stand_in.host}/x:1"))
    stand_in.extra_referrer = said.digest
    brought, _ = registries.pull(other, parse(f"{stand_in.host}/x:1"))
    assert other.referrers(brought) == []


def test_a_check_sees_the_entry_before_anybody_else(
    store: Store, other: Store, entry: Entry, stand_in: Any, is_untouched: Callable[[Store], bool]
) -> None:
    store.attach(entry, artifact_type="t/t", media_type="text/plain", data=b"signed")
    registries.push(store, entry, parse(f"{stand_in.host}/x:1"))
    seen = []

    def check(view: Store, found: Entry) -> None:
        view.verify(found)
        seen.append((found.digest, view.read_referrer(view.referrers(found)[0]), other.list()))
        raise RefusedError("no")

    with pytest.raises(RefusedError, match="no"):
        registries.pull(other, parse(f"{stand_in.host}/x:1"), check=check)
    assert seen == [(entry.digest, b"signed", [])]
    assert is_untouched(other)


def test_an_unknown_repository_is_not_found(other: Store, stand_in: Any) -> None:
    with pytest.raises(NotFoundError):
        registries.pull(other, parse(f"{stand_in.host}/nothing:1"))
