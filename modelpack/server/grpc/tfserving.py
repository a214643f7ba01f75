"""TensorFlow Serving's gRPC: ``PredictionService`` and ``ModelService``.

    PredictRequest ──► Arguments ──infer──► answer ──► PredictResponse

Which model is meant: ``specs``.  Classify, Regress and MultiInference: ``classifying``.
tensorflow_serving/apis: predict.proto, get_model_metadata.proto, get_model_status.proto
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from modelpack.errors import InputError, Issue
from modelpack.sdk.api import Arguments
from modelpack.server.faces.catalog import Served
from modelpack.server.faces.tensors import InputPort, OutputPort
from modelpack.server.faces.tfserving import status_of
from modelpack.server.grpc.arguments import arguments_of
from modelpack.server.grpc.calls import Asked, Unary
from modelpack.server.grpc.messages import Message, enum, message, parsed
from modelpack.server.grpc.serving import Serving
from modelpack.server.grpc.specs import (
    DEFAULT_SIGNATURE,
    check_kind,
    named,
    tell_spec,
    with_signature,
)
from modelpack.server.grpc.taking import answered, parsed_aside, taken
from modelpack.server.grpc.tensorproto import array_from, proto_of, type_number
from modelpack.server.problems import Problem, RefusedRequest

if TYPE_CHECKING:
    from modelpack.sdk.tensor import Array

PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"
METHOD = "tensorflow/serving/predict"

_ANY = "type.googleapis.com/tensorflow.serving.SignatureDefMap"

_PredictRequest = message("tensorflow.serving.PredictRequest")
_PredictResponse = message("tensorflow.serving.PredictResponse")
_MetadataRequest = message("tensorflow.serving.GetModelMetadataRequest")
_Metadata = message("tensorflow.serving.GetModelMetadataResponse")
_Signatures = message("tensorflow.serving.SignatureDefMap")
_StatusRequest = message("tensorflow.serving.GetModelStatusRequest")
_Status = message("tensorflow.serving.GetModelStatusResponse")
_STATES = enum("tensorflow.serving.ModelVersionStatus.State")


class TensorFlowServing:
    """The methods of both services."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.prediction: dict[str, Unary] = {
            "Predict": self.predict,
            "GetModelMetadata": self.metadata,
        }
        self.model: dict[str, Unary] = {"GetModelStatus": self.status}

    async def predict(self, body: bytes, asked: Asked) -> bytes:
        """Answer one request."""
        request = await parsed_aside(_PredictRequest, body)
        one = await taken(
            self._serving,
            lambda catalog: with_signature(catalog, request.model_spec),
            lambda served: (self._read(served, request), asked),
            size_bytes=len(body),
            is_raw=all(request.inputs[name].tensor_content for name in request.inputs),
            asked=asked,
        )
        wanted = frozenset(request.output_filter)

        def encoded(answer: object) -> bytes:
            response = _PredictResponse()
            tell_spec(response.model_spec, one.catalog, request.model_spec)
            for found in one.served.outputs.split(answer):
                if not wanted or found.name in wanted:
                    response.outputs[found.name].CopyFrom(proto_of(found))
            return _bytes(response)

        response: bytes = await answered(one, asked, len(body), encoded)
        return response

    def _read(self, served: Served, request: Message) -> Arguments:
        """Return the arguments in a request; raises InputError."""
        check_kind(served)
        _check_filter(served, request.output_filter)
        most_bytes = self._serving.settings.max_body_bytes
        tensors: dict[str, Array] = {
            name: array_from(f"/{name}", request.inputs[name], most_bytes)
            for name in request.inputs
        }
        return arguments_of(served, tensors)

    async def metadata(self, body: bytes, _asked: Asked) -> bytes:
        """Say what a model takes and gives."""
        request = parsed(_MetadataRequest, body)
        catalog = self._serving.catalog()
        served = named(catalog, request.model_spec)
        for name in request.metadata_field:
            if name != "signature_def":
                detail = f"no metadata '{name[:100]}', only signature_def"
                raise RefusedRequest(Problem(400, "bad-input", "unknown metadata", detail))
        found = _Signatures()
        _describe(found.signature_def[DEFAULT_SIGNATURE], served)
        if served is catalog.default:
            for one in catalog.models.values():
                _describe(found.signature_def[one.api.name], one)
        response = _Metadata()
        tell_spec(response.model_spec, catalog, request.model_spec)
        response.metadata["signature_def"].type_url = _ANY
        response.metadata["signature_def"].value = found.SerializeToString()
        return _bytes(response)

    async def status(self, body: bytes, _asked: Asked) -> bytes:
        """Say whether a model is available."""
        request = parsed(_StatusRequest, body)
        catalog = self._serving.catalog()
        named(catalog, request.model_spec)
        response = _Status()
        for one in status_of(catalog)["model_version_status"]:
            found = response.model_version_status.add(version=int(one["version"]))
            found.state = _STATES[one["state"]]
            found.status.SetInParent()
        return _bytes(response)


def _check_filter(served: Served, names: Iterable[str]) -> None:
    """Raise InputError for an output that the signature is known not to have."""
    declared = [port.name for port in served.outputs.declared]
    for name in names:
        if declared and name not in declared:
            issue = Issue("/output_filter", f"one of {', '.join(declared)}", f"'{name[:100]}'")
            raise InputError(f"no output '{name[:100]}'", issues=[issue])


def _describe(signature: Message, served: Served) -> None:
    signature.method_name = METHOD
    for port in served.inputs:
        _describe_tensor(signature.inputs[port.name], port)
    for output in served.outputs.declared:
        _describe_tensor(signature.outputs[output.name], output)


def _describe_tensor(info: Message, port: InputPort | OutputPort) -> None:
    info.name = f"{port.name}:0"
    info.dtype = type_number(port.datatype)
    for length in port.shape:
        info.tensor_shape.dim.add(size=length)


def _bytes(response: Message) -> bytes:
    encoded: bytes = response.SerializeToString()
    return encoded
