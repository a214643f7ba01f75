"""The small local memory of which deployment was sent where.

    deployments/NAME.json    target, its options, and what the local target keeps (0600)
    deployments/.NAME.lock   held while the deployment is being changed
    (NAME.journal and NAME.history beside them belong to ``journal`` and ``revisions``)

A record only says whom to ask.  What is true is what the target's engine answers: a record of
something that is gone is dropped, and something without a record is found by asking the targets.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelpack import paths
from modelpack.errors import ConflictError, TagError
from modelpack.manifest import canonical_json
from modelpack.tag import check_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Where a deployment was sent."""

    name: str
    target: str
    options: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the target itself wants to remember; only the local one does."""


def read(name: str) -> Record | None:
    """Return the record, or None when there is none that can be read; raises TagError."""
    try:
        value = json.loads(_file(name).read_bytes())
        return Record(
            name=name,
            target=str(value["target"]),
            options={str(k): str(v) for k, v in value["options"].items()},
            details=dict(value["details"]),
        )
    except (FileNotFoundError, KeyError, TypeError, ValueError, AttributeError):
        # A damaged record is no record: the engines know what stands.
        return None


def write(record: Record) -> None:
    """Keep the record: the old one or the new one is there at any moment, whole."""
    value = {
        "target": record.target,
        "options": dict(record.options),
        "details": dict(record.details),
    }
    write_private(_file(record.name), canonical_json(value))


def forget(name: str) -> None:
    """Drop the record, if there is one."""
    _file(name).unlink(missing_ok=True)


def sweep(name: str) -> None:
    """Remove the halves of files that a killed process has left; whoever calls holds the lock."""
    halves = re.compile(rf"\.{re.escape(name)}\.(json|journal|history)\.[0-9a-f]{{16}}")
    for file in _file(name).parent.glob(".*"):
        if halves.fullmatch(file.name):
            file.unlink(missing_ok=True)


def remember(name: str, target: str, options: Mapping[str, str]) -> None:
    """Note the target of a deployment; details stay when the target is the same."""
    former = read(name)
    details = former.details if former is not None and former.target == target else {}
    write(Record(name=name, target=target, options=options, details=details))


def all_records() -> list[Record]:
    """Return every record that can be read, by name."""
    folder = paths.deployments_dir()
    if not folder.is_dir():
        return []
    names = sorted(file.stem for file in folder.glob("*.json") if is_name(file.stem))
    found = (read(name) for name in names)
    return [record for record in found if record is not None]


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Let one process at a time change the deployment; raises ConflictError at once."""
    file = _file(name).with_name(f".{name}.lock")
    make_private(file.parent)
    handle = _open_locked(file)
    if handle is None:
        raise ConflictError(
            f"the deployment '{name}' is being changed by another process",
            hint="wait until that one is done",
        )
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def alone(thing: str) -> Iterator[None]:
    """Wait until no other process of this user and machine changes the same thing, such as a cluster.

    For what several deployments share and their platform does not guard.  The file stays: who removes
    one that others wait for lets two of them in.
    """
    digits = hashlib.sha256(thing.encode()).hexdigest()[:16]
    file = make_private(paths.run_dir()) / f"{digits}.lock"
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_locked(name: str) -> bool:
    """Return whether somebody is changing the deployment right now; raises TagError."""
    file = _file(name).with_name(f".{name}.lock")
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _open_locked(file: Path) -> int | None:
    """Return a handle that holds the lock, or None when somebody else does."""
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before may have removed the file between opening and locking.
            if os.path.samestat(file.stat(), os.fstat(handle)):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass
        os.close(handle)


def make_private(folder: Path) -> Path:
    """Make a folder that only its owner may enter, below the home of modelpack."""
    home = paths.home_dir()
    home.parent.mkdir(parents=True, exist_ok=True)
    for part in (*reversed(folder.parents), folder):
        if part == home or home in part.parents:
            part.mkdir(mode=0o700, exist_ok=True)
    return folder


def write_private(file: Path, data: bytes) -> None:
    """Write a 0600 file by rename, so that a reader sees the old bytes or the new ones."""
    make_private(file.parent)
    staged = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(staged, flags, 0o600), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        staged.replace(file)
    except BaseException:
        with suppress(FileNotFoundError):
            staged.unlink()
        raise


def is_name(text: str) -> bool:
    """Return whether a deployment may have that name."""
    try:
        check_name(text)
    except TagError:
        return False
    return True


def _file(name: str) -> Path:
    return paths.deployments_dir() / f"{check_name(name)}.json"
