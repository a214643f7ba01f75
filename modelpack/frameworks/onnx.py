"""ONNX models, run by onnxruntime.

    model.onnx ──OnnxModel──► model(x)["label"], model(x=...), model.run({"x": x})

It is loaded on the device, and with the threads, of the replica that loads it (``sdk.placement``).
External data files lie beside the model and are named plainly; a location that climbs, is absolute
or is a link is refused before the runtime sees the model (threat model S18).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from modelpack.errors import ModelpackError, RefusedError, UsageError
from modelpack.frameworks.base import Arrays, Saved
from modelpack.frameworks.machine import processors
from modelpack.frameworks.onnxfile import external_files
from modelpack.frameworks.origin import pinned
from modelpack.frameworks.providers import CUDA_PROVIDER, check, choose
from modelpack.sdk.placement import Placement, gpu_count, placement

FILE = "model.onnx"

# https://onnxruntime.ai/docs/api/python: the strings that NodeArg.type gives.
_DTYPES = {
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "str",
}


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output: ``dtype`` None for what is no tensor (ZipMap's list of maps)."""

    name: str
    dtype: str | None
    shape: tuple[int | str | None, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the form that ``model.json`` keeps."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}


class OnnxModel:
    """A loaded ONNX model: call it with its inputs, get its outputs by name."""

    def __init__(self, file: Path, *, threads: int | None = None) -> None:
        """Raise DeviceMissingError when the replica's device was asked for and is not there.

        ``threads`` is how many onnxruntime uses for one call; None: the replica's.
        """
        self.path = file
        self._at = placement().resolve(), threads or _threads()
        _check_external(file)
        self.session = _session(file, self._at[1])
        self.inputs = tuple(_port(node) for node in self.session.get_inputs())
        self.outputs = tuple(_port(node) for node in self.session.get_outputs())
        self._input_names = [port.name for port in self.inputs]
        self._output_names = [port.name for port in self.outputs]
        self._only_output = self._output_names[0] if len(self.outputs) == 1 else None

    def is_at(self, where: Placement) -> bool:
        """Say whether a model loaded in that placement would be the same."""
        return self._at == (where.resolve(), _threads(where))

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run on named arrays; returns every output by its name."""
        results = self.session.run(self._output_names, inputs)
        if self._only_output is not None:  # as most models have it; a microsecond less
            return {self._only_output: results[0]}
        return dict(zip(self._output_names, results, strict=True))

    def __call__(self, *args: Any, **named: Any) -> dict[str, Any]:
        """Run on arrays in the order of the inputs, or by name; returns the outputs by name."""
        if len(args) > len(self._input_names):
            raise TypeError(f"{len(self._input_names)} inputs, got {len(args)}")
        return self.run({**dict(zip(self._input_names, args, strict=False)), **named})


class OnnxFramework:
    """Saves and loads ONNX: a path, bytes, or an ``onnx.ModelProto``."""

    name: ClassVar[str] = "onnx"
    carries_code: ClassVar[bool] = False

    def recognises(self, model: object) -> bool:
        """Take a ``.onnx`` path or a ModelProto."""
        if isinstance(model, str | os.PathLike):
            return Path(model).suffix == ".onnx"
        return type(model).__name__ == "ModelProto" and hasattr(model, "SerializeToString")

    def save(self, model: Any, folder: Path) -> Saved:
        """Write ``model.onnx`` and its external data; the model is loaded once to check it."""
        file = folder / FILE
        if isinstance(model, bytes):
            file.write_bytes(model)
        elif hasattr(model, "SerializeToString"):
            file.write_bytes(model.SerializeToString())
        else:
            source = Path(model)
            if not source.is_file():
                raise UsageError(f"no file '{source}'", hint="give the path of a .onnx file")
            shutil.copyfile(source, file)
            for name in external_files(source):
                _plain(name, source)
                shutil.copyfile(source.parent / name, folder / name)
        loaded = open_onnx(file)
        return Saved(
            # By what is installed: it may be onnxruntime-gpu.
            requirements=(*pinned("onnxruntime"), "numpy"),
            inputs=tuple(port.to_json() for port in loaded.inputs),
            outputs=tuple(port.to_json() for port in loaded.outputs),
        )

    def load(self, folder: Path) -> OnnxModel:
        """Return the model, ready to run."""
        return OnnxModel(folder / FILE)

    def predict(self, model: Any, inputs: Arrays) -> Arrays:
        """Return every output by name; ZipMap's lists of maps as one row of numbers each."""
        import numpy

        if not isinstance(model, OnnxModel):
            with tempfile.TemporaryDirectory(prefix="modelpack-onnx-") as scratch:
                self.save(model, Path(scratch))
                return self.predict(self.load(Path(scratch)), inputs)
        return {
            name: numpy.array([list(row.values()) for row in found])
            if isinstance(found, list)
            else found
            for name, found in model(**inputs).items()
        }


def open_onnx(file: Path) -> OnnxModel:
    """Load any ``.onnx`` file; raises UsageError when it is not one."""
    try:
        return OnnxModel(file)
    except ModelpackError:
        raise
    except Exception as cause:  # onnxruntime's own classes have no common base
        said = str(cause).splitlines()[0][:200]
        raise UsageError(
            f"'{file.name}' is not an ONNX model that onnxruntime can load: {said}",
            hint="export it again, or check the file with onnx.checker",
        ) from cause


def _session(file: Path, threads: int) -> Any:
    # Its Linux wheel sends telemetry unless this is set before the import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    where = placement()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Threads that spin while they wait burn the processor time of other services.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    offered = onnxruntime.get_available_providers()
    gpus = gpu_count() if CUDA_PROVIDER in offered else 0
    providers = choose(where, offered, gpus)
    if len(providers) > 1 and hasattr(onnxruntime, "preload_dlls"):
        # CUDA that came as wheels is not on the loader's path: "" searches site-packages.
        onnxruntime.preload_dlls(directory="")
    session = onnxruntime.InferenceSession(file, options, providers=providers)
    check(where, providers, session.get_providers())
    return session


def _threads(where: Placement | None = None) -> int:
    """Return the threads for one call: as the user says, as the replica may, or all."""
    said = int(os.environ.get("MODELPACK_ORT_THREADS", "0"))
    return said or (where or placement()).threads or processors()


def _port(node: Any) -> Port:
    shape = tuple(d if isinstance(d, int | str) else None for d in node.shape or ())
    return Port(node.name, _DTYPES.get(node.type), shape)


def _check_external(file: Path) -> None:
    for name in external_files(file):
        _plain(name, file)
        beside = file.parent / name
        if beside.is_symlink() or not beside.is_file():
            raise RefusedError(
                f"'{file.name}' keeps weights in '{name}', which is not a plain file beside it",
                hint="export the model again into an empty folder",
            )


def _plain(name: str, file: Path) -> None:
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise RefusedError(
            f"'{file.name}' keeps weights outside its own folder, in '{name[:60]}'",
            hint="export it again with its external data beside it",
        )
