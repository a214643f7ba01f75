"""Zero code: a service made from a model's own signature.

    model.onnx ──► class with one api ``predict(<input names>) -> {output name: value}``

The api is batched when the first axis of every input and output has no fixed length.  scikit-learn
converters end in ZipMap by default; its output, one mapping from label to probability a row, is
answered as a list of objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelpack.config.settings import BatchConfig
from modelpack.errors import UsageError
from modelpack.frameworks.catalog import load_model, read_record
from modelpack.frameworks.onnx import OnnxModel, Port, open_onnx
from modelpack.sdk.api import ApiSpec, Parameter
from modelpack.sdk.containers import ListValue, MapValue, ObjectValue
from modelpack.sdk.placement import placement
from modelpack.sdk.service import ServiceSpec
from modelpack.sdk.tensor import TensorSpec, TensorValue
from modelpack.sdk.values import NumberValue, Value
from modelpack.tag import name_from

DEFAULT_MAX_BATCH_SIZE = 32


class ModelService:
    """A model that answers for itself."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model

    def predict(self, **inputs: Any) -> Mapping[str, Any]:
        """Run the model on its inputs; returns its outputs by name."""
        return self.model.run(inputs)

    @staticmethod
    def forget_model() -> None:
        """Let go of a model that was loaded to describe the service; instances load their own."""


def service_from_model(source: Path, name: str | None = None) -> ServiceSpec:
    """Return a service for an ``.onnx`` file, or for the folder of a saved ONNX model.

    Raises UsageError for a model without a usable signature.
    """
    if source.is_dir():
        record = read_record(source)
        model = load_model(source)
        name = name or record.name
    else:
        model = open_onnx(source)
    if not isinstance(model, OnnxModel):
        raise UsageError(
            f"'{source.name}' does not say what goes in and out",
            hint="write a service around it: modelpack init NAME --template function",
        )

    described = _Described(model)

    class Service(ModelService):
        def __init__(self) -> None:
            super().__init__(described.take())

        @staticmethod
        def forget_model() -> None:
            described.forget()

    return ServiceSpec(
        name=name or name_from(source.stem),
        cls=Service,
        apis=(_predict(model),),
        models={},
        doc=f"The ONNX model '{source.stem}', as it is.",
    )


class _Described:
    """The model that was loaded to describe the service; its first instance may have it."""

    def __init__(self, model: OnnxModel) -> None:
        self._file = model.path
        self._model: OnnxModel | None = model

    def take(self) -> OnnxModel:
        """Return the model of the replica that asks; raises as ``OnnxModel`` does."""
        model, self._model = self._model, None
        if model is not None and model.is_at(placement()):
            return model
        del model  # before there is a second one
        return OnnxModel(self._file)

    def forget(self) -> None:
        """Let go of the model: it is needed elsewhere."""
        self._model = None


def _predict(model: OnnxModel) -> ApiSpec:
    ports = (*model.inputs, *model.outputs)
    is_batched = all(p.dtype is None or (p.shape and not _fixed(p.shape[0])) for p in ports)
    outputs: dict[str, Value] = {port.name: _output(port) for port in model.outputs}
    return ApiSpec(
        name="predict",
        route="/predict",
        attribute="predict",
        parameters=tuple(
            Parameter(name=port.name, value=_input(port, is_batched)) for port in model.inputs
        ),
        returns=ObjectValue("Outputs", outputs, frozenset(outputs), dict),
        batch=BatchConfig(max_batch_size=DEFAULT_MAX_BATCH_SIZE) if is_batched else None,
        doc="Run the model. The keys are the names of its inputs and outputs.",
    )


def _input(port: Port, is_batched: bool) -> Value:
    if port.dtype is None:
        raise UsageError(
            f"the input '{port.name}' of the model is no tensor",
            hint="write a service around it: modelpack init NAME --template onnx",
        )
    shape = tuple(dim if _fixed(dim) else None for dim in port.shape)
    return TensorValue(TensorSpec(port.dtype, ("batch", *shape[1:]) if is_batched else shape))


def _output(port: Port) -> Value:
    if port.dtype is None:
        return ListValue(MapValue(NumberValue()))
    # What a model gives need not keep to the axes it declares; only the dtype is relied on.
    return TensorValue(TensorSpec(port.dtype))


def _fixed(dim: int | str | None) -> bool:
    return isinstance(dim, int) and dim > 0
