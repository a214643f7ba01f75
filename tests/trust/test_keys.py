"""Keys are made safely, read whoever made them, and say what is wrong with them."""

from __future__ import annotations

import hashlib
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import ConflictError, NotFoundError, UsageError
from modelpack.trust import load_private_key, load_public_key, new_key
from modelpack.trust.keys import is_open_to_others

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="'openssl' is not installed"
)


def never() -> bytes | None:
    raise AssertionError("nobody asked for a password")


def openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def test_new_key_is_for_its_owner_alone_and_signs(tmp_path: Path) -> None:
    private = tmp_path / "a.pem"
    public, key_id = new_key(private, None)

    assert public == tmp_path / "a.pub"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert not is_open_to_others(private)
    assert key_id == hashlib.sha256(public.read_bytes()).hexdigest()
    signature = load_private_key(private, never).sign(b"data")
    verifier = load_public_key(public)
    assert verifier.id == key_id
    assert verifier.verifies(signature, b"data")
    assert not verifier.verifies(signature, b"date")
    assert not verifier.verifies(b"no signature", b"data")


def test_same_data_gets_the_same_signature(tmp_path: Path) -> None:
    new_key(tmp_path / "a.pem", None)
    key = load_private_key(tmp_path / "a.pem", never)
    assert key.sign(b"data") == key.sign(b"data")
    assert key.sign(b"data") != key.sign(b"date")


def test_key_is_never_overwritten(tmp_path: Path) -> None:
    new_key(tmp_path / "a.pem", None)
    before = (tmp_path / "a.pem").read_bytes()
    with pytest.raises(ConflictError):
        new_key(tmp_path / "a.pem", None)
    (tmp_path / "a.pem").rename(tmp_path / "b.pem")
    with pytest.raises(ConflictError, match=r"a\.pub"):
        new_key(tmp_path / "a.pem", None)
    assert (tmp_path / "b.pem").read_bytes() == before


def test_private_key_is_not_overwritten_by_its_own_public_one(tmp_path: Path) -> None:
    with pytest.raises(ConflictError):
        new_key(tmp_path / "a.pub", None)
    assert list(tmp_path.iterdir()) == []


def test_password_is_needed_and_must_be_the_right_one(tmp_path: Path) -> None:
    file = tmp_path / "a.pem"
    new_key(file, b"secret")
    assert b"ENCRYPTED" in file.read_bytes()
    load_private_key(file, lambda: b"secret")
    with pytest.raises(UsageError, match="has a password"):
        load_private_key(file, lambda: None)
    with pytest.raises(UsageError, match="another password"):
        load_private_key(file, lambda: b"guess")


@needs_openssl
@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
def test_keys_of_openssl_are_taken(tmp_path: Path, curve: str) -> None:
    private, public = tmp_path / "a.pem", tmp_path / "a.pub"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}",
            "-aes256", "-pass", "pass:secret", "-out", private)  # fmt: skip
    openssl("pkey", "-in", private, "-passin", "pass:secret", "-pubout", "-out", public)
    key = load_private_key(private, lambda: b"secret")
    assert load_public_key(public).verifies(key.sign(b"data"), b"data")


@needs_openssl
def test_other_kinds_of_keys_are_refused(tmp_path: Path) -> None:
    openssl("genpkey", "-algorithm", "ED25519", "-out", tmp_path / "ed.pem")
    with pytest.raises(UsageError, match="no key of an elliptic curve"):
        load_private_key(tmp_path / "ed.pem", never)
    openssl("ecparam", "-name", "secp256k1", "-genkey", "-noout", "-out", tmp_path / "k1.pem")
    with pytest.raises(UsageError, match="curve 'secp256k1'"):
        load_private_key(tmp_path / "k1.pem", never)


def test_files_that_are_no_keys_say_so(tmp_path: Path, release: Any) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UsageError, match="is no private key"):
        load_private_key(tmp_path / "text", never)
    with pytest.raises(UsageError, match="is no public key"):
        load_public_key(tmp_path / "text")
    with pytest.raises(UsageError, match="is a private key"):
        load_public_key(release.private_file)
    with pytest.raises(NotFoundError, match="no key"):
        load_public_key(tmp_path / "nothing")
    with pytest.raises(UsageError, match="cannot be read"):
        load_public_key(tmp_path)


def test_key_that_others_may_read_is_noticed(tmp_path: Path) -> None:
    new_key(tmp_path / "a.pem", None)
    (tmp_path / "a.pem").chmod(0o640)
    assert is_open_to_others(tmp_path / "a.pem")
