"""A plan in a file, to be looked at now and applied later: exactly that one, or none.

    Plan + target options ──save──► FILE (0600, canonical JSON, digest) ──load──► SavedPlan

The file holds the whole plan with its digest, so that one which was changed by hand is refused.  It
holds references of secrets and never their values; ``env`` of the settings is in it as it is.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from modelpack.deploy.plan import Plan
from modelpack.errors import DeployError, DigestMismatchError, NotFoundError, UsageError
from modelpack.manifest import canonical_json

FORMAT = "modelpack-plan/1"
_MOST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPlan:
    """A plan, and what else is needed to apply it."""

    plan: Plan

    options: Mapping[str, str] = field(default_factory=dict)
    """Options of its target."""

    base: str | None = None
    """Base of the image, should one be built; None: the one that is chosen."""


def save(file: Path, saved: SavedPlan) -> None:
    """Write the plan, whole or not at all, for its owner alone; raises DeployError."""
    value = {
        "format": FORMAT,
        "digest": saved.plan.digest,
        "options": dict(saved.options),
        "base": saved.base,
        "plan": saved.plan.to_json(),
    }
    staged = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(staged, flags, 0o600), "wb") as stream:
            stream.write(canonical_json(value) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        staged.replace(file)
    except OSError as cause:
        raise DeployError(
            f"the plan cannot be kept in '{file}': {cause.strerror or cause}",
            hint="give another file with '--save'",
        ) from cause
    finally:
        with suppress(OSError):
            staged.unlink()


def load(file: Path) -> SavedPlan:
    """Read what ``save`` wrote.

    Raises NotFoundError when it is not there, UsageError when it is no plan, DeployError when a
    part cannot be read and DigestMismatchError when it was changed.
    """
    value = _read(file)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise UsageError(f"'{file}' is not a kept plan", hint=_KEEP)
    plan = Plan.from_json(value.get("plan") or {})
    if value.get("digest") != plan.digest:
        raise DigestMismatchError(f"the plan in '{file}' was changed after it was kept", hint=_KEEP)
    options, base = value.get("options"), value.get("base")
    if not isinstance(options, dict) or not (base is None or isinstance(base, str)):
        raise DeployError(f"the plan in '{file}' cannot be read", hint=_KEEP)
    return SavedPlan(plan=plan, options={str(k): str(v) for k, v in options.items()}, base=base)


_KEEP = "keep one with 'modelpack deploy --save FILE'"


def _read(file: Path) -> object:
    try:
        with file.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except FileNotFoundError as cause:
        raise NotFoundError(f"there is no file '{file}'", hint=_KEEP) from cause
    except OSError as cause:
        raise UsageError(f"'{file}' cannot be read: {cause.strerror}", hint=_KEEP) from cause
    if len(data) > _MOST_BYTES:
        raise UsageError(f"'{file}' is not a kept plan: it is too large", hint=_KEEP)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
