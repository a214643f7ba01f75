"""What an image will be, as a value, before anything is made.

    Entry + manifest + lock + ImageSettings ──plan_image──► ImagePlan ──► describe, to_json
                                                               └──► Dockerfile, context, engine

A plan depends on the bundle and the settings alone: no engine, no network, no clock.  Only the size
of the dependencies is looked up on this machine, and it decides nothing.  In every image:

* ``/bundle/{models,code,doc,venv}``, owned by root, so that the service cannot change itself;
* a numeric user without rights, an exec-form entry point, a health check;
* no secret: variables of the settings that look like one are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelpack.archive.denied import find_secret
from modelpack.archive.lockfile import LockedPackage, read_lock
from modelpack.archive.platforms import host_platform
from modelpack.archive.runtime_wheel import wheel_name
from modelpack.archive.torch import backend_of
from modelpack.archive.wheelhouse import applying, is_complete
from modelpack.config.settings import ImageSettings
from modelpack.config.units import format_size
from modelpack.errors import RefusedError, SecretFoundError, StoreError, UsageError
from modelpack.image.bases import Base, PythonFrom, choose_base
from modelpack.image.instructions import check_text
from modelpack.image.sizes import installed_sizes
from modelpack.store import CODE_TYPE, DOC_TYPE, Entry, Kind, Store
from modelpack.store.base import WHEELS_PATH
from modelpack.tag import check_name
from modelpack.version import __version__

BUNDLE_ROOT = "/bundle"
VENV_PYTHON = f"{BUNDLE_ROOT}/venv/bin/python"
PORT = 3000
USER = "65532:65532"

# Answers like the readiness route, by the standard library alone; -S spares it the site folder.
_PROBE = (
    "import os,socket; "
    's=socket.create_connection(("127.0.0.1",int(os.environ["MODELPACK_PORT"])),4); '
    's.sendall(b"GET /readyz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n"); '
    'raise SystemExit(b" 200 " not in s.recv(64))'
)
_RESERVED_ENV = ("MODELPACK_BUNDLE", "MODELPACK_HOST", "MODELPACK_PORT", "MODELPACK_TAG")
_SECRET_NAME = re.compile(
    # EOS_TOKEN and its like are words of a tokenizer.
    r"(?!(?:BOS|CLS|EOS|MASK|PAD|SEP|STOP|UNK)_TOKEN$)"
    r"(?:.*_)?(?:SECRET|PASSWORD|PASSWD|TOKEN|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)"
    r"(?:_ID|_KEY)?",
    re.IGNORECASE,
)
_PASSWORD_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """One part of an image, in the order from what changes least to what changes most."""

    what: str
    size_bytes: int | None
    """Predicted bytes on disk; None when it is not known."""
    unknown: tuple[str, ...] = ()
    """What the size leaves out because nobody knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """Everything that decides what an image is."""

    entry: Entry
    """The bundle."""
    base: Base
    python: str
    """``X.Y`` of CPython."""
    models: tuple[str, ...]
    """Names of the models, each one layer."""
    has_code: bool
    has_doc: bool
    system_packages: tuple[str, ...]
    """Debian packages that the settings ask for."""
    env: Mapping[str, str]
    labels: Mapping[str, str]
    layers: tuple[PlannedLayer, ...]
    runtime_wheel: str
    """File name of the server's own wheel."""
    has_wheels: bool = False
    """True when the bundle brings packages to install from."""
    is_wheelhouse: bool = False
    """True when those are all, so that no index is asked."""
    warnings: tuple[str, ...] = ()
    user: str = USER
    port: int = PORT
    workdir: str = BUNDLE_ROOT
    stop_signal: str = "SIGTERM"
    entry_point: tuple[str, ...] = field(
        # -I ignores PYTHONUNBUFFERED too, so that -u is what makes prints reach the log at once.
        default=(VENV_PYTHON, "-I", "-u", "-m", "modelpack.server")
    )
    health_check: tuple[str, ...] = field(default=(VENV_PYTHON, "-I", "-S", "-c", _PROBE))

    @property
    def known_size_bytes(self) -> int:
        """Predicted size of what is known."""
        return sum(layer.size_bytes or 0 for layer in self.layers)

    @property
    def unknown(self) -> tuple[str, ...]:
        """What ``known_size_bytes`` leaves out."""
        return tuple(name for layer in self.layers for name in layer.unknown)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "tag": str(self.entry.tag),
            "digest": self.entry.digest,
            "base": {
                "image": self.base.image,
                "reason": self.base.reason,
                "python_from": str(self.base.python_from),
                "has_gpu": self.base.has_gpu,
            },
            "python": self.python,
            "layers": [
                {"what": one.what, "size_bytes": one.size_bytes, "unknown": list(one.unknown)}
                for one in self.layers
            ],
            "size_bytes": self.known_size_bytes,
            "unknown": list(self.unknown),
            "env": dict(self.env),
            "labels": dict(self.labels),
            "user": self.user,
            "port": self.port,
            "workdir": self.workdir,
            "entry_point": list(self.entry_point),
            "health_check": list(self.health_check),
            "stop_signal": self.stop_signal,
            "system_packages": list(self.system_packages),
            "warnings": list(self.warnings),
        }

    def describe(self) -> list[str]:
        """Return the plan as lines for people."""
        lines = [
            f"image of {self.entry.tag} ({self.entry.digest[:19]})",
            f"base {self.base.image}: {self.base.reason}",
        ]
        width = max(len(layer.what) for layer in self.layers)
        lines += [f"  {layer.what:<{width}}  {_layer_size(layer):>9}" for layer in self.layers]
        total = f"size about {format_size(self.known_size_bytes)}"
        if self.unknown:
            total += f", and what is not known beforehand: {_listed(self.unknown)}"
        lines += [
            total,
            f"runs as {self.user}, port {self.port}: {' '.join(self.entry_point)}",
        ]
        return lines + [f"warning: {warning}" for warning in self.warnings]


def plan_image(
    store: Store,
    entry: Entry,
    settings: ImageSettings,
    *,
    base: str | None = None,
    cuda: str | None = None,
) -> ImagePlan:
    """Plan the image of a bundle; ``base`` or ``cuda`` stand above the settings.

    Raises UsageError for settings that cannot be, SecretFoundError for a variable that looks like
    a secret, StoreError when the entry is not a bundle.
    """
    if entry.kind is not Kind.BUNDLE:
        raise StoreError(f"'{entry.tag}' is a {entry.kind}, not a bundle")
    manifest = store.bundle_manifest(entry)
    python = _checked_python(manifest.python)
    lock = read_lock(store.lock_text(entry))
    packages = _locked_packages(lock, python)
    if base is None and cuda is None:
        base, cuda = settings.base, settings.cuda
    chosen, warnings = choose_base(packages, python, base=base, cuda=cuda)
    is_wheelhouse = bool(manifest.wheels) and is_complete(
        lock, [wheel.path for wheel in manifest.wheels], host_platform(), python
    )
    models = tuple(sorted(check_name(str(model["name"])) for model in manifest.models))
    return ImagePlan(
        entry=entry,
        base=chosen,
        python=python,
        models=models,
        has_code=bool(manifest.files),
        has_doc=any(layer.media_type == DOC_TYPE for layer in entry.layers),
        system_packages=settings.system_packages,
        env=_env(entry, chosen, settings),
        labels=_labels(entry, chosen),
        layers=_layers(
            entry, chosen, python=python, packages=packages, models=models, settings=settings
        ),
        runtime_wheel=wheel_name(),
        has_wheels=bool(manifest.wheels),
        is_wheelhouse=is_wheelhouse,
        warnings=(*warnings, *_torch_warning(lock, is_wheelhouse=is_wheelhouse)),
    )


def _checked_python(python: str) -> str:
    if not re.fullmatch(r"3\.\d{1,2}", python):
        raise RefusedError(
            f"the bundle asks for Python '{check_text(python, 'its Python version')}'",
            hint="build it again",
        )
    return python


def _locked_packages(lock: Iterable[LockedPackage], python: str) -> dict[str, str]:
    """Return name and version of what the lock installs on Linux."""
    from packaging.utils import canonicalize_name

    return {
        canonicalize_name(package.name): package.version
        for package in applying(lock, host_platform(), python)
    }


def _torch_warning(lock: Iterable[LockedPackage], *, is_wheelhouse: bool) -> list[str]:
    backend = backend_of(lock)
    if backend is None or is_wheelhouse:
        return []
    warning = (
        f"Torch for '{backend}' is on an index of its own, which pip has to be told of "
        "(PIP_EXTRA_INDEX_URL); or build the bundle with --with-wheels"
    )
    return [warning]


def _env(entry: Entry, base: Base, settings: ImageSettings) -> dict[str, str]:
    for name, value in settings.env.items():
        if name in _RESERVED_ENV:
            raise UsageError(
                f"image.env.{name} is set by the image itself",
                hint="the port of a deployment is set with 'deploy.port'",
            )
        if _is_secret(name, value):
            raise SecretFoundError(
                f"image.env.{name} looks like a secret, and whoever has the image could read it",
                hint="give it to the running service instead, with 'deploy.env' or "
                f"'docker run --env {name}'",
            )
    gpu = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    return {
        "HOME": BUNDLE_ROOT,
        # Libraries ask for the user's name; the numeric user has none in /etc/passwd.
        "USER": "modelpack",
        "MODELPACK_BUNDLE": BUNDLE_ROOT,
        "MODELPACK_HOST": "0.0.0.0",  # noqa: S104 - in a container this is its own address
        "MODELPACK_PORT": str(PORT),
        "MODELPACK_TAG": str(entry.tag),
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **(gpu if base.has_gpu else {}),
        **settings.env,
    }


def _is_secret(name: str, value: str) -> bool:
    if not value:
        return False
    has_secret = _PASSWORD_IN_URL.search(value) or find_secret(value.encode())
    return bool(has_secret or _SECRET_NAME.fullmatch(name))


def _labels(entry: Entry, base: Base) -> dict[str, str]:
    return {
        "dev.modelpack.bundle.digest": entry.digest,
        "dev.modelpack.tag": str(entry.tag),
        "dev.modelpack.version": __version__,
        "org.opencontainers.image.base.name": base.image,
        "org.opencontainers.image.title": entry.tag.name,
        "org.opencontainers.image.version": entry.tag.version or "",
    }


def _layers(
    entry: Entry,
    base: Base,
    *,
    python: str,
    packages: Mapping[str, str],
    models: tuple[str, ...],
    settings: ImageSettings,
) -> tuple[PlannedLayer, ...]:
    layers = [_known_or("base", base.size_bytes, base.image)]
    if base.python_from is not PythonFrom.BASE:
        layers.append(_known_or(f"Python {python}", None, f"Python {python}"))
    if settings.system_packages:
        what = f"system packages ({len(settings.system_packages)})"
        layers.append(PlannedLayer(what, None, settings.system_packages))
    sizes = installed_sizes(packages)
    unknown = tuple(sorted(name for name, size in sizes.items() if size is None))
    known = [size for size in sizes.values() if size is not None]
    layers.append(
        PlannedLayer(f"Python packages ({len(packages)})", sum(known) if known else None, unknown)
    )
    for model in models:
        place = f"bundle/models/{model}"
        blobs = [one for one in entry.layers if f"{one.path}/".startswith(f"{place}/")]
        layers.append(PlannedLayer(f"model {model}", sum(blob.size for blob in blobs)))
    # Wheels are installed from, and stay out of the image.
    service = [
        one
        for one in entry.layers
        if one.media_type in (CODE_TYPE, DOC_TYPE) and one.path != WHEELS_PATH
    ]
    layers.append(PlannedLayer("code", sum(blob.size for blob in service)))
    return tuple(layers)


def _known_or(what: str, size_bytes: int | None, name: str) -> PlannedLayer:
    return PlannedLayer(what, size_bytes, () if size_bytes is not None else (name,))


def _layer_size(layer: PlannedLayer) -> str:
    if layer.size_bytes is None:
        return "unknown"
    return ("over " if layer.unknown else "") + format_size(layer.size_bytes)


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
