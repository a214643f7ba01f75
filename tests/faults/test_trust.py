"""S23: provenance.  What is not as it was signed, or not by whom it must be, is refused.

signed bundle ──a file changed, added, removed, renamed; a byte of the store, of the envelope──► exit 4
signature     ──of another bundle, by another key, run out──────────────────────────────────────► exit 4
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from modelpack.cli.main import main
from modelpack.errors import DigestMismatchError, RefusedError, UntrustedError
from modelpack.manifest import BundleManifest, FileRecord
from modelpack.store import Entry, Store
from modelpack.trust import (
    PublicKey,
    SigningKey,
    check,
    load_private_key,
    load_public_key,
    new_key,
    sign,
    verify,
)
from modelpack.trust.envelope import BUNDLE_TYPE, open_envelope, seal
from modelpack.trust.files import file_digests
from modelpack.trust.statement import Statement

FILES = {"service.py": b"class Digits: ...\n", "labels.txt": b"zero\none\n", "empty": b""}
LOCK = "numpy==2.0.0 \\\n    --hash=sha256:" + "0" * 64 + "\n"

Make = Callable[..., Entry]


@pytest.fixture(autouse=True)
def _never_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not refused would take this process's place, or never end."""

    def served(*_: object, **__: object) -> None:
        raise AssertionError("it would have been served")

    monkeypatch.setattr("os.execve", served)
    monkeypatch.setattr("modelpack.server.run", served)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Store a bundle of these files."""

    def made(files: Mapping[str, bytes] = FILES, name: str = "digits", version: str = "1") -> Entry:
        folder = tmp_path / f"source-{name}-{version}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        records = []
        for path, data in files.items():
            (folder / path).write_bytes(data)
            sha256 = hashlib.sha256(data).hexdigest()
            records.append(FileRecord(path=path, mode=0o644, size=len(data), sha256=sha256))
        manifest = BundleManifest(
            service="service:Digits",
            model=None,
            python="3.11",
            files=tuple(sorted(records, key=lambda record: record.path)),
            models=(),
            lock_sha256=hashlib.sha256(LOCK.encode()).hexdigest(),
            apis=(),
        )
        return Store().add_bundle(name, manifest, root=folder, lock=LOCK, version=version).entry

    return made


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pairs a and b."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("a", "b"):
        new_key(folder / f"{name}.pem", None)
    return folder


@pytest.fixture
def private(keys: Path) -> SigningKey:
    return load_private_key(keys / "a.pem", lambda: None)


@pytest.fixture
def public(keys: Path) -> PublicKey:
    return load_public_key(keys / "a.pub", "a")


@pytest.fixture
def policy(keys: Path) -> None:
    """Only what the key a has signed may be used."""
    file = Store().root.parent / "trust.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f"keys:\n  a: {{file: {keys / 'a.pub'}, files_only: true}}\n"
        'rules:\n  - {names: ["*"], require_signature: [serve, pull, deploy, containerize]}\n'
    )


def put(entry: Entry, data: bytes) -> None:
    Store().attach(entry, artifact_type=BUNDLE_TYPE, media_type=BUNDLE_TYPE, data=data)


def refused(entry: Entry, public: PublicKey, why: str) -> None:
    """Check that no way leads past it: verify, the policy, the command."""
    store = Store()
    report = verify(store, entry, [public])
    assert why in str(report.problem)
    with pytest.raises(UntrustedError, match="no signature"):
        check(store, entry, "serve")
    assert main(["verify", str(entry.tag)]) == 4
    assert main(["serve", str(entry.tag), "--port", "0"]) == 4


CHANGES: dict[str, tuple[dict[str, bytes | None], str]] = {
    "changed": ({"labels.txt": b"zero\ntwo\n"}, "'bundle.json' has other bytes"),
    "added": ({"more.txt": b"more"}, "'bundle.json' has other bytes"),
    "removed": ({"labels.txt": None}, "'bundle.json' has other bytes"),
    "renamed": ({"labels.txt": None, "names.txt": b"zero\none\n"}, "'bundle.json' has other bytes"),
}


def with_changes(changes: Mapping[str, bytes | None]) -> dict[str, bytes]:
    merged = {**FILES, **changes}
    return {path: data for path, data in merged.items() if data is not None}


@pytest.mark.parametrize("how", CHANGES)
def test_s23_a_bundle_whose_files_are_other_ones_is_refused(
    make: Make, private: SigningKey, public: PublicKey, policy: None, how: str
) -> None:
    """Somebody packs a whole bundle under the same name and puts the old signature beside it."""
    store, signed = Store(), make()
    data = store.read_referrer(sign(store, signed, private))
    check(store, signed, "serve")
    store.delete(signed)

    other = make(with_changes(CHANGES[how][0]))
    assert (other.tag, other.digest != signed.digest) == (signed.tag, True)
    put(other, data)
    refused(other, public, "it is of another bundle, 'digits:1'")


@pytest.mark.parametrize("how", CHANGES)
def test_s23_a_signature_of_the_files_alone_names_the_file(
    make: Make, private: SigningKey, public: PublicKey, policy: None, how: str
) -> None:
    """As other tools sign: the list of files is all that there is to go by."""
    store, signed = Store(), make()
    files = file_digests(store, signed)
    data = seal(Statement(name="bundle", files=files).to_json(), private)
    put(signed, data)
    check(store, signed, "serve")
    store.delete(signed)

    other = make(with_changes(CHANGES[how][0]))
    put(other, data)
    refused(other, public, CHANGES[how][1])
    there = file_digests(store, other)
    there["bundle.json"] = files["bundle.json"]  # the record differs first, then the file itself
    named = {
        "changed": "'code/labels.txt' has other bytes than those signed",
        "added": "'code/more.txt' was not signed",
        "removed": "'code/labels.txt' was signed and is missing",
        "renamed": "'code/labels.txt' was signed and is missing",
    }
    assert Statement(name="bundle", files=files).difference_to(there) == named[how]


def test_s23_another_name_or_version_of_the_same_files_is_not_what_was_signed(
    make: Make, private: SigningKey, public: PublicKey, policy: None
) -> None:
    store, signed = Store(), make()
    data = store.read_referrer(sign(store, signed, private))
    for other in (make(version="2"), make(name="fraud")):
        put(other, data)
        refused(other, public, "it is of another bundle, 'digits:1'")


def test_s23_a_signature_by_another_key_is_refused(
    make: Make, keys: Path, public: PublicKey, policy: None
) -> None:
    store, entry = Store(), make()
    sign(store, entry, load_private_key(keys / "b.pem", lambda: None))
    refused(entry, public, "none is by 'a'")


def test_s23_a_signature_that_has_run_out_is_refused(
    make: Make, private: SigningKey, public: PublicKey, policy: None
) -> None:
    store, entry = Store(), make()
    sign(store, entry, private, last_day=date(2001, 2, 3))
    refused(entry, public, "is expired, it held until 2001-02-03T23:59:59Z")
    check(store, entry, "serve", now=datetime(2001, 2, 3, tzinfo=UTC))


def test_s23_an_expiry_cannot_be_taken_out_of_the_envelope(
    make: Make, private: SigningKey, public: PublicKey, policy: None
) -> None:
    store, entry = Store(), make()
    bundle = json.loads(store.read_referrer(sign(store, entry, private, last_day=date(2001, 2, 3))))
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    del payload["predicate"]["dev.modelpack"]["expires"]
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    for referrer in store.referrers(entry):
        store.detach(referrer)
    put(entry, json.dumps(bundle).encode())
    refused(entry, public, "that by 'a' is invalid, it was altered, or made with another key")


def test_s23_no_altered_byte_of_an_envelope_is_believed(
    make: Make, private: SigningKey, public: PublicKey
) -> None:
    """Each byte of the signed statement and of the signature, one bit each: none verifies."""
    store, entry = Store(), make()
    good = open_envelope(store.read_referrer(sign(store, entry, private)))
    assert good.is_signed_by(public)
    believed = 0
    for field in ("payload", "signature", "payload_type"):
        text = field == "payload_type"
        value = good.payload_type.encode() if text else getattr(good, field)
        for index in range(len(value)):
            changed = bytearray(value)
            changed[index] ^= 1 << index % 7
            new = changed.decode() if text else bytes(changed)
            believed += type(good)(
                **{
                    "payload_type": good.payload_type,
                    "payload": good.payload,
                    "signature": good.signature,
                    "key_id": good.key_id,
                    field: new,
                }
            ).is_signed_by(public)
    assert believed == 0


def test_s23_an_envelope_cut_short_is_refused(make: Make, private: SigningKey) -> None:
    store, entry = Store(), make()
    data = store.read_referrer(sign(store, entry, private))
    for length in range(len(data)):
        with pytest.raises(RefusedError):
            open_envelope(data[:length])


def test_s23_a_rotten_byte_is_refused_though_the_signature_is_good(
    make: Make, private: SigningKey, public: PublicKey
) -> None:
    store, entry = Store(), make()
    sign(store, entry, private)
    blob = store.root / "blobs" / "sha256" / entry.layers[-1].digest.removeprefix("sha256:")
    whole = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(whole.replace(b"class Digits", b"class digits"))
    with pytest.raises(DigestMismatchError, match=r"service\.py"):
        verify(store, entry, [public])
    assert main(["verify", "digits:1"]) == 4
    blob.write_bytes(whole)
    assert verify(store, entry, [public]).problem is None


def test_s23_a_good_signature_survives_others_that_are_put_beside_it(
    make: Make, private: SigningKey, public: PublicKey, policy: None
) -> None:
    """Whoever may write to a registry must not be able to keep others from a good bundle."""
    store, entry, other = Store(), make(), make(name="other")
    put(entry, b"{")
    put(entry, store.read_referrer(sign(store, other, private)))
    sign(store, entry, private)
    put(entry, b"}")
    check(store, entry, "serve")
    assert verify(store, entry, [public]).problem is None
