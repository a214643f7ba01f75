"""What others say about an entry, and that it goes where its subject goes."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import DigestMismatchError, NotFoundError, RefusedError
from modelpack.manifest import canonical_json, sha256_digest
from modelpack.store import Entry, Kind, Referrer, Store
from modelpack.store.referrers import EMPTY, EMPTY_TYPE
from modelpack.store.tar import Member, write_tar

BlobPath = Callable[[Store, str], Path]

SIGNATURE = "application/vnd.example.signature"
PROVENANCE = "application/vnd.in-toto+json"


def say(store: Store, entry: Entry, data: bytes = b"said", kind: str = SIGNATURE) -> Referrer:
    return store.attach(entry, artifact_type=kind, media_type="text/plain", data=data)


@pytest.fixture
def entry(workshop: Any) -> Entry:
    found: Entry = workshop.bundle()
    return found


def test_a_statement_is_read_as_it_was_given(entry: Entry, store: Store) -> None:
    notes = {"org.example.by": "somebody"}
    given = store.attach(
        entry, artifact_type=SIGNATURE, media_type="text/plain", data=b"said", annotations=notes
    )
    (found,) = store.referrers(entry)
    assert found == given
    assert store.read_referrer(found) == b"said"
    assert (found.artifact_type, found.media_type, found.annotations) == (
        SIGNATURE,
        "text/plain",
        notes,
    )


def test_its_manifest_is_that_of_the_oci_specification(
    entry: Entry, store: Store, blob_path: BlobPath
) -> None:
    referrer = say(store, entry)
    value = json.loads(blob_path(store, referrer.digest).read_bytes())
    size = blob_path(store, entry.digest).stat().st_size
    image = "application/vnd.oci.image.manifest.v1+json"
    assert value == {
        "schemaVersion": 2,
        "mediaType": image,
        "artifactType": SIGNATURE,
        "config": {"mediaType": EMPTY_TYPE, "digest": sha256_digest(EMPTY), "size": 2},
        "layers": [{"mediaType": "text/plain", "digest": sha256_digest(b"said"), "size": 4}],
        "subject": {"mediaType": image, "digest": entry.digest, "size": size},
    }
    assert referrer.subject.size == size


def test_statements_are_listed_oldest_first_and_by_type(entry: Entry, store: Store) -> None:
    first, second = say(store, entry, b"1"), say(store, entry, b"2", PROVENANCE)
    third = say(store, entry, b"3")
    assert store.referrers(entry) == [first, second, third]
    assert store.referrers(entry, PROVENANCE) == [second]
    assert store.referrers(entry, "application/other") == []


def test_the_same_statement_twice_is_one(entry: Entry, store: Store) -> None:
    assert say(store, entry) == say(store, entry)
    assert len(store.referrers(entry)) == 1


def test_a_statement_changes_nothing_about_the_entry(entry: Entry, store: Store) -> None:
    say(store, entry)
    assert store.list() == [entry]


def test_an_extra_tag_has_the_statements_of_its_entry(entry: Entry, store: Store) -> None:
    alias = store.tag(entry, "production")
    referrer = say(store, alias)
    assert store.referrers(entry) == [referrer]


def test_only_what_is_there_can_be_spoken_about(entry: Entry, store: Store) -> None:
    store.delete(entry)
    with pytest.raises(NotFoundError):
        say(store, entry)


def test_detaching_removes_the_statement_and_its_blobs(entry: Entry, store: Store) -> None:
    blobs = set((store.root / "blobs" / "sha256").iterdir())
    referrer = say(store, entry)
    store.detach(referrer)
    assert store.referrers(entry) == []
    assert set((store.root / "blobs" / "sha256").iterdir()) == blobs
    with pytest.raises(NotFoundError):
        store.detach(referrer)


def test_a_statement_goes_and_comes_back_with_its_entry(
    entry: Entry, store: Store, workshop: Any
) -> None:
    referrer = say(store, entry)
    store.delete(entry)
    assert store.undelete(entry.tag, Kind.BUNDLE) == entry
    assert store.referrers(entry) == [referrer]
    store.delete(entry)
    store.gc()
    assert list((store.root / "blobs" / "sha256").iterdir()) == []
    assert workshop.bundle() is not None
    assert store.referrers(entry) == []


def test_a_statement_stays_while_an_extra_tag_does(entry: Entry, store: Store) -> None:
    referrer = say(store, entry)
    alias = store.tag(entry, "production")
    store.delete(entry)
    store.gc()
    assert store.referrers(alias) == [referrer]
    assert store.read_referrer(referrer) == b"said"


def test_an_archive_brings_the_statements(entry: Entry, store: Store, tmp_path: Path) -> None:
    said = {say(store, entry, data).digest for data in (b"1", b"2", b"3")}
    archive = store.export(entry, tmp_path)
    other = Store(tmp_path / "other")
    assert {one.digest for one in other.referrers(other.import_(archive))} == said
    assert other.export(other.list()[0], tmp_path / "again").read_bytes() == archive.read_bytes()
    other.verify(other.list()[0])


def test_an_archive_adds_statements_to_an_entry_that_is_there(
    entry: Entry, store: Store, tmp_path: Path
) -> None:
    other = Store(tmp_path / "other")
    other.import_(store.export(entry, tmp_path / "bare"))
    say(store, entry)
    for _ in range(2):
        found = other.import_(store.export(entry, tmp_path / "signed"))
        assert len(other.referrers(found)) == 1


def read(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        files = {one.name: tar.extractfile(one) for one in tar.getmembers() if one.isfile()}
        return {name: file.read() for name, file in files.items() if file is not None}


@pytest.mark.parametrize("change", ["other subject", "twice", "no data", "no subject"])
def test_an_archive_with_a_statement_that_does_not_fit_is_refused(
    change: str, entry: Entry, store: Store, workshop: Any, tmp_path: Path
) -> None:
    referrer, stranger = say(store, entry), say(store, workshop.bundle("stranger"))
    files = read(store.export(entry, tmp_path / "x"))
    index = json.loads(files["index.json"])
    mine, said = index["manifests"]
    if change == "other subject":
        said = stranger.descriptor
        del files[f"blobs/sha256/{referrer.digest[7:]}"]
        with store.open_blob(stranger.digest) as blob:
            files[f"blobs/sha256/{stranger.digest[7:]}"] = blob.read()
    elif change == "no data":
        del files[f"blobs/sha256/{referrer.blob.hex}"]
    listed = {"twice": [mine, said, said], "no subject": [mine, mine]}.get(change, [mine, said])
    files["index.json"] = canonical_json({**index, "manifests": listed})
    with (tmp_path / "y").open("wb") as out:
        write_tar(out, [Member.of_bytes(path, data) for path, data in files.items()])
    other = Store(tmp_path / "other")
    with pytest.raises(RefusedError):
        other.import_(tmp_path / "y")
    assert other.list() == []


def test_a_rotten_statement_is_said_by_verify(
    entry: Entry, store: Store, blob_path: BlobPath
) -> None:
    referrer = say(store, entry)
    file = blob_path(store, referrer.blob.digest)
    file.chmod(0o644)
    file.write_bytes(b"sai!")
    with pytest.raises(DigestMismatchError, match=f"referrer '{SIGNATURE}' is damaged"):
        store.verify(entry)
    with pytest.raises(DigestMismatchError):
        store.read_referrer(referrer)


def test_a_statement_of_another_tool_counts_as_well(
    entry: Entry, store: Store, blob_path: BlobPath
) -> None:
    """It stands in the index without our annotation, and its type is that of its config."""
    referrer = say(store, entry)
    value = json.loads(blob_path(store, referrer.digest).read_bytes())
    del value["artifactType"]
    manifest = canonical_json(value)
    blob_path(store, sha256_digest(manifest)).write_bytes(manifest)
    index = json.loads((store.root / "index.json").read_bytes())
    image = "application/vnd.oci.image.manifest.v1+json"
    index["manifests"].append(
        {"mediaType": image, "digest": sha256_digest(manifest), "size": len(manifest)}
    )
    (store.root / "index.json").write_bytes(canonical_json(index))
    assert [one.artifact_type for one in store.referrers(entry)] == [SIGNATURE, EMPTY_TYPE]
