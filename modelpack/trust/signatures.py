"""Signatures of an entry: made, kept beside it, found, judged.

    sign(store, entry, key) ──► statement ──seal──► Store.attach ──► a referrer of the entry
    signature_state(store, entry, keys) ──► one Signature for each referrer of that type:

        no Sigstore bundle of ours ............ UNREADABLE
        its key is none of ``keys`` ........... UNKNOWN_KEY   (says nothing either way)
        the key says no, or other files ....... INVALID
        it has run out ........................ EXPIRED
        else .................................. VALID

Anybody who can write to a registry can put a signature beside a bundle, so a bad one never stands
in the way of a good one: who asks looks for one that is VALID.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from modelpack.errors import DigestMismatchError, RefusedError, UsageError
from modelpack.store import Entry, Referrer, Store
from modelpack.store.base import ref_name
from modelpack.store.names import shown
from modelpack.trust.envelope import BUNDLE_TYPE, PAYLOAD_TYPE, open_envelope, seal
from modelpack.trust.files import file_digests
from modelpack.trust.keys import PublicKey, SigningKey
from modelpack.trust.statement import (
    PREDICATE_TYPE,
    TIME_FORM,
    Statement,
    read_statement,
)

CONTENT_ANNOTATION = "dev.sigstore.bundle.content"
PREDICATE_ANNOTATION = "dev.sigstore.bundle.predicateType"

_ANNOTATIONS = {CONTENT_ANNOTATION: "dsse-envelope", PREDICATE_ANNOTATION: PREDICATE_TYPE}
"""What other tools look for to find a signature among referrers without opening each."""


class State(StrEnum):
    """What became of a signature as it was checked."""

    VALID = "valid"
    EXPIRED = "expired"
    INVALID = "invalid"
    UNKNOWN_KEY = "unknown-key"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature beside an entry, and what it is worth."""

    state: State
    referrer: Referrer = field(repr=False)
    key_id: str | None = None
    """Id of the key that it claims to be made with: SHA-256 of the public key's PEM, in hex."""
    key: str | None = None
    """Name of that key, when it is one of those that were given."""
    why: str = ""
    """What is wrong; '' when nothing is."""
    is_whole: bool = False
    """True when it covers name, version and manifest; False: the files alone, or not known."""
    expires: datetime | None = None
    """Its last second, UTC."""

    @property
    def is_valid(self) -> bool:
        """True when it is what one of the given keys says of this very entry."""
        return self.state is State.VALID

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return {
            "state": str(self.state),
            "digest": self.referrer.digest,
            "key": self.key,
            "key_id": self.key_id,
            "covers": ("bundle" if self.is_whole else "files") if self.is_valid else None,
            "expires": self.expires.strftime(TIME_FORM) if self.expires else None,
            "why": self.why or None,
        }

    def describe(self) -> str:
        """Return it as one line for people."""
        by = f"by '{shown(self.key)}'" if self.key else f"by key {shown(self.key_id or '?')[:12]}"
        until = f", until {self.expires.strftime(TIME_FORM)}" if self.expires else ""
        if self.is_valid:
            return f"valid, {by}{until}{'' if self.is_whole else ' (files alone)'}"
        if self.state is State.UNKNOWN_KEY:
            return f"{by}, which is not known: {self.why}"
        return f"{self.state}, {by}: {self.why}" if self.key else f"{self.state}: {self.why}"


def sign(store: Store, entry: Entry, key: SigningKey, *, last_day: date | None = None) -> Referrer:
    """Sign an entry and keep the signature beside it; every byte is checked before.

    key       what ``load_private_key`` returns
    last_day  the last day (UTC) on which the signature holds; default: for ever

    Signing the same with the same key again changes nothing.  Raises DigestMismatchError for a
    damaged entry, NotFoundError when it is gone.
    """
    store.verify(entry)
    built = [one for one in store.list(entry.kind, entry.tag.name) if one.digest == entry.digest]
    tag = next((one.tag for one in built if not one.is_alias), entry.tag)
    statement = Statement(
        name=ref_name(entry.kind, tag),
        files=file_digests(store, entry),
        manifest=entry.digest,
        expires=None if last_day is None else _end_of(last_day),
    )
    return _attach(store, entry, seal(statement.to_json(), key))


def attach_signature(store: Store, entry: Entry, file: Path) -> Referrer:
    """Keep a signature that another tool wrote; whether it holds is not judged here.

    Raises UsageError when the file is no Sigstore bundle that a key made.
    """
    try:
        data = file.read_bytes()
        open_envelope(data)
    except OSError as cause:
        raise UsageError(f"cannot read '{file}': {cause.strerror}") from cause
    except RefusedError as cause:
        raise UsageError(
            f"'{file}' is no signature that modelpack reads: {cause.message}",
            hint="take one that the OpenSSF tool 'model_signing sign key' wrote",
        ) from cause
    return _attach(store, entry, data)


def signature_state(
    store: Store,
    entry: Entry,
    keys: Sequence[PublicKey] | None = None,
    *,
    is_deep: bool = False,
    now: datetime | None = None,
) -> list[Signature]:
    """Return every signature beside an entry, the newest last, with what it is worth.

    keys     those that count; default: those of the policy file, whatever names they are for
    is_deep  read every file and compare it with those signed; else a signature that names the
             digest of the manifest is taken by it (what is read by that digest is checked anyway)
    now      default: the clock

    Runs nothing of the entry.  Raises ConfigError for a policy file with mistakes and, when files
    have to be read, DigestMismatchError.
    """
    referrers = store.referrers(entry, BUNDLE_TYPE)
    if not referrers:
        return []
    if keys is None:
        from modelpack.trust.policy import load_policy

        keys = load_policy().load_keys()
    now = now or datetime.now(UTC)
    digests = cache(lambda: file_digests(store, entry))
    found = []
    for referrer in referrers:
        blank = Signature(state=State.UNREADABLE, referrer=referrer)
        try:
            data = store.read_referrer(referrer)
        except DigestMismatchError as cause:
            found.append(replace(blank, why=cause.message))
            continue
        if not _is_about_something_else(referrer, data):
            found.append(_judged(blank, data, entry, keys, digests, is_deep=is_deep, now=now))
    return found


def _judged(
    blank: Signature,
    data: bytes,
    entry: Entry,
    keys: Sequence[PublicKey],
    digests: Callable[[], dict[str, str]],
    *,
    is_deep: bool,
    now: datetime,
) -> Signature:
    try:
        envelope = open_envelope(data)
    except RefusedError as cause:
        return replace(blank, why=cause.message)
    claimed = envelope.key_id
    blank = replace(blank, key_id=claimed)
    candidates = [key for key in keys if claimed in (None, key.id)]
    if not candidates:
        return replace(blank, state=State.UNKNOWN_KEY, why="it was not checked")
    key = next((one for one in candidates if envelope.is_signed_by(one)), None)
    if key is None:
        why = "it was altered, or made with another key"
        if claimed is None:
            return replace(blank, state=State.UNKNOWN_KEY, why=why)
        return replace(blank, state=State.INVALID, key=candidates[0].name, why=why)
    blank = replace(blank, state=State.INVALID, key=key.name, key_id=key.id)
    if envelope.payload_type != PAYLOAD_TYPE:
        return replace(blank, why=f"it signs a '{shown(envelope.payload_type)}'")
    try:
        statement = read_statement(envelope.payload)
    except RefusedError as cause:
        return replace(blank, why=cause.message)
    blank = replace(blank, expires=statement.expires, is_whole=statement.manifest is not None)
    if statement.manifest not in (None, entry.digest):
        return replace(blank, why=f"it is of another bundle, '{shown(statement.name)}'")
    must_compare = is_deep or statement.manifest is None
    if must_compare and (difference := statement.difference_to(digests())):
        return replace(blank, why=difference)
    if statement.expires is not None and now > statement.expires:
        when = statement.expires.strftime(TIME_FORM)
        return replace(blank, state=State.EXPIRED, why=f"it held until {when}")
    return replace(blank, state=State.VALID)


def _is_about_something_else(referrer: Referrer, data: bytes) -> bool:
    """Say whether it is no signature of files: other attestations come in the same form."""
    if referrer.annotations.get(PREDICATE_ANNOTATION, PREDICATE_TYPE) != PREDICATE_TYPE:
        return True
    try:
        said = json.loads(open_envelope(data).payload)["predicateType"]
    except (RefusedError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return bool(said != PREDICATE_TYPE)


def _attach(store: Store, entry: Entry, data: bytes) -> Referrer:
    return store.attach(
        entry,
        artifact_type=BUNDLE_TYPE,
        media_type=BUNDLE_TYPE,
        data=data,
        annotations=_ANNOTATIONS,
    )


def _end_of(day: date) -> datetime:
    return datetime.combine(day, time(23, 59, 59), UTC)
