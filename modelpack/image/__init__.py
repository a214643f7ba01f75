"""Images: a bundle, its dependencies and Python in one thing that a container engine runs.

    bundle ──plan_image──► ImagePlan ──┬─► describe, to_json      what it will be, before it is
                                       ├─► render_dockerfile      text for people and engines
                                       ├─► write_context          a folder that any engine builds
                                       └─► build_image            an image in the local engine

A plan is a value: made from the bundle's lock and manifest alone, the same for the same bundle.
Nothing of the bundle is executed here; it is read, checked against its digests and handed on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelpack.lazy import names_of

if TYPE_CHECKING:
    from modelpack.image.bases import Base, PythonFrom, choose_base
    from modelpack.image.context import write_context
    from modelpack.image.dockerfile import render_dockerfile
    from modelpack.image.engines import ENGINES, BuildSecret, ImageResult, build_image, connect
    from modelpack.image.plan import ImagePlan, LayerKind, PlannedLayer
    from modelpack.image.planning import plan_image
    from modelpack.image.reference import check_image_name, check_reference, default_reference

__all__ = [
    "ENGINES",
    "Base",
    "BuildSecret",
    "ImagePlan",
    "ImageResult",
    "LayerKind",
    "PlannedLayer",
    "PythonFrom",
    "build_image",
    "check_image_name",
    "check_reference",
    "choose_base",
    "connect",
    "default_reference",
    "plan_image",
    "render_dockerfile",
    "write_context",
]

_HOMES = {
    "Base": "modelpack.image.bases",
    "BuildSecret": "modelpack.image.engines",
    "ENGINES": "modelpack.image.engines",
    "ImagePlan": "modelpack.image.plan",
    "ImageResult": "modelpack.image.engines",
    "LayerKind": "modelpack.image.plan",
    "PlannedLayer": "modelpack.image.plan",
    "PythonFrom": "modelpack.image.bases",
    "build_image": "modelpack.image.engines",
    "check_image_name": "modelpack.image.reference",
    "check_reference": "modelpack.image.reference",
    "choose_base": "modelpack.image.bases",
    "connect": "modelpack.image.engines",
    "default_reference": "modelpack.image.reference",
    "plan_image": "modelpack.image.planning",
    "render_dockerfile": "modelpack.image.dockerfile",
    "write_context": "modelpack.image.context",
}

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__, _HOMES)
