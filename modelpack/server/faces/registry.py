"""Which contracts there are, and which of them are on.

    settings.faces ──chosen──► names ──open_faces──► Faces(doors, routes, problem_writer)

    auto           all that need nothing else, and the platform's own where its variables are set
    none           only the service's own routes
    oip,kserve     these

What always holds: a path of the service's own is never taken from it; of two contracts with one
path the first in ``NAMES`` has it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, Route

from modelpack.config.serving import FACES, ServerSettings
from modelpack.server.door import Door
from modelpack.server.faces.catalog import Catalog
from modelpack.server.faces.face import Face
from modelpack.server.life.contract import is_multi_model
from modelpack.server.problems import WriteProblem, write_problem

if TYPE_CHECKING:
    from modelpack.server.faces.multi_model import Guests

_CLASSES: Mapping[str, str] = {
    "kserve": "kserve:KServeFace",
    "tfserving": "tfserving:TfServingFace",
    "torchserve": "torchserve:TorchServeFace",
    "seldon": "seldon:SeldonFace",
    "oip": "oip.face:OipFace",
    "sagemaker": "sagemaker:SagemakerFace",
    "mlflow": "mlflow:MlflowFace",
    "vertex": "vertex:VertexFace",
    "azureml": "azureml:AzuremlFace",
    "cloudrun": "cloudrun:CloudrunFace",
}
"""Where the class of each contract is: ``module:Class`` below this package."""

_BY_VARIABLE: Mapping[str, tuple[str, ...]] = {
    "vertex": ("AIP_HTTP_PORT", "AIP_PREDICT_ROUTE"),
    "cloudrun": ("K_SERVICE",),
}
"""Contracts of platforms, on when one of these variables is set."""


class Faces:
    """The contracts of one version of the service."""

    def __init__(self, faces: Sequence[Face], taken: Sequence[str]) -> None:
        """``taken`` are the paths that the service answers itself."""
        self.all = tuple(faces)
        self.doors: list[Door] = []
        self.routes: list[BaseRoute] = []
        self.hidden: list[str] = []
        """Paths of contracts that the service has taken for itself."""
        self.claimed = frozenset(path for face in faces for path in face.claims)
        """Paths that a contract has even where the service has one of them."""
        taken = [path for path in taken if path not in self.claimed]
        seen = set(taken)
        for face in faces:
            for door in face.doors:
                door.face = face.name
                if door.path in seen:
                    self.hidden.append(door.path)
                else:
                    self.doors.append(door)
                    seen.add(door.path)
            for route in face.routes:
                if isinstance(route, Route) and route.path in taken:
                    self.hidden.append(route.path)
                else:
                    self.routes.append(route)
        self._writers: list[tuple[str, WriteProblem]] = [
            (prefix, face.write_problem) for face in faces for prefix in face.prefixes
        ]
        self._own = frozenset(taken)
        first = sorted(faces, key=lambda face: "/" not in face.claims)
        self.home = next((face.home for face in first if face.home is not None), None)
        """What answers ``GET /`` for programs; None: the page is for everybody."""

    @property
    def names(self) -> tuple[str, ...]:
        """What is on."""
        return tuple(face.name for face in self.all)

    def problem_writer(self, path: str) -> WriteProblem:
        """Return how problems are said on a path."""
        if path not in self._own:
            for prefix, write in self._writers:
                if path == prefix or path.startswith(prefix + "/"):
                    return write
        return write_problem


def guests_of(settings: ServerSettings, folders: Callable[[], Iterable[Path]]) -> Guests | None:
    """Return what SageMaker loads and unloads while a process runs; None: it loads nothing.

    ``folders`` gives those that the service's own modules are imported from.
    """
    if not is_multi_model(os.environ) or "sagemaker" not in chosen(settings.faces, os.environ):
        return None
    from modelpack.server.faces.multi_model import Guests

    return Guests(settings, folders)


def open_faces(catalog: Catalog, own: Sequence[Face] = ()) -> Faces:
    """Return the contracts that the settings ask for, on what is served.

    ``own`` are more of them, which are on by settings of their own.
    """
    faces = [_class_of(name)(catalog) for name in chosen(catalog.settings.faces, os.environ)]
    return Faces([*faces, *own], [endpoint.api.route for endpoint in catalog.endpoints])


def spoken(settings: ServerSettings) -> str:
    """Return the names of what is on, for people: ``oip,kserve`` or ``none``."""
    names = chosen(settings.faces, os.environ)
    return ",".join([*names, *(["tasks"] if settings.tasks else [])]) or "none"


def chosen(faces: str, environ: Mapping[str, str]) -> list[str]:
    """Return the names of the contracts that are on, in their order."""
    if faces == "none":
        return []
    if faces != "auto":
        asked = faces.split(",")
        return [name for name in FACES if name in asked and name in _CLASSES]
    return [
        name
        for name in FACES
        if name in _CLASSES
        and (name not in _BY_VARIABLE or any(environ.get(one) for one in _BY_VARIABLE[name]))
    ]


def _class_of(name: str) -> type[Face]:
    module, _, attribute = _CLASSES[name].partition(":")
    found: type[Face] = getattr(import_module(f"{__package__}.{module}"), attribute)
    return found
