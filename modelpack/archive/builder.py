"""Makes a bundle of a project: its files, its models and its locked dependencies.

    Project + ServiceSpec ──► files, pinned models, lock, SBOM ──► BundleManifest ──► the store
    saved model (zero code) ────────────┘                                               │
    git, pipeline, user ──────────────────────► a statement beside it ──────────────────┘

Nothing of who built it, where or when goes in: the same input gives the same digest, and building
it again says that nothing has changed.  That stands in a statement (see ``provenance``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelpack import paths
from modelpack.archive.denied import find_secret
from modelpack.archive.dependencies import (
    DEFAULT_LOCKING,
    Locking,
    gather_inputs,
    lock_dependencies,
)
from modelpack.archive.files import Collected, collect_files
from modelpack.archive.imports import Code
from modelpack.archive.inputs import Inputs
from modelpack.archive.lockfile import read_lock
from modelpack.archive.sbom import sbom_bytes
from modelpack.config.settings import Project, changed_settings
from modelpack.errors import BuildError, SecretFoundError
from modelpack.manifest import (
    GRPC_REQUIREMENTS,
    LOCK_FILE,
    README_FILE,
    REDIS_REQUIREMENTS,
    SBOM_FILE,
    BundleManifest,
    FileRecord,
    ModelRecord,
    canonical_json,
)
from modelpack.progress import SILENT, Progress
from modelpack.provenance import Revision, record_build, revision_of
from modelpack.sdk.service import ServiceSpec
from modelpack.store import Entry, Kind, Store
from modelpack.tag import check_name, check_version


@dataclass(frozen=True, slots=True)
class Built:
    """What a build made."""

    entry: Entry
    is_unchanged: bool
    """True when the very same bundle was in the store already."""
    file_count: int
    """Files of the service, README included; not those of its models."""
    skipped: tuple[str, ...]
    """What of the project was left out, ``PATH (reason)``."""
    lock_reused: bool
    """True when the lock was there already and no network was needed."""


def build_bundle(
    project: Project,
    spec: ServiceSpec,
    *,
    store: Store,
    version: str | None = None,
    locking: Locking = DEFAULT_LOCKING,
    zero_model: Entry | None = None,
    progress: Progress = SILENT,
) -> Built:
    """Put a bundle of the project into the store.

    version     default: the project's, else the first 12 hex digits of the content's digest
    locking     what is asked for beyond what the project says of its dependencies
    zero_model  the saved model that is itself the service; no code is packed then

    Raises SecretFoundError, RefusedError or BuildError for files that cannot be packed,
    ModelNotFoundError, ConfigError for a bad requirement, ConflictError when the version holds
    another bundle.
    """
    name = check_name(project.name or spec.name)
    version = version or project.version
    if version is not None:
        check_version(version)
    settings = _settings(project)
    collected = _files_of(project, spec, zero_model)
    models = [zero_model] if zero_model is not None else pinned_models(spec, store)
    code = _code(project, spec, collected) if zero_model is None else None
    inputs = lock_inputs(project, models, store, code=code, locking=locking, progress=progress)
    lock_file = _lock_file(project, inputs, zero_model)
    locked = lock_dependencies(inputs, lock_file, locking, code=code, progress=progress)
    records = [(entry, store.model_record(entry)) for entry in models]
    served = import_string(project, spec) if zero_model is None else zero_model.tag.name
    sbom = sbom_bytes(served, inputs.python, read_lock(locked.text), records)
    manifest = BundleManifest(
        service=served if zero_model is None else None,
        model=None if zero_model is None else served,
        python=inputs.python,
        files=collected.files,
        models=tuple(_pin(entry, record) for entry, record in records),
        lock_sha256=hashlib.sha256(locked.text.encode()).hexdigest(),
        apis=tuple(api.to_json() for api in spec.apis),
        docs=_docs(collected.readme, sbom),
        wheels=locked.records,
        settings=settings,
    )
    with progress.step("writing the bundle"):
        added = store.add_bundle(
            name,
            manifest,
            root=project.root,
            lock=locked.text,
            models=models,
            readme=collected.readme,
            sbom=sbom,
            wheels=locked.places,
            version=version,
        )
    record_build(store, added.entry, manifest, source=_source(project, collected), models=models)
    count = len(collected.files) + (collected.readme is not None)
    return Built(added.entry, added.is_unchanged, count, collected.skipped, locked.is_reused)


def pinned_models(spec: ServiceSpec, store: Store) -> list[Entry]:
    """Return the stored models that the service refers to, each name once.

    Raises ModelNotFoundError, and BuildError when it wants two versions of one name.
    """
    found: dict[str, Entry] = {}
    for model in spec.models.values():
        entry = store.find(model.tag, Kind.MODEL)
        known = found.setdefault(entry.tag.name, entry)
        if known.digest != entry.digest:
            raise BuildError(
                f"the service uses '{known.tag}' and '{entry.tag}', two versions of one model",
                hint="a bundle holds one version of a name: save one of them under another name",
            )
    return [found[name] for name in sorted(found)]


def lock_inputs(
    project: Project,
    models: Sequence[Entry],
    store: Store,
    *,
    code: Code | None = None,
    locking: Locking = DEFAULT_LOCKING,
    progress: Progress = SILENT,
) -> Inputs:
    """Return what the lock is made from; raises as ``gather_inputs`` does."""
    brought = [line for entry in models for line in store.model_record(entry).requirements]
    if project.server.grpc_port is not None:
        brought += GRPC_REQUIREMENTS
    if "://" in (project.server.tasks_store or ""):
        brought += REDIS_REQUIREMENTS
    return gather_inputs(project, code, brought, locking, progress)


def import_string(project: Project, spec: ServiceSpec) -> str:
    """Return how the service is found below ``bundle/code``."""
    if project.service and ":" in project.service:
        return project.service
    return f"{spec.cls.__module__}:{spec.cls.__qualname__}"


def _files_of(project: Project, spec: ServiceSpec, zero_model: Entry | None) -> Collected:
    if zero_model is not None:
        return Collected((), None, ())
    collected = collect_files(project)
    module = import_string(project, spec).partition(":")[0].replace(".", "/")
    packed = {file.path for file in collected.files}
    if not packed & {f"{module}.py", f"{module}/__init__.py"}:
        raise BuildError(
            f"the module of the service, '{module}.py', is not among the packed files",
            hint="see 'include', 'exclude' and .modelpackignore",
        )
    return collected


def _code(project: Project, spec: ServiceSpec, collected: Collected) -> Code:
    module = import_string(project, spec).partition(":")[0]
    return Code(project.root, tuple(file.path for file in collected.files), module)


def _lock_file(project: Project, inputs: Inputs, zero_model: Entry | None) -> Path:
    """Return where the lock is kept: in the project; without one, in the cache."""
    if zero_model is None:
        return project.root / LOCK_FILE
    return paths.cache_dir() / "locks" / f"{inputs.digest}.lock"


def _docs(readme: bytes | None, sbom: bytes) -> tuple[FileRecord, ...]:
    texts = {README_FILE: readme, SBOM_FILE: sbom}
    return tuple(
        FileRecord(path=name, mode=0o644, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in texts.items()
        if data is not None
    )


def _source(project: Project, collected: Collected) -> Revision | None:
    """Return the revision that the packed files are of; None for a bare model."""
    if not collected.files:
        return None
    packed = [LOCK_FILE, *(file.path for file in collected.files)]
    if collected.readme is not None:
        packed.append(README_FILE)
    return revision_of(project.root, packed)


def _pin(entry: Entry, record: ModelRecord) -> dict[str, object]:
    return {
        "name": entry.tag.name,
        "version": entry.tag.version,
        "digest": entry.digest,
        "framework": record.framework,
        "carries_code": record.carries_code,
    }


def _settings(project: Project) -> dict[str, object]:
    """Return the settings that differ from the defaults, by their part of the project file.

    They stand in the bundle and in its images for everybody to read, so a key among them is refused
    as one in a file is.
    """
    parts = {"server": changed_settings(project.server), "image": changed_settings(project.image)}
    for name, part in parts.items():
        for key, value in part.items():
            if found := find_secret(canonical_json(value)):
                raise SecretFoundError(
                    f"the setting '{name}.{key}' holds what looks like {found[0]}",
                    hint="give it to the running service as an environment variable instead",
                )
    return {name: part for name, part in parts.items() if part}
