"""Against the registry of Debian: a process of its own, which has no referrers API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelpack import registry as registries
from modelpack.errors import (
    BadReferenceError,
    ConflictError,
    DigestMismatchError,
    LoginNeededError,
    NotFoundError,
    RefusedError,
)
from modelpack.manifest import sha256_digest
from modelpack.registry import Counts, Credentials, Options, credentials, parse
from modelpack.store import Entry, Store

WEIGHTS = b"w" * 3_000_000
STATEMENT = "application/vnd.in-toto+json"


def state(store: Store, entry: Entry, text: bytes = b'{"a":1}') -> str:
    kind = "application/json"
    return store.attach(entry, artifact_type=STATEMENT, media_type=kind, data=text).digest


@pytest.fixture
def place(registry: str, request: pytest.FixtureRequest) -> str:
    """A repository that no other test uses."""
    return f"{registry}/test/{sha256_digest(request.node.name.encode())[7:19]}"


def test_what_is_pushed_comes_back_the_same(
    workshop: Any, store: Store, other: Store, place: str
) -> None:
    for entry in (workshop.model(WEIGHTS), workshop.bundle()):
        registries.push(store, entry, parse(f"{place}/{entry.kind}:1"))
        brought, _ = registries.pull(other, parse(f"{place}/{entry.kind}:1"))
        assert (brought.kind, brought.tag, brought.digest) == (entry.kind, entry.tag, entry.digest)
        assert brought.layers == entry.layers
        other.verify(brought)


def test_a_code_change_sends_the_code_alone(workshop: Any, store: Store, place: str) -> None:
    model = workshop.model(WEIGHTS)
    first = registries.push(store, workshop.bundle("1", model=model), parse(f"{place}:1"))
    changed = workshop.bundle("2", b"x = 2\n", model=model)
    second = registries.push(store, changed, parse(f"{place}:2"))
    assert first.counts.sent_bytes > len(WEIGHTS)
    assert second.counts.sent_bytes < 20_000
    assert second.counts.saved_bytes > len(WEIGHTS)


def test_pushing_again_sends_nothing(workshop: Any, store: Store, place: str) -> None:
    entry = workshop.bundle()
    registries.push(store, entry, parse(f"{place}:1"))
    again = registries.push(store, entry, parse(f"{place}:1"))
    assert again.counts.sent_bytes == 0
    assert again.counts.saved_bytes == again.size_bytes - _manifest_size(store, entry)


def _manifest_size(store: Store, entry: Entry) -> int:
    return (store.root / "blobs" / "sha256" / entry.digest[7:]).stat().st_size


def test_another_repository_of_the_registry_gives_its_blobs(
    workshop: Any, store: Store, place: str
) -> None:
    entry = workshop.bundle(model=workshop.model(WEIGHTS))
    registries.push(store, entry, parse(f"{place}/a:1"))
    moved = registries.push(store, entry, parse(f"{place}/b:1"))
    assert moved.counts.mounted_bytes > len(WEIGHTS)
    assert moved.counts.sent_bytes < 10_000


def test_a_copy_within_a_registry_sends_documents_alone(
    workshop: Any, store: Store, other: Store, place: str
) -> None:
    entry = workshop.bundle(model=workshop.model(WEIGHTS))
    digest = state(store, entry)
    registries.push(store, entry, parse(f"{place}/a:1"))
    moved = registries.copy(parse(f"{place}/a:1"), parse(f"{place}/b:7"))
    assert moved.digest == entry.digest
    assert moved.counts.mounted_bytes > len(WEIGHTS)
    assert moved.counts.sent_bytes < 10_000
    brought, _ = registries.pull(other, parse(f"{place}/b:7"))
    assert [one.digest for one in other.referrers(brought)] == [digest]


def test_statements_go_along_by_the_tag_that_stands_in(
    workshop: Any, store: Store, other: Store, place: str
) -> None:
    entry = workshop.bundle()
    digests = [state(store, entry, b"one"), state(store, entry, b"two")]
    moved = registries.push(store, entry, parse(f"{place}:1"))
    assert moved.statements == 2
    host, repository = place.split("/", 1)
    tag = entry.digest.replace(":", "-")
    index = httpx.get(
        f"http://{host}/v2/{repository}/manifests/{tag}",
        headers={"Accept": "application/vnd.oci.image.index.v1+json"},
    ).json()
    assert {one["digest"] for one in index["manifests"]} == set(digests)
    assert {one["artifactType"] for one in index["manifests"]} == {STATEMENT}
    brought, _ = registries.pull(other, parse(f"{place}:1"))
    assert {one.digest for one in other.referrers(brought)} == set(digests)
    assert {other.read_referrer(one) for one in other.referrers(brought)} == {b"one", b"two"}


def test_a_statement_that_comes_later_is_pushed_alone(
    workshop: Any, store: Store, other: Store, place: str
) -> None:
    entry = workshop.bundle(model=workshop.model(WEIGHTS))
    registries.push(store, entry, parse(f"{place}:1"))
    registries.pull(other, parse(f"{place}:1"))
    state(store, entry)
    assert registries.push(store, entry, parse(f"{place}:1")).counts.sent_bytes < 10_000
    brought, moved = registries.pull(other, parse(f"{place}:1"))
    assert len(other.referrers(brought)) == 1
    assert moved.counts.received_bytes < 10_000


def test_pulling_by_digest_gives_exactly_that(
    workshop: Any, store: Store, other: Store, place: str
) -> None:
    entry = workshop.bundle()
    registries.push(store, entry, parse(f"{place}:1"))
    brought, _ = registries.pull(other, parse(f"{place}@{entry.digest}"))
    assert brought.digest == entry.digest


def test_a_version_that_is_taken_is_not_replaced(workshop: Any, store: Store, place: str) -> None:
    registries.push(store, workshop.bundle("1"), parse(f"{place}:1"))
    store.delete(store.list(name="digits")[-1])
    changed = workshop.bundle("1", b"x = 2\n")
    with pytest.raises(ConflictError, match="already exists with other content"):
        registries.push(store, changed, parse(f"{place}:1"))
    moved = registries.push(store, changed, parse(f"{place}:1"), options=Options(force=True))
    assert moved.digest == changed.digest


def test_an_extra_tag_moves(workshop: Any, store: Store, other: Store, place: str) -> None:
    for version in ("1", "2"):
        entry = workshop.bundle(version, b"x = " + version.encode())
        registries.push(store, entry, parse(f"{place}:production"))
    brought, _ = registries.pull(other, parse(f"{place}:production"))
    assert brought.tag.version == "2"


def test_a_version_with_other_content_here_is_a_conflict(
    workshop: Any, store: Store, other: Store, place: str
) -> None:
    entry = workshop.bundle("1")
    registries.push(store, entry, parse(f"{place}:1"))
    store.delete(entry)
    mine = workshop.bundle("1", b"mine = 1\n")
    counts = Counts()
    with pytest.raises(ConflictError):
        registries.pull(store, parse(f"{place}:1"), counts=counts)
    assert counts.received_bytes < 10_000  # before anything big was fetched
    assert [one.digest for one in store.list(name="digits")] == [mine.digest]
    assert not (store.root / ".incoming").exists()


def test_what_is_not_there_is_said_with_what_is(workshop: Any, store: Store, place: str) -> None:
    registries.push(store, workshop.bundle(), parse(f"{place}:1"))
    with pytest.raises(NotFoundError) as caught:
        registries.pull(store, parse(f"{place}:9"))
    assert "its tags are 1" in str(caught.value.hint)
    with pytest.raises(NotFoundError):
        registries.pull(store, parse(f"{place}/nothing:1"))


def test_what_is_no_bundle_is_refused(
    other: Store, place: str, is_untouched: Callable[[Store], bool]
) -> None:
    host, repository = place.split("/", 1)
    empty = b"{}"
    start = httpx.post(f"http://{host}/v2/{repository}/blobs/uploads/").headers["location"]
    httpx.put(f"{start}&digest={sha256_digest(empty)}", content=empty)
    kind = "application/vnd.oci.image.manifest.v1+json"
    config = {"mediaType": "application/vnd.oci.image.config.v1+json"}
    config |= {"digest": sha256_digest(empty), "size": 2}
    image = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": []}
    url = f"http://{host}/v2/{repository}/manifests/image"
    done = httpx.put(url, content=json.dumps(image), headers={"Content-Type": kind})
    assert done.status_code == 201
    with pytest.raises(RefusedError, match="not a model or bundle"):
        registries.pull(other, parse(f"{place}:image"))
    assert is_untouched(other)


def test_a_blob_that_rotted_here_is_not_pushed(workshop: Any, store: Store, place: str) -> None:
    entry = workshop.bundle(model=workshop.model(WEIGHTS))
    path = store.root / "blobs" / "sha256" / entry.layers[0].digest[7:]
    path.chmod(0o644)
    path.write_bytes(b"W" + path.read_bytes()[1:])
    with pytest.raises(DigestMismatchError) as caught:
        registries.push(store, entry, parse(f"{place}:1"))
    assert "digits:1" in str(caught.value)
    assert entry.layers[0].digest in str(caught.value)
    with pytest.raises(NotFoundError):
        registries.pull(store, parse(f"{place}:1"))


def test_a_blob_that_rotted_here_is_healed_by_a_pull(
    workshop: Any, store: Store, place: str
) -> None:
    entry = workshop.bundle(model=workshop.model(WEIGHTS))
    registries.push(store, entry, parse(f"{place}:1"))
    path = store.root / "blobs" / "sha256" / entry.layers[0].digest[7:]
    path.chmod(0o644)
    path.write_bytes(b"W" + path.read_bytes()[1:])
    registries.pull(store, parse(f"{place}:1"))
    store.verify(entry)


# Logging in


def test_without_a_login_the_way_to_one_is_said(workshop: Any, store: Store, guarded: str) -> None:
    entry = workshop.bundle()
    for act in (
        lambda: registries.push(store, entry, parse(f"{guarded}/x:1")),
        lambda: registries.pull(store, parse(f"{guarded}/x:1")),
    ):
        with pytest.raises(LoginNeededError) as caught:
            act()
        assert caught.value.hint == f"run 'modelpack login {guarded}'"
        assert caught.value.exit_code == 4


def test_a_login_is_tried_and_kept_where_docker_keeps_it(
    workshop: Any, store: Store, other: Store, guarded: str, tmp_path: Path
) -> None:
    with pytest.raises(LoginNeededError, match="does not accept 'me'"):
        registries.login(guarded, Credentials("me", "wrong"))
    assert credentials.find(guarded) is None
    place = registries.login(guarded, Credentials("me", "secret"))
    assert place == str(tmp_path / "docker" / "config.json")
    assert Path(place).stat().st_mode & 0o777 == 0o600
    registries.push(store, workshop.bundle(), parse(f"{guarded}/x:1"))
    registries.pull(other, parse(f"{guarded}/x:1"))
    assert credentials.remove(guarded)
    with pytest.raises(LoginNeededError):
        registries.pull(other, parse(f"{guarded}/x:1"))


# Layouts


def test_a_folder_takes_and_gives_as_a_registry_does(
    workshop: Any, store: Store, other: Store, tmp_path: Path
) -> None:
    entry = workshop.bundle()
    digest = state(store, entry)
    folder = f"file://{tmp_path}/a%20place"
    registries.push(store, entry, parse(f"{folder}#digits:1"))
    registries.push(store, entry, parse(f"{folder}#digits:production"))
    for tag in ("", "#digits", "#digits:1", "#digits:production", f"#{entry.digest}"):
        brought, _ = registries.pull(other, parse(folder + tag))
        assert brought.digest == entry.digest
    assert [one.digest for one in other.referrers(brought)] == [digest]
    registries.push(store, workshop.bundle("2", b"x = 2\n"), parse(f"{folder}#digits:2"))
    with pytest.raises(NotFoundError, match="say which"):
        registries.pull(other, parse(folder))
    with pytest.raises(NotFoundError) as caught:
        registries.pull(other, parse(f"{folder}#digits:3"))
    assert "did you mean" in str(caught.value.hint)
    with pytest.raises(NotFoundError, match=r"index\.json"):
        registries.pull(other, parse(f"file://{tmp_path}/nothing"))


def test_a_web_server_gives_and_does_not_take(
    workshop: Any, store: Store, other: Store, web: Callable[[Path], str]
) -> None:
    entry = workshop.bundle()
    digest = state(store, entry)
    url = web(store.root)
    brought, moved = registries.pull(other, parse(f"{url}#digits:1"))
    assert brought.digest == entry.digest
    assert moved.counts.received_bytes > 10_000
    assert [one.digest for one in other.referrers(brought)] == [digest]
    with pytest.raises(RefusedError, match="can only be read"):
        registries.push(store, entry, parse(f"{url}#digits:1"))
    with pytest.raises(NotFoundError):
        registries.pull(other, parse(f"{url}/nothing#digits:1"))


def test_plain_http_is_for_this_machine_alone(other: Store) -> None:
    with pytest.raises(RefusedError, match="without TLS"):
        registries.pull(other, parse("http://registry.example/x#digits:1"))


def test_a_reference_by_digest_is_not_pushed_to(workshop: Any, store: Store) -> None:
    with pytest.raises(BadReferenceError):
        registries.destination(f"r.example/x@{workshop.bundle().digest}", workshop.bundle().tag)
