"""What a model was trained on and how good it is, as the training script says it.

    metrics={"accuracy": 0.97}                    ─┐
    data="train.csv" | a folder | "sha256:HEX"    ─┴─ training_facts ──► Training

Data is named by its digest and never packed.  That of a folder is the SHA-256 of one line a file,
``HEX  PATH``, sorted by path: what ``sha256sum`` prints.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelpack.errors import NotFoundError, UsageError

Metric = float | int | str | bool
"""A value of a metric: what JSON can hold, one of it."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that went into an entry, by its digest."""

    name: str
    sha256: str
    """64 hex digits."""
    size: int | None = None
    """Bytes, those of all files of a folder; None when only the digest was given."""

    def to_json(self) -> dict[str, Any]:
        """Return it as an in-toto resource descriptor."""
        found: dict[str, Any] = {"name": self.name, "digest": {"sha256": self.sha256}}
        return found if self.size is None else {**found, "annotations": {"size": self.size}}


@dataclass(frozen=True, slots=True)
class Training:
    """How a model came to be."""

    metrics: Mapping[str, Metric] = field(default_factory=dict)
    data: tuple[Resource, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.metrics or self.data)


def training_facts(
    metrics: Mapping[str, Any] | None = None, data: str | Path | None = None
) -> Training:
    """Check what a training script says of its model, and hash the data.

    metrics  names with a number, a word or a truth value each; numbers must be finite
    data     path of a file or a folder, or ``sha256:HEX`` of what is kept elsewhere

    Raises UsageError for a metric that cannot be kept, NotFoundError when there are no such data.
    """
    checked = {str(name): _metric(str(name), value) for name, value in (metrics or {}).items()}
    return Training(checked, () if data is None else (_resource(data),))


def _metric(name: str, value: Any) -> Metric:
    if hasattr(value, "item"):
        with suppress(ValueError, RuntimeError):  # an array that is no single number
            value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"the metric '{name}' is {value}", hint="give a finite number")
    if not isinstance(value, float | int | str | bool):
        raise UsageError(
            f"the metric '{name}' is a {type(value).__name__}",
            hint="give one number or word for each metric",
        )
    return value


def _resource(data: str | Path) -> Resource:
    if isinstance(data, str) and _DIGEST.fullmatch(data):
        return Resource("training data", data.removeprefix("sha256:"))
    place = Path(data)
    try:
        if place.is_dir():
            return _folder(place)
        with place.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Resource(place.name, digest, file.tell())
    except FileNotFoundError as cause:
        raise NotFoundError(
            f"no training data '{data}'", hint="give a path, or 'sha256:' and 64 hex digits"
        ) from cause
    except OSError as cause:
        raise UsageError(f"cannot read the training data '{data}': {cause.strerror}") from cause


def _folder(folder: Path) -> Resource:
    total = 0
    lines = hashlib.sha256()
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    for name, path in sorted(files.items()):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            total += file.tell()
        lines.update(f"{digest}  {name}\n".encode("utf-8", "surrogateescape"))
    return Resource(folder.resolve().name, lines.hexdigest(), total)
