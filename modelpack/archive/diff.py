"""What differs between two bundles, read from their records; nothing of them is run.

    bundle A, bundle B ──► records, locks, provenance ──compare──► Difference
                                                          ├─ files, dependencies, settings
                                                          ├─ apis     (see ``schemas``)
                                                          └─ models, with what is said of them
    changed code ──text_of──► unified diffs

The bill of materials is left out: it says again what the lock and the models say.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from modelpack.archive.bundled import bundled_models, checked_record, tensor_text
from modelpack.archive.lockfile import read_lock
from modelpack.archive.schemas import ApiChange, api_changes
from modelpack.errors import StoreError
from modelpack.manifest import SBOM_FILE, BundleManifest, FileRecord, ModelRecord
from modelpack.provenance import Training, trainings_of
from modelpack.store import CODE_TYPE, Entry, Store
from modelpack.store.untar import read_tar

MAX_TEXT_BYTES = 256 * 1024
"""Longest file that is compared line by line."""
MAX_TEXT_LINES = 200
"""Most lines that are shown of the changes of one file."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that is in one of the two only, or is different in them."""

    name: str
    """Path of a file in the bundle, name of a package, of a setting or of a metric."""
    old: Any
    """What A has; None when it has it not."""
    new: Any

    @property
    def sign(self) -> str:
        """``+`` for new, ``-`` for gone, ``~`` for changed."""
        return "+" if self.old is None else "-" if self.new is None else "~"


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A model that is another one, or of which something else is said."""

    name: str
    old: str | None
    """Version in A; None when A has no model of this name."""
    new: str | None
    facts: tuple[Change, ...]
    """Framework, whether loading it runs code, tensors that go in and come out."""
    metrics: tuple[Change, ...]
    data: tuple[Change, ...]
    """Training data by name, with their digests."""


@dataclass(frozen=True, slots=True)
class Difference:
    """All that differs; empty when the two are the same but for name and version."""

    files: tuple[Change, ...]
    """Code, README and files of models, by path in the bundle; values are FileRecord."""
    packages: tuple[Change, ...]
    """Locked versions, as text."""
    apis: tuple[ApiChange, ...]
    models: tuple[ModelChange, ...]
    settings: tuple[Change, ...]
    """Service, Python and settings of server and image."""

    def __bool__(self) -> bool:
        return any((self.files, self.packages, self.apis, self.models, self.settings))

    @property
    def is_breaking(self) -> bool:
        """True when a client of A may fail with B."""
        return any(change.is_breaking for change in self.apis)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values for programs."""
        return {
            "is_breaking": self.is_breaking,
            "files": [_plain(one) for one in self.files],
            "packages": [_plain(one) for one in self.packages],
            "apis": [asdict(one) for one in self.apis],
            "models": [asdict(one) for one in self.models],
            "settings": [_plain(one) for one in self.settings],
        }


def compare(store: Store, a: Entry, b: Entry) -> Difference:
    """Compare two bundles of the store; raises DigestMismatchError and StoreError."""
    old, new = checked_record(store, a), checked_record(store, b)
    had = {record.name: record for record in bundled_models(store, a, old)}
    has = {record.name: record for record in bundled_models(store, b, new)}
    return Difference(
        files=_between(_files(old, had), _files(new, has)),
        packages=_between(_packages(store, a), _packages(store, b)),
        apis=_apis(old, new),
        models=_models(
            _Side(old, had, trainings_of(store, a, old)),
            _Side(new, has, trainings_of(store, b, new)),
        ),
        settings=_between(_settings(old), _settings(new)),
    )


def summary(difference: Difference) -> str:
    """Return what changed in a line, such as ``2 files, numpy 2.3 → 2.4, /predict``."""
    parts = []
    if difference.files:
        parts.append(_counted(len(difference.files), "file"))
    packages = [
        f"{one.name} {one.old or 'new'} → {one.new or 'gone'}" for one in difference.packages
    ]
    parts += packages if len(packages) <= 2 else [_counted(len(packages), "package")]
    for model in difference.models:
        moved = [f"{one.name} {short(one.old)} → {short(one.new)}" for one in model.metrics[:2]]
        parts.append(f"model {model.name}" + (f" ({', '.join(moved)})" if moved else ""))
    routes = dict.fromkeys(one.route for one in difference.apis)
    parts += [route + " breaking" * _breaks(route, difference) for route in routes]
    if difference.settings:
        parts.append(_counted(len(difference.settings), "setting"))
    return ", ".join(parts) or "nothing but the name"


def text_of(store: Store, a: Entry, b: Entry, difference: Difference) -> Iterator[str]:
    """Give the lines of a unified diff of the code files that differ."""
    prefix = "bundle/code/"
    wanted = {f"bundle/{one.name}" for one in difference.files if one.name.startswith("code/")}
    old, new = _texts(store, a, wanted), _texts(store, b, wanted)
    for path in sorted(wanted):
        name = path.removeprefix(prefix)
        before, after = old.get(path, ""), new.get(path, "")
        if before is None or after is None:
            yield f"{name}: no text, or too long to compare"
            continue
        lines = list(
            difflib.unified_diff(
                before.splitlines(), after.splitlines(), f"a/{name}", f"b/{name}", lineterm=""
            )
        )
        yield from lines[:MAX_TEXT_LINES]
        if len(lines) > MAX_TEXT_LINES:
            yield f"… {len(lines) - MAX_TEXT_LINES} more lines"


def short(value: object) -> str:
    """Return a value of a metric for a line of text."""
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _between(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    return tuple(
        Change(name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def _files(manifest: BundleManifest, records: Mapping[str, ModelRecord]) -> dict[str, FileRecord]:
    found = {f"code/{file.path}": file for file in manifest.files}
    found |= {f"doc/{file.path}": file for file in manifest.docs if file.path != SBOM_FILE}
    found |= {f"wheels/{file.path}": file for file in manifest.wheels}
    for name, record in records.items():
        found |= {f"models/{name}/{file.path}": file for file in record.files}
    return found


def _apis(old: BundleManifest, new: BundleManifest) -> tuple[ApiChange, ...]:
    try:
        return api_changes(old.apis, new.apis)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as cause:
        raise StoreError(
            "the schemas of the two cannot be compared: one of them is no JSON Schema",
            hint="see 'modelpack inspect -o json' of both",
        ) from cause


def _packages(store: Store, entry: Entry) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for package in read_lock(store.lock_text(entry)):
        found.setdefault(package.name, set()).add(package.version)
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def _settings(manifest: BundleManifest) -> dict[str, Any]:
    found: dict[str, Any] = {"python": manifest.python, "service": manifest.service}
    if (program := manifest.program) is not None:
        found |= {"program": program.path, "port": program.port, "platform": program.platform}
        found["arguments"] = list(program.arguments)
    for part, values in manifest.settings.items():
        found |= {f"{part}.{key}": value for key, value in values.items()}
    return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class _Side:
    """The models of one of the two."""

    manifest: BundleManifest
    records: Mapping[str, ModelRecord]
    trainings: Mapping[str, Training]

    @property
    def pins(self) -> dict[str, Mapping[str, Any]]:
        return {str(model["name"]): model for model in self.manifest.models}

    def facts(self, name: str) -> dict[str, Any]:
        if name not in self.records:
            return {}
        record = self.records[name]
        return {
            "framework": record.framework,
            "carries code": record.carries_code,
            "inputs": ", ".join(map(tensor_text, record.inputs)),
            "outputs": ", ".join(map(tensor_text, record.outputs)),
        }


def _models(a: _Side, b: _Side) -> tuple[ModelChange, ...]:
    found = []
    for name in sorted(a.pins.keys() | b.pins.keys()):
        was, now = a.pins.get(name), b.pins.get(name)
        told, tells = (side.trainings.get(name, Training()) for side in (a, b))
        metrics = _between(told.metrics, tells.metrics)
        data = _between(_data(told), _data(tells))
        if _digest(was) != _digest(now) or metrics or data:
            facts = _between(a.facts(name), b.facts(name)) if was and now else ()
            found.append(ModelChange(name, _version(was), _version(now), facts, metrics, data))
    return tuple(found)


def _data(training: Training) -> dict[str, str]:
    return {one.name: one.sha256 for one in training.data}


def _digest(model: Mapping[str, Any] | None) -> Any:
    return None if model is None else model["digest"]


def _version(model: Mapping[str, Any] | None) -> str | None:
    return None if model is None else str(model["version"])


def _texts(store: Store, entry: Entry, wanted: set[str]) -> dict[str, str | None]:
    """Return the wanted files of the code layer as text; None for what is none."""
    found: dict[str, str | None] = {}
    for layer in entry.layers:
        if layer.media_type != CODE_TYPE:
            continue
        with store.open_blob(layer.digest) as blob:
            for member, content in read_tar(blob, f"'{layer.path}' in '{entry.tag}'"):
                if member.path in wanted:
                    is_short = member.size <= MAX_TEXT_BYTES
                    found[member.path] = _text(content.chunks()) if is_short else None
    return found


def _text(chunks: Iterable[bytes]) -> str | None:
    data = b"".join(chunks)
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def _plain(change: Change) -> dict[str, Any]:
    sides = {"old": change.old, "new": change.new}
    plain = {
        side: asdict(value) if isinstance(value, FileRecord) else value
        for side, value in sides.items()
    }
    return {"name": change.name, **plain}


def _breaks(route: str, difference: Difference) -> bool:
    return any(one.is_breaking for one in difference.apis if one.route == route)


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
