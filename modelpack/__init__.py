"""Turn a trained model and its code into a service that people can run, ship and trust.

    import modelpack

    @modelpack.service
    class Iris:
        clf = modelpack.Model("iris-clf:latest")

        @modelpack.api(batch=True)
        def predict(self, x: modelpack.Tensor["float32", "batch", 4]) -> list[str]: ...

Names are loaded when they are first used, so that ``import modelpack`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelpack.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from modelpack import models
    from modelpack.client.aio import AsyncClient
    from modelpack.client.errors import CallError
    from modelpack.client.retry import Retry
    from modelpack.client.sync import Client
    from modelpack.embed import load
    from modelpack.errors import InputError, ModelpackError
    from modelpack.sdk.hints import Range
    from modelpack.sdk.model import Model
    from modelpack.sdk.placement import device
    from modelpack.sdk.service import api, mount, on_shutdown, on_startup, service
    from modelpack.sdk.tensor import Tensor, TensorSpec
    from modelpack.tag import Tag

__all__ = [
    "AsyncClient",
    "CallError",
    "Client",
    "InputError",
    "Model",
    "ModelpackError",
    "Range",
    "Retry",
    "Tensor",
    "TensorSpec",
    "__version__",
    "api",
    "device",
    "load",
    "models",
    "mount",
    "on_shutdown",
    "on_startup",
    "service",
]

_HOMES = {
    "AsyncClient": "modelpack.client.aio",
    "CallError": "modelpack.client.errors",
    "Client": "modelpack.client.sync",
    "InputError": "modelpack.errors",
    "Model": "modelpack.sdk.model",
    "ModelpackError": "modelpack.errors",
    "Range": "modelpack.sdk.hints",
    "Retry": "modelpack.client.retry",
    "Tensor": "modelpack.sdk.tensor",
    "TensorSpec": "modelpack.sdk.tensor",
    "api": "modelpack.sdk.service",
    "device": "modelpack.sdk.placement",
    "load": "modelpack.embed",
    "mount": "modelpack.sdk.service",
    "on_shutdown": "modelpack.sdk.service",
    "on_startup": "modelpack.sdk.service",
    "service": "modelpack.sdk.service",
}


class _Models:
    """Takes models from the bundle this process serves, else from the store."""

    def folder(self, tag: Tag) -> Path:
        from modelpack import paths

        if (root := paths.bundle_dir()) is not None:
            from modelpack.frameworks.bundled import BundledModels

            return BundledModels(root).folder(tag)
        from modelpack.models import folder

        return folder(tag)

    def load(self, folder: Path) -> Any:
        from modelpack.frameworks.catalog import load_model

        return load_model(folder)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "models":
        return import_module("modelpack.models")
    if name not in _HOMES:
        raise AttributeError(f"module 'modelpack' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    if name == "Model":
        from modelpack.sdk.model import has_source, set_source

        if not has_source():
            set_source(_Models())
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
