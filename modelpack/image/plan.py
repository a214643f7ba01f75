"""What an image will be, as a value, before anything is made.

    plan_image ──► ImagePlan ──┬─► describe, to_json       for people, for programs
                               ├─► Dockerfile, context     for engines
                               ├─► layers and config       for the direct builder
                               └─► check_budget            is it small enough

A plan is for one platform.  It says all that decides what an image is; the sizes are the only part
that is a prediction, and decide nothing.  In every image:

* ``/bundle/{models,code,doc,venv}``, owned by root, so that the service cannot change itself;
* a numeric user without rights, an exec-form entry point, a health check;
* no secret: variables of the settings that look like one are refused.

How a plan is made of a bundle: ``planning``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from modelpack.archive.platforms import Platform, host_platform
from modelpack.config.units import format_size
from modelpack.image.bases import Base, carried_cuda, cuda_twice, is_cuda_base
from modelpack.image.sizes import SizedPackage
from modelpack.manifest import ProgramRecord
from modelpack.store import Entry

BUNDLE_ROOT = "/bundle"
VENV_PYTHON = f"{BUNDLE_ROOT}/venv/bin/python"
PORT = 3000
USER = "65532:65532"

# Answers like the readiness route, by the standard library alone; -S spares it the site folder.
# A platform's own variable counts where the operator has not chosen a port (``life.contract``).
_PROBE = (
    "import os,socket; "
    'e=os.environ; p=e["MODELPACK_PORT"]; '
    'p=e.get("AIP_HTTP_PORT") or e.get("PORT") or p if p=="3000" else p; '
    's=socket.create_connection(("127.0.0.1",int(p)),4); '
    's.sendall(b"GET /readyz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n"); '
    'raise SystemExit(b" 200 " not in s.recv(64))'
)
_SHOWN_PACKAGES = 6
"""Packages that ``describe`` names; the rest is one line."""


class LayerKind(StrEnum):
    """What a part of an image is."""

    BASE = "base"
    PYTHON = "python"
    """CPython, where the base has none that fits."""
    SYSTEM = "system"
    """Debian packages that the settings ask for."""
    PACKAGES = "packages"
    """The packages of the lock."""
    SERVER = "server"
    """What of modelpack travels with a bundle."""
    MODEL = "model"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """One part of an image, in the order from what changes least to what changes most."""

    kind: LayerKind
    what: str
    """For people, such as ``model digits-clf``."""
    size_bytes: int | None
    """Predicted bytes on disk; None when it is not known."""
    unknown: tuple[str, ...] = ()
    """What the size leaves out because nobody knows it."""
    packages: tuple[SizedPackage, ...] = ()
    """What a layer of packages is made of, the largest first, those of unknown size last."""


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
    program: ProgramRecord | None = None
    """The wrapped program that the image runs; no package and no server is installed then."""
    platform: Platform = field(default_factory=host_platform)
    """What the image runs on; default: Linux on this machine's processor."""
    has_wheels: bool = False
    """True when the bundle brings packages to install from."""
    is_wheelhouse: bool = False
    """True when those are all, so that no index is asked."""
    max_size_bytes: int | None = None
    """Most that it may take on disk, by the settings; see ``budget``."""
    warnings: tuple[str, ...] = ()
    user: str = USER
    port: int = PORT
    other_ports: Mapping[str, int] = field(default_factory=dict)
    """Where else it listens, by what is spoken there: ``grpc``, ``metrics``."""
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

    @property
    def cuda_wheels(self) -> str | None:
        """``X.Y`` of the CUDA that comes as wheels; None when none does."""
        return carried_cuda(
            {one.name: one.version for layer in self.layers for one in layer.packages}
        )

    def warnings_on(self, variables: Iterable[str]) -> tuple[str, ...]:
        """Return what to warn of once the base is there, whose ``NAME=VALUE`` variables these are.

        A base of one's own may bring CUDA without its name saying so; NVIDIA's images, and what is
        built on them, set ``CUDA_VERSION``.
        """
        said = dict(pair.partition("=")[::2] for pair in variables)
        version = said.get("CUDA_VERSION", "")
        if self.cuda_wheels is None or not version or is_cuda_base(self.base.image):
            return ()
        return (cuda_twice(self.cuda_wheels, version),)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "tag": str(self.entry.tag),
            "digest": self.entry.digest,
            "platform": self.platform.name,
            "base": {
                "image": self.base.image,
                "reason": self.base.reason,
                "python_from": str(self.base.python_from),
                "has_gpu": self.base.has_gpu,
            },
            "cuda_wheels": self.cuda_wheels,
            "python": self.python,
            "layers": [_layer_json(layer) for layer in self.layers],
            "size_bytes": self.known_size_bytes,
            "unknown": list(self.unknown),
            "env": dict(self.env),
            "labels": dict(self.labels),
            "user": self.user,
            "port": self.port,
            "other_ports": dict(self.other_ports),
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
            f"image of {self.entry.tag} ({self.entry.digest[:19]}) for {self.platform.name}",
            f"base {self.base.image}: {self.base.reason}",
        ]
        rows = [row for layer in self.layers for row in _rows(layer)]
        width = max(len(what) for what, _ in rows)
        lines += [f"  {what:<{width}}  {size:>9}" for what, size in rows]
        total = f"size about {format_size(self.known_size_bytes)}"
        if self.unknown:
            total += f", and what is not known beforehand: {listed(self.unknown)}"
        others = "".join(f", {port} for {name}" for name, port in self.other_ports.items())
        lines += [
            total,
            f"runs as {self.user}, port {self.port}{others}: {' '.join(self.entry_point)}",
        ]
        return lines + [f"warning: {warning}" for warning in self.warnings]


def listed(names: tuple[str, ...], most: int = 4) -> str:
    """Return the first names with commas between, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _layer_json(layer: PlannedLayer) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "kind": str(layer.kind),
        "what": layer.what,
        "size_bytes": layer.size_bytes,
        "unknown": list(layer.unknown),
    }
    if layer.packages:
        plain["packages"] = [
            {"name": one.name, "version": one.version, "size_bytes": one.size_bytes}
            for one in layer.packages
        ]
    return plain


def _rows(layer: PlannedLayer) -> Iterable[tuple[str, str]]:
    """Give a layer and the largest packages in it, as text and size."""
    size = "unknown" if layer.size_bytes is None else format_size(layer.size_bytes)
    yield layer.what, ("over " if layer.unknown and layer.size_bytes is not None else "") + size
    known = [one for one in layer.packages if one.size_bytes is not None]
    if len(known) > _SHOWN_PACKAGES + 1:
        known, rest = known[:_SHOWN_PACKAGES], known[_SHOWN_PACKAGES:]
    else:
        rest = []
    for one in known:
        yield f"  {one.name} {one.version}", format_size(one.size_bytes or 0)
    if rest:
        yield f"  {len(rest)} more", format_size(sum(one.size_bytes or 0 for one in rest))
