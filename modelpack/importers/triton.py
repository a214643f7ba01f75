"""Triton model repositories, or one model of them.

    REPOSITORY/MODEL/config.pbtxt         name, batch size, tensors; may be missing for ONNX
    REPOSITORY/MODEL/VERSION/model.onnx   the highest version is taken
                             model.pt     TorchScript
                             model.savedmodel/

Facts: the model repository and model configuration pages of Triton's documentation.  With
``max_batch_size`` above 0 the dims leave the batch axis out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from modelpack.errors import RefusedError
from modelpack.importers.base import Foreign, ForeignModel, Left
from modelpack.importers.pbtxt import Message, parse
from modelpack.tag import name_from

CONFIG = "config.pbtxt"

DTYPES = {
    "TYPE_BOOL": "bool", "TYPE_UINT8": "uint8", "TYPE_UINT16": "uint16", "TYPE_UINT32": "uint32",
    "TYPE_UINT64": "uint64", "TYPE_INT8": "int8", "TYPE_INT16": "int16", "TYPE_INT32": "int32",
    "TYPE_INT64": "int64", "TYPE_FP16": "float16", "TYPE_FP32": "float32", "TYPE_FP64": "float64",
    "TYPE_STRING": "str",
}  # fmt: skip
"""Our dtypes, by Triton's names of them."""

FILES = {
    "model.onnx": "onnx",
    "model.pt": "torch",
    "model.savedmodel": "tensorflow",
}
"""The adapter for each file or folder that a version may hold."""

_WHY = {
    "dynamic_batching": "how many rows go together is learned; see 'max_wait_ms' for fixed rules",
    "instance_group": "say 'replicas' and 'devices' where it is served",
    "model_warmup": "warm calls are made from the signature",
    "version_policy": "a bundle is one version",
    "ensemble_scheduling": "a chain of models is a service with code",
    "sequence_batching": "requests of a sequence are not routed to one instance",
    "optimization": "it belongs to Triton's own backends",
    "response_cache": "answers are not cached",
    "model_transaction_policy": "an answer in several parts is an api that streams",
    "parameters": "they belong to Triton's own backends",
}
_CARRIED = {"name", "platform", "backend", "max_batch_size", "input", "output",
            "default_model_filename"}  # fmt: skip
_VERSION = re.compile(r"[1-9][0-9]*|0")


class TritonImporter:
    """Reads model repositories."""

    name: ClassVar[str] = "triton"

    def recognises(self, path: Path) -> bool:
        """A folder with models, or one of them."""
        return path.is_dir() and bool(_is_model(path) or any(map(_is_model, _folders(path))))

    def read(self, path: Path, scratch: Path) -> Foreign:  # noqa: ARG002
        """Read every model; raises RefusedError for a configuration that is malformed."""
        folders = [path] if _is_model(path) else [one for one in _folders(path) if _is_model(one)]
        found = [_read_model(folder) for folder in folders]
        models = tuple(one for one in found if isinstance(one, ForeignModel))
        left = tuple(one for one in found if isinstance(one, Left))
        return Foreign(format="Triton model repository", models=models, left=left)


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.is_symlink())


def _is_model(folder: Path) -> bool:
    if (folder / CONFIG).is_file():
        return True
    return any((version / file).exists() for version in _versions(folder) for file in FILES)


def _versions(folder: Path) -> list[Path]:
    """Return the folders of versions, the newest last."""
    found = [one for one in _folders(folder) if _VERSION.fullmatch(one.name)]
    return sorted(found, key=lambda one: int(one.name))


def _read_model(folder: Path) -> ForeignModel | Left:
    config = _config(folder)
    name = str(_one(config, "name") or folder.name)
    versions = _versions(folder)
    if not versions:
        return Left(name, "it has no version with a model file")
    newest = versions[-1]
    place, framework = _file(newest, config)
    if place is None:
        what = _one(config, "platform") or _one(config, "backend") or "of its kind"
        return Left(name, f"no adapter loads a model '{what}'")
    batch = _one(config, "max_batch_size") or 0
    left = [Left(f"{name}: {key}", _WHY[key]) for key in sorted(set(config) & set(_WHY))]
    left += [
        Left(f"{name}: {key}", "nothing stands for it here")
        for key in sorted(set(config) - set(_WHY) - _CARRIED)
    ]
    if len(versions) > 1:
        others = ", ".join(one.name for one in versions[:-1])
        left.append(Left(f"{name}: version {others}", f"the newest, {newest.name}, was taken"))
    left += _labels_left(name, config)
    return ForeignModel(
        name=name_from(name),
        version=newest.name,
        framework=framework,
        place=place,
        inputs=tuple(_tensor(one, batch, folder) for one in config.get("input", ())),
        outputs=tuple(_tensor(one, batch, folder) for one in config.get("output", ())),
        labels={"imported_from": "triton"},
        max_batch_size=batch or None,
        left=tuple(left),
    )


def _config(folder: Path) -> Message:
    file = folder / CONFIG
    if not file.is_file():
        return {}
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise RefusedError(f"'{file}' cannot be read: {cause}") from cause
    return parse(text, str(file))


def _one(message: Message, name: str) -> Any:
    """Return a field that stands at most once."""
    values = message.get(name)
    return values[-1] if values else None


def _file(version: Path, config: Message) -> tuple[Path | None, str]:
    named = _one(config, "default_model_filename")
    for file, framework in FILES.items():
        if (version / file).exists():
            return version / file, framework
        if named and Path(str(named)).suffix == Path(file).suffix:
            place = version / Path(str(named)).name
            if place.exists():
                return place, framework
    return None, ""


def _tensor(value: Any, batch: int, folder: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RefusedError(f"'{folder / CONFIG}': an input or output is not a message")
    dtype = DTYPES.get(str(_one(value, "data_type")), "")
    dims = [None if dim == -1 else int(dim) for dim in value.get("dims", ())]
    return {
        "name": str(_one(value, "name") or ""),
        "dtype": dtype,
        "shape": [None, *dims] if batch else dims,
    }


def _labels_left(name: str, config: Message) -> list[Left]:
    """Return the files of labels that the outputs name."""
    files = [
        _one(one, "label_filename") for one in config.get("output", ()) if isinstance(one, dict)
    ]
    return [Left(f"{name}: {file}", "labels are for a service with code") for file in files if file]
