"""A signature beside a bundle is worth what its key says of this very bundle, and no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import DigestMismatchError, UsageError
from modelpack.store import Entry, Store
from modelpack.trust import State, attach_signature, sign, signature_state
from modelpack.trust.envelope import BUNDLE_TYPE, seal
from modelpack.trust.files import file_digests
from modelpack.trust.signatures import PREDICATE_ANNOTATION
from modelpack.trust.statement import Statement

MakeBundle = Callable[..., Entry]


def states(store: Store, entry: Entry, *keys: Any, **options: Any) -> list[State]:
    return [one.state for one in signature_state(store, entry, keys, **options)]


def put(store: Store, entry: Entry, data: bytes) -> None:
    store.attach(entry, artifact_type=BUNDLE_TYPE, media_type=BUNDLE_TYPE, data=data)


def files_only(store: Store, entry: Entry, pair: Any, **options: Any) -> bytes:
    files = options.pop("files", None) or file_digests(store, entry)
    return seal(Statement(name="bundle", files=files, **options).to_json(), pair.private)


def test_signature_is_valid_and_changes_nothing_of_the_bundle(
    store: Store, make_bundle: MakeBundle, release: Any
) -> None:
    entry = make_bundle()
    referrer = sign(store, entry, release.private)

    assert store.find(entry.tag, entry.kind).digest == entry.digest
    assert referrer.artifact_type == "application/vnd.dev.sigstore.bundle.v0.3+json"
    (one,) = signature_state(store, entry, [release.public], is_deep=True)
    assert (one.is_valid, one.is_whole, one.key, one.expires) == (True, True, "release", None)
    assert one.describe() == "valid, by 'release'"


def test_signing_again_changes_nothing_and_another_key_adds_one(
    store: Store, make_bundle: MakeBundle, release: Any, lab: Any
) -> None:
    entry = make_bundle()
    first = sign(store, entry, release.private)
    assert sign(store, store.tag(entry, "stable"), release.private).digest == first.digest
    assert states(store, entry, release.public) == [State.VALID]
    sign(store, entry, lab.private)
    assert states(store, entry, release.public) == [State.VALID, State.UNKNOWN_KEY]
    assert states(store, entry, release.public, lab.public) == [State.VALID, State.VALID]


def test_model_is_signed_as_well(store: Store, make_model: Any, release: Any) -> None:
    entry = make_model()
    sign(store, entry, release.private)
    assert states(store, entry, release.public, is_deep=True) == [State.VALID]


def test_damaged_bundle_is_not_signed(store: Store, make_bundle: MakeBundle, release: Any) -> None:
    entry = make_bundle()
    blob = store.root / "blobs" / "sha256" / entry.layers[-1].digest.removeprefix("sha256:")
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[600] ^= 1
    blob.write_bytes(data)
    with pytest.raises(DigestMismatchError):
        sign(store, entry, release.private)
    assert store.referrers(entry) == []


def test_signature_expires_at_the_end_of_its_last_day(
    store: Store, make_bundle: MakeBundle, release: Any
) -> None:
    entry = make_bundle()
    sign(store, entry, release.private, last_day=date(2030, 5, 6))
    last = datetime(2030, 5, 6, 23, 59, 59, tzinfo=UTC)
    assert states(store, entry, release.public, now=last) == [State.VALID]
    after = datetime(2030, 5, 7, tzinfo=UTC)
    (one,) = signature_state(store, entry, [release.public], now=after)
    assert one.state is State.EXPIRED
    assert one.describe() == "expired, by 'release': it held until 2030-05-06T23:59:59Z"
    assert one.to_json()["expires"] == "2030-05-06T23:59:59Z"


def test_bad_signatures_do_not_stand_in_the_way_of_a_good_one(
    store: Store, make_bundle: MakeBundle, release: Any
) -> None:
    entry = make_bundle()
    put(store, entry, b"garbage")
    put(store, entry, b"[" * 100_000)
    sign(store, entry, release.private)
    found = states(store, entry, release.public)
    assert found == [State.UNREADABLE, State.UNREADABLE, State.VALID]


def test_rotten_signature_is_listed_and_does_no_harm(
    store: Store, make_bundle: MakeBundle, release: Any, lab: Any
) -> None:
    entry = make_bundle()
    rotten = sign(store, entry, lab.private)
    sign(store, entry, release.private)
    blob = store.root / "blobs" / "sha256" / rotten.blob.digest.removeprefix("sha256:")
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b" ")
    assert states(store, entry, release.public) == [State.UNREADABLE, State.VALID]


def test_statements_of_other_kinds_are_no_signatures(
    store: Store, make_bundle: MakeBundle, release: Any
) -> None:
    entry = make_bundle()
    said = json.dumps({"predicateType": "https://slsa.dev/provenance/v1"}).encode()
    put(store, entry, seal(said, release.private))
    store.attach(
        entry,
        artifact_type=BUNDLE_TYPE,
        media_type=BUNDLE_TYPE,
        data=b"of a form that nobody knows",
        annotations={PREDICATE_ANNOTATION: "https://cyclonedx.org/bom"},
    )
    assert signature_state(store, entry, [release.public]) == []


def test_files_alone_are_compared_with_every_file(
    store: Store, make_bundle: MakeBundle, release: Any
) -> None:
    entry = make_bundle()
    put(store, entry, files_only(store, entry, release))
    (one,) = signature_state(store, entry, [release.public])
    assert (one.is_valid, one.is_whole) == (True, False)
    assert one.describe() == "valid, by 'release' (files alone)"

    less = {k: v for k, v in file_digests(store, entry).items() if k != "bundle.json"}
    put(store, entry, files_only(store, entry, release, files=less))
    one = signature_state(store, entry, [release.public])[-1]
    assert (one.state, one.why) == (State.INVALID, "'bundle.json' was not signed")


def test_deep_look_finds_a_statement_that_lists_other_files(
    store: Store, make_bundle: MakeBundle, release: Any
) -> None:
    """The holder of the key named the right manifest, and wrong files."""
    entry = make_bundle()
    wrong = {**file_digests(store, entry), "bundle.json": "0" * 64}
    put(store, entry, files_only(store, entry, release, files=wrong, manifest=entry.digest))
    assert states(store, entry, release.public) == [State.VALID]
    assert states(store, entry, release.public, is_deep=True) == [State.INVALID]


def test_hint_decides_which_key_is_tried_and_never_whether_it_fits(
    store: Store, make_bundle: MakeBundle, release: Any, lab: Any
) -> None:
    entry = make_bundle()
    value = json.loads(store.read_referrer(sign(store, entry, lab.private)))
    value["verificationMaterial"]["publicKey"]["hint"] = release.public.id
    put(store, entry, json.dumps(value).encode())
    one = signature_state(store, entry, [release.public])[-1]
    assert (one.state, one.key) == (State.INVALID, "release")

    value["verificationMaterial"]["publicKey"] = {}
    put(store, entry, json.dumps(value).encode())
    one = signature_state(store, entry, [release.public, lab.public])[-1]
    assert (one.state, one.key) == (State.VALID, "lab")
    one = signature_state(store, entry, [release.public])[-1]
    assert (one.state, one.key) == (State.UNKNOWN_KEY, None)


def test_signature_of_another_tool_is_kept(
    store: Store, make_bundle: MakeBundle, release: Any, tmp_path: Path
) -> None:
    entry = make_bundle()
    (tmp_path / "a.sig").write_bytes(files_only(store, entry, release))
    attach_signature(store, entry, tmp_path / "a.sig")
    assert states(store, entry, release.public) == [State.VALID]
    (tmp_path / "b.sig").write_text("{}")
    with pytest.raises(UsageError, match=r"b\.sig' is no signature"):
        attach_signature(store, entry, tmp_path / "b.sig")
    with pytest.raises(UsageError, match="cannot read"):
        attach_signature(store, entry, tmp_path / "c.sig")


def test_signature_travels_in_an_archive(
    store: Store, make_bundle: MakeBundle, release: Any, tmp_path: Path
) -> None:
    entry = make_bundle()
    sign(store, entry, release.private)
    there = Store(tmp_path / "other")
    again = there.import_(store.export(entry, tmp_path / "digits.modelpack"))
    assert again.digest == entry.digest
    assert states(there, again, release.public, is_deep=True) == [State.VALID]
