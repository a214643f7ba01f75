"""How the service of a run is started: what ``serve`` does for a server, for a process without a port.

    project, module:Class ──► this Python, the project's folder on its path
    model.onnx            ──► this Python
    bundle                ──► policy, unpacked, its own locked environment

Each comes with its identity, so that a run that goes on does not mix two versions of a service.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelpack.config.layers import Layer, bundle_layer, project_layer, server_settings
from modelpack.config.load import load_project
from modelpack.config.settings import ServerSettings, recorded_settings
from modelpack.errors import UsageError, WrappedProgramError
from modelpack.frameworks.source import Source
from modelpack.offline.engine import Launch
from modelpack.progress import Progress
from modelpack.store import Entry, Kind, Store
from modelpack.tag import Tag

TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How a service runs, where that is not as its settings say."""

    flags: Mapping[str, Any]
    """Server settings by name; None: not given."""
    batch_size: int | None = None
    """Most rows in a batch; None: as the api says."""
    timeout_s: float = TIMEOUT_S
    """Longest that a call may take before its rows are bad."""

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"--batch-size is at least 1, got {self.batch_size}")
        if not 0 < self.timeout_s <= 7 * 86400:
            raise UsageError(f"--timeout is above 0 and at most a week, got {self.timeout_s:g}")


@dataclass(frozen=True, slots=True)
class Opened:
    """A service that can be started."""

    launch: Launch
    identity: Mapping[str, Any]
    settings: ServerSettings
    tag: str = ""


def open_project(
    folder: Path, service: str | None, api: str, constants: Mapping[str, Any], wishes: Wishes
) -> Opened:
    """Return the service of a project; raises ConfigError."""
    project = load_project(folder)
    settings = _settings(project_layer(project, "server"), wishes)
    source = Source("code", service or project.service or "", str(project.root))
    identity = {
        "project": str(project.root),
        "service": source.target,
        "code": _digest(project.root),
    }
    launch = _launch(source, api, constants, settings, wishes)
    return Opened(launch, identity, settings)


def open_model(file: Path, api: str, constants: Mapping[str, Any], wishes: Wishes) -> Opened:
    """Return the service that a model file is."""
    file = file.absolute()
    settings = _settings(Layer(), wishes)
    source = Source("model", file.name, str(file.parent))
    stat = file.stat()
    identity = {"model": str(file), "size": stat.st_size, "changed": stat.st_mtime_ns}
    return Opened(_launch(source, api, constants, settings, wishes), identity, settings)


def open_bundle(
    tag: Tag, api: str, constants: Mapping[str, Any], wishes: Wishes, progress: Progress
) -> Opened:
    """Return the service of a bundle, in an environment of its own.

    Raises BundleNotFoundError, UntrustedError, WrappedProgramError, BuildError.
    """
    from modelpack import trust

    store = Store()
    entry = store.find(tag, Kind.BUNDLE)
    trust.check(store, entry, "serve")
    return opened_entry(store, entry, api, constants, wishes, progress=progress)


def opened_entry(
    store: Store,
    entry: Entry,
    api: str,
    constants: Mapping[str, Any],
    wishes: Wishes,
    *,
    progress: Progress,
) -> Opened:
    """Return the service of an entry of a store; see ``open_bundle``."""
    from modelpack.archive import ensure_environment
    from modelpack.embed import unpacked

    manifest = store.bundle_manifest(entry)
    if manifest.program is not None:
        raise WrappedProgramError(entry.tag, entry.tag)
    recorded = recorded_settings(ServerSettings, manifest.settings)
    settings = _settings(bundle_layer(recorded, entry.tag), wishes)
    folder = unpacked(store, entry)
    python = ensure_environment(
        store.lock_text(entry), manifest.python, progress, wheels=folder / "wheels"
    )
    launch = _launch(
        Source("bundle", "", str(folder)),
        api,
        constants,
        settings,
        wishes,
        python=str(python),
        environ={"MODELPACK_BUNDLE": str(folder), "MODELPACK_TAG": str(entry.tag)},
    )
    return Opened(launch, {"bundle": entry.digest}, settings, str(entry.tag))


def _launch(
    source: Source,
    api: str,
    constants: Mapping[str, Any],
    settings: ServerSettings,
    wishes: Wishes,
    *,
    python: str = "",
    environ: Mapping[str, str] | None = None,
) -> Launch:
    order = {
        "source": source.to_text(),
        "settings": asdict(settings),
        "api": api,
        "constants": dict(constants),
        "batch_size": wishes.batch_size,
        "timeout_s": wishes.timeout_s,
    }
    is_bundle = source.kind == "bundle"
    return Launch(
        python=python or sys.executable,
        order=order,
        environ={"ORT_DISABLE_TELEMETRY": "1", **(environ or {})},
        is_isolated=is_bundle,
        folder=source.folder if is_bundle else None,
        replicas=settings.replicas,
    )


def _settings(own: Layer, wishes: Wishes) -> ServerSettings:
    """Return the settings of the service; its log says warnings and worse unless more is asked for."""
    flags = dict(wishes.flags)
    if "MODELPACK_LOG_LEVEL" not in os.environ:
        flags.setdefault("log_level", "warning")
    return server_settings(own, flags).settings


def _digest(root: Path) -> str:
    """Return what tells one state of a project's code from another."""
    digest = hashlib.sha256()
    for path in sorted(_code(root)):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _code(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        # Hidden folders and environments are not the project's own code.
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__pycache__"))
            and not Path(folder, name, "pyvenv.cfg").exists()
        ]
        yield from (
            Path(folder, name)
            for name in files
            if name.endswith(".py") or name in ("modelpack.yaml", "pyproject.toml")
        )
