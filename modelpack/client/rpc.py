"""Calls over gRPC: the Open Inference Protocol's messages, tensors in raw form.

    RepositoryIndex, ModelMetadata, ModelConfig ──► Service: an api for each model
    arguments ──tensors──► ModelInferRequest ──► ModelInferResponse ──► value
                           ModelStreamInfer, for an api that streams

Which api a model is stands in its metadata (``api``); without that, ``digits`` is the api ``predict``
and ``digits.explain`` the api ``explain``.  Only tensors travel: an answer has arrays for numbers and
lists for texts.  The connections are in ``rpc_wire``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

from modelpack.client import problems
from modelpack.client.errors import CallError
from modelpack.client.reply import Reply, Request
from modelpack.client.schema import NDJSON, Api, Parameter, Service
from modelpack.client.tensors import DTYPES, Tensor, tensors_of, value_of

_SERVICE = "/inference.GRPCInferenceService/"


class RpcDialect:
    """How calls look over gRPC."""

    def __init__(self) -> None:
        from modelpack.server.grpc.messages import message

        self._message: Callable[[str], Any] = message

    def describe(self) -> Generator[Request, Reply, Service]:
        """Ask for the models, and what each takes and gives."""
        index = yield from self._asked("RepositoryIndex")
        names = [one.name for one in index.models]
        version = index.models[0].version if names else ""
        service = names[0] if names else ""
        apis = {}
        for name in names:
            metadata = yield from self._asked("ModelMetadata", name=name)
            config = yield from self._asked("ModelConfig", name=name)
            api = _api(name, service, metadata, config.config)
            apis[api.name] = api
        return Service(service, version, apis)

    def request(
        self,
        service: Service,  # noqa: ARG002 - the model's name is in the api
        api: Api,
        arguments: Mapping[str, Any],
        about: Mapping[str, str],
    ) -> Request:
        """Return the request for arguments."""
        message = self._message("inference.ModelInferRequest")(model_name=api.route)
        for one in tensors_of(api, arguments):
            message.inputs.add(name=one.name, datatype=one.datatype, shape=one.shape)
            message.raw_input_contents.append(bytes(one.data))
        method = "ModelStreamInfer" if api.is_stream else "ModelInfer"
        return Request(
            path=_SERVICE + method,
            headers=about,
            body=message.SerializeToString(),
            is_stream=api.is_stream,
        )

    def value(self, api: Api, reply: Reply) -> Any:
        """Return the value of an answer."""
        response = self._message("inference.ModelInferResponse").FromString(bytes(reply.body))
        return _value(api, response)

    def error(self, reply: Reply, request_id: str) -> CallError:
        """Return the error that an answer is."""
        return problems.error_of(reply, request_id)

    def reader(self, api: Api, reply: Reply) -> PieceReader:
        """Return what reads the messages of a stream."""
        kind = self._message("inference.ModelStreamInferResponse")
        return PieceReader(api, kind, reply.headers.get("x-request-id", ""))

    def _asked(self, method: str, **fields: str) -> Generator[Request, Reply, Any]:
        body = self._message(f"inference.{method}Request")(**fields).SerializeToString()
        reply = yield Request(path=_SERVICE + method, body=body)
        return self._message(f"inference.{method}Response").FromString(bytes(reply.body))


class PieceReader:
    """Values of a stream, one message each."""

    def __init__(self, api: Api, kind: Any, request_id: str) -> None:
        self._api, self._kind, self._request_id = api, kind, request_id

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield the value of a message; raises CallError for one that says what failed."""
        response = self._kind.FromString(data)
        if response.error_message:
            raise CallError(response.error_message, request_id=self._request_id)
        yield _value(self._api, response.infer_response)

    def end(self) -> Iterator[Any]:
        """Yield nothing: messages are whole."""
        return iter(())


def _api(model: str, service: str, metadata: Any, config: Any) -> Api:
    optional = {one.name for one in config.input if one.optional}
    parameters = tuple(
        Parameter(one.name, _schema(one), one.name not in optional) for one in metadata.inputs
    )
    outputs = {one.name: _schema(one) for one in metadata.outputs}
    returns: Mapping[str, Any] = {"type": "object", "properties": outputs}
    if list(outputs) == ["output"]:
        returns = outputs["output"]
    is_stream = config.model_transaction_policy.decoupled
    usual = model.removeprefix(f"{service}.") if model != service else "predict"
    return Api(
        name=metadata.properties.get("api", "") or usual,
        route=model,
        doc=f"The model '{model}'.",
        parameters=parameters,
        returns=returns if outputs else {},
        answers=frozenset({NDJSON if is_stream else "application/grpc"}),
    )


def _schema(tensor: Any) -> dict[str, Any]:
    """Return what stands for a tensor's declaration in a schema."""
    dtype = DTYPES.get(tensor.datatype)
    axes = list(tensor.shape)
    if dtype is None and axes == [1]:
        return {"type": "string"}  # a text, a file or JSON
    dtype = dtype or "str"
    shown = ", ".join("?" if axis < 0 else str(axis) for axis in axes)
    return {"x-dtype": dtype, "x-shape": axes, "description": f"an array {dtype}[{shown}]"}


def _value(api: Api, response: Any) -> Any:
    """Return the value of an answer; a tensor that is declared with one element is that element."""
    raw = response.raw_output_contents or [_typed(one) for one in response.outputs]
    if len(response.outputs) != len(raw):
        raise CallError("the answer has more tensors than contents, or fewer")
    found = value_of(
        [
            Tensor(one.name, one.datatype, tuple(one.shape), data)
            for one, data in zip(response.outputs, raw, strict=True)
        ]
    )
    if isinstance(found, dict):
        properties = api.returns.get("properties", {})
        return {name: _single(properties.get(name, {}), one) for name, one in found.items()}
    return _single(api.returns, found)


_CONTENTS = {
    "BOOL": "bool", "INT8": "int", "INT16": "int", "INT32": "int", "INT64": "int64",
    "UINT8": "uint", "UINT16": "uint", "UINT32": "uint", "UINT64": "uint64",
    "FP32": "fp32", "FP64": "fp64",
}  # fmt: skip
"""Which field has the elements of a tensor that is not raw, without ``_contents``."""


def _typed(output: Any) -> bytes:
    """Return the raw form of a tensor that is not raw: an answer to a request without tensors."""
    contents = output.contents
    if output.datatype == "BYTES":
        return b"".join(struct.pack("<I", len(one)) + one for one in contents.bytes_contents)
    import numpy as np

    elements = getattr(contents, f"{_CONTENTS.get(output.datatype, 'fp32')}_contents")
    return np.array(elements, DTYPES.get(output.datatype, "float32")).tobytes()


def _single(schema: Mapping[str, Any], value: Any) -> Any:
    is_one = schema.get("type") == "string" or schema.get("x-shape") == [1]
    if not is_one or len(value) != 1:
        return value
    one = value[0]
    return one.item() if hasattr(one, "item") else one
