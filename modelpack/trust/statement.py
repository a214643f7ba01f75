"""What is signed: which files there are, and which bundle they make.

    files of an entry ─┐
    tag, digest        ├─► Statement ──to_json──► in-toto statement, predicate model signing v1.0
    last day           ┘        └──difference_to(files)──► what is not as it was signed

The statement lists every file below ``bundle/`` with its SHA-256, as the signing tool of the OpenSSF
does for a folder, so that this tool checks ours over the unpacked files.  The predicate allows
further properties, which other readers must ignore; ours is ``dev.modelpack``: the digest of the
manifest and, if there is one, the last second of the signature.  By it the
signature covers name, version, file modes and layers too.  A statement without it covers the
files alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from modelpack.errors import RefusedError
from modelpack.manifest import canonical_json
from modelpack.store.durable import DIGEST
from modelpack.store.names import shown

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
OUR_KEY = "dev.modelpack"
TIME_FORM = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a signature says."""

    name: str
    """What the files are called: ``NAME:VERSION`` in ours, a folder's name in those of others."""
    files: Mapping[str, str]
    """SHA-256 in hex by path, relative to the folder that was signed."""
    manifest: str | None = None
    """Digest of the manifest, ``sha256:HEX``; None: the files alone are covered."""
    expires: datetime | None = None
    """Its last second, UTC; None: it does not say."""

    def to_json(self) -> bytes:
        """Return the in-toto statement; the same facts give the same bytes."""
        names = sorted(self.files, key=lambda path: path.split("/"))
        predicate: dict[str, Any] = {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [
                {"name": name, "algorithm": "sha256", "digest": self.files[name]} for name in names
            ],
        }
        ours = {"manifest": self.manifest} if self.manifest else {}
        if self.expires:
            ours["expires"] = self.expires.strftime(TIME_FORM)
        if ours:
            predicate[OUR_KEY] = ours
        return canonical_json(
            {
                "_type": STATEMENT_TYPE,
                "subject": [
                    {
                        "name": self.name,
                        "digest": {"sha256": _root([self.files[name] for name in names])},
                    }
                ],
                "predicateType": PREDICATE_TYPE,
                "predicate": predicate,
            }
        )

    def difference_to(self, files: Mapping[str, str]) -> str | None:
        """Return what is wrong with the files that are there, None when they are those signed.

        Every file must have been signed, also those that a signer chose to ignore.
        """
        for path in sorted(self.files.keys() | files.keys()):
            if path not in files:
                return f"'{shown(path)}' was signed and is missing"
            if path not in self.files:
                return f"'{shown(path)}' was not signed"
            if files[path] != self.files[path]:
                return f"'{shown(path)}' has other bytes than those signed"
        return None


def read_statement(data: bytes) -> Statement:
    """Read a statement whose signature was verified.

    Raises RefusedError for what is not the form above, or does not agree with itself: the reason,
    to stand behind a colon.
    """
    try:
        value = json.loads(data)
        if value["_type"] != STATEMENT_TYPE or value["predicateType"] != PREDICATE_TYPE:
            raise RefusedError(f"it signs something else: '{shown(str(value['predicateType']))}'")
        (subject,) = value["subject"]
        predicate = value["predicate"]
        how = predicate["serialization"]
        if (how["method"], how["hash_type"]) != ("files", "sha256"):
            raise RefusedError(
                f"its files were hashed by '{shown(str(how['method']))}' and "
                f"'{shown(str(how['hash_type']))}', and modelpack reads 'files' and 'sha256'"
            )
        files = _files(predicate["resources"])
        if subject["digest"]["sha256"] != _root([one["digest"] for one in predicate["resources"]]):
            raise ValueError("the digest of the whole is another one")
        ours = predicate.get(OUR_KEY, {})
        return Statement(
            name=str(subject["name"]),
            files=files,
            manifest=_digest(ours.get("manifest")),
            expires=_moment(ours.get("expires")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise RefusedError("its statement is not of the form that it must have") from cause


def _files(resources: list[dict[str, str]]) -> dict[str, str]:
    files: dict[str, str] = {}
    for one in resources:
        if one["algorithm"] != "sha256" or len(bytes.fromhex(one["digest"])) != 32:
            raise ValueError("not a SHA-256")
        if not isinstance(one["name"], str) or one["name"] in files:
            raise ValueError("a name that stands twice")
        files[one["name"]] = one["digest"].lower()
    return files


def _digest(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not DIGEST.fullmatch(value):
        raise ValueError("not a digest")
    return value


def _moment(value: object) -> datetime | None:
    if value is None:
        return None
    return datetime.strptime(str(value), TIME_FORM).replace(tzinfo=UTC)


def _root(digests: list[str]) -> str:
    """Return the SHA-256 over all digests in their order."""
    return hashlib.sha256(b"".join(bytes.fromhex(one) for one in digests)).hexdigest()
