"""Against a server that speaks S3: a process of its own on this machine."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from typing import Any

import pytest

from modelpack import registry as registries
from modelpack.errors import ConflictError, LoginNeededError, NotFoundError, UnreachableError
from modelpack.registry import Options, parse
from modelpack.store import Store

pytestmark = pytest.mark.skipif(find_spec("moto") is None, reason="'moto' is not installed")


@pytest.fixture
def bucket(s3: str, request: Any) -> str:
    """The URL of a place in a bucket that no other test uses."""
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket="bundles")
    client.close()
    return f"s3://bundles/{request.node.name.lower()}"


def test_a_bucket_takes_and_gives(workshop: Any, store: Store, other: Store, bucket: str) -> None:
    model = workshop.model(bytes(range(256)) * 80_000)  # more than one part
    entry = workshop.bundle(model=model)
    said = store.attach(entry, artifact_type="t/t", media_type="t/t", data=b"one").digest
    place = registries.destination(bucket, entry.tag)
    first = registries.push(store, entry, place)
    assert first.counts.sent_bytes > 20_000_000
    brought, moved = registries.pull(other, parse(f"{bucket}#digits"))
    assert brought.digest == entry.digest
    assert [one.digest for one in other.referrers(brought)] == [said]
    assert moved.counts.received_bytes > 20_000_000
    other.verify(brought)
    changed = workshop.bundle("2", b"x = 2\n", model=model)
    second = registries.push(store, changed, registries.destination(bucket, changed.tag))
    assert second.counts.sent_bytes < 20_000
    again, _ = registries.pull(other, parse(f"{bucket}#digits"))
    assert again.tag.version == "2"


def test_a_version_in_a_bucket_is_not_replaced_but_an_extra_tag_moves(
    workshop: Any, store: Store, other: Store, bucket: str
) -> None:
    first = workshop.bundle("1")
    for tag in ("digits:1", "digits:production"):
        registries.push(store, first, parse(f"{bucket}#{tag}"))
    second = workshop.bundle("2", b"x = 2\n")
    registries.push(store, second, parse(f"{bucket}#digits:production"))
    registries.push(store, second, parse(f"{bucket}#digits:2"))
    brought, _ = registries.pull(other, parse(f"{bucket}#digits:production"))
    assert brought.digest == second.digest
    store.delete(first)
    changed = workshop.bundle("1", b"x = 3\n")
    with pytest.raises(ConflictError):
        registries.push(store, changed, parse(f"{bucket}#digits:1"))
    registries.push(store, changed, parse(f"{bucket}#digits:1"), options=Options(force=True))


def test_what_is_not_in_a_bucket_is_said(other: Store, bucket: str) -> None:
    for place in (bucket, "s3://no-such-bucket/x"):
        with pytest.raises(NotFoundError):
            registries.pull(other, parse(f"{place}#digits:1"))


def test_a_bucket_that_cannot_be_reached_is_said(
    other: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UnreachableError, match="s3://bundles"):
        registries.pull(other, parse(f"{bucket}#digits:1"))


def test_without_credentials_the_way_to_some_is_said(
    other: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(LoginNeededError) as caught:
        registries.pull(other, parse(f"{bucket}#digits:1"))
    assert "AWS_PROFILE" in str(caught.value.hint)
