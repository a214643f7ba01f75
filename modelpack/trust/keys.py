"""The keys that sign and those that verify: elliptic curves, in PEM files.

    new_key(FILE) ──► FILE      the private key, PKCS #8, mode 0600, under a password if there is one
                  └─► FILE.pub  the public key: what others get
    load_private_key(FILE) ──► SigningKey       load_public_key(FILE) ──► PublicKey

P-256 is what ``new_key`` makes; P-384 and P-521 are taken as well, each with the hash that belongs
to it.  A key is known by its **id**: the SHA-256 of the public key's PEM text, in hex, which is the
hint that signatures carry.  ``cryptography`` is loaded by the functions that need it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelpack.errors import ConflictError, NotFoundError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        ECDSA,
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

PUBLIC_SUFFIX = ".pub"
MAX_KEY_BYTES = 64 * 1024

_MAKE_ONE = "make one: modelpack sign --new-key FILE"
_CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
"""The curves that are taken, each with the name of its hash."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What verifies."""

    name: str
    """How messages call it: a file, or the name that a policy gives it."""
    id: str
    """SHA-256 of its PEM text, in hex."""
    key: EllipticCurvePublicKey

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Say whether the signature (ASN.1, as ECDSA has it) is this key's over the data."""
        from cryptography.exceptions import InvalidSignature

        try:
            self.key.verify(signature, data, _ecdsa(self.key))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What signs."""

    key: EllipticCurvePrivateKey
    id: str
    """Id of the public key that belongs to it."""

    def sign(self, data: bytes) -> bytes:
        """Return the signature over the data; the same data gives the same one (RFC 6979)."""
        return self.key.sign(data, _ecdsa(self.key.public_key(), is_deterministic=True))


def new_key(file: Path, password: bytes | None) -> tuple[Path, str]:
    """Make a pair of keys; return the file of the public one and the id.

    The private key is written to ``file``, encrypted when there is a password, readable for its
    owner alone.  Raises ConflictError when one of the two files is there already.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    public_file = file.with_suffix(PUBLIC_SUFFIX)
    for one in (file, public_file):
        if one.exists() or one == public_file == file:
            raise ConflictError(
                f"'{one}' is there already", hint="a key is never overwritten: name another file"
            )
    key = ec.generate_private_key(ec.SECP256R1())
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    _write_new(file, private, 0o600)
    _write_new(public_file, _pem(key.public_key()), 0o644)
    return public_file, _id(key.public_key())


def load_private_key(file: Path, ask_password: Callable[[], bytes | None]) -> SigningKey:
    """Return the key of a PEM file; the password is asked for only when the file needs one.

    Raises NotFoundError, and UsageError for what is no such key or has another password.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(file)
    try:
        key: object
        try:
            key = load_pem_private_key(data, None)
        except TypeError:  # it is encrypted
            if not (password := ask_password()):
                raise UsageError(
                    f"the key '{file}' has a password",
                    hint="give it by '--password-file' or MODELPACK_KEY_PASSWORD",
                ) from None
            key = _decrypted(data, password, file)
    except (ValueError, UnsupportedAlgorithm) as cause:
        raise UsageError(f"'{file}' is no private key in PEM form", hint=_MAKE_ONE) from cause
    if not isinstance(key, EllipticCurvePrivateKey):
        raise UsageError(f"'{file}' is no key of an elliptic curve", hint=_MAKE_ONE)
    _check_curve(key.public_key(), file)
    return SigningKey(key, _id(key.public_key()))


def load_public_key(file: Path, name: str | None = None) -> PublicKey:
    """Return the public key of a PEM file; raises NotFoundError and UsageError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _read(file)
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as cause:
        hint = "give the '.pub' file that belongs to the private key"
        if b"PRIVATE KEY" in data:
            raise UsageError(f"'{file}' is a private key", hint=hint) from cause
        raise UsageError(f"'{file}' is no public key in PEM form", hint=hint) from cause
    if not isinstance(key, EllipticCurvePublicKey):
        raise UsageError(f"'{file}' is no key of an elliptic curve", hint=_MAKE_ONE)
    _check_curve(key, file)
    return PublicKey(name or str(file), _id(key), key)


def is_open_to_others(file: Path) -> bool:
    """Say whether others than its owner may read the file of a private key."""
    return bool(stat.S_IMODE(file.stat().st_mode) & 0o077)


def _decrypted(data: bytes, password: bytes, file: Path) -> object:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(data, password)
    except ValueError as cause:
        raise UsageError(
            f"the key '{file}' has another password", hint="give the one it was made with"
        ) from cause


def _check_curve(key: EllipticCurvePublicKey, file: Path) -> None:
    if key.curve.name not in _CURVES:
        raise UsageError(
            f"'{file}' is a key of the curve '{key.curve.name}'",
            hint=f"taken are {', '.join(_CURVES)} (P-256, P-384, P-521)",
        )


def _ecdsa(key: EllipticCurvePublicKey, *, is_deterministic: bool = False) -> ECDSA:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    chosen: type[hashes.HashAlgorithm] = getattr(hashes, _CURVES[key.curve.name])
    return ECDSA(chosen(), deterministic_signing=is_deterministic)


def _pem(key: EllipticCurvePublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _id(key: EllipticCurvePublicKey) -> str:
    return hashlib.sha256(_pem(key)).hexdigest()


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_KEY_BYTES)
    except FileNotFoundError as cause:
        raise NotFoundError(f"no key '{file}'", hint=_MAKE_ONE) from cause
    except OSError as cause:
        raise UsageError(f"the key '{file}' cannot be read: {cause.strerror}") from cause


def _write_new(file: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(file, flags, mode), "wb") as out:
        out.write(data)
