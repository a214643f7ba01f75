"""``inference.GRPCInferenceService``: the Open Inference Protocol, and Triton's calls beside it.

    ModelInferRequest ──read──► Arguments ──infer──► answer ──write──► ModelInferResponse
    the other calls   ──► what the catalog, the counts and the readiness say at this moment

An answer is raw when the request was, and when a tensor has a datatype without a typed form (FP16);
else it is typed.  Requests of a service's stream belong to ``ModelStreamInfer`` (``streams``).
Messages: Open Inference Protocol, gRPC; Triton, grpc_service.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from modelpack.errors import Issue
from modelpack.sdk.api import Arguments
from modelpack.server.faces.catalog import Served
from modelpack.server.faces.tensors import Named
from modelpack.server.grpc import contents, parameters
from modelpack.server.grpc.arguments import arguments_of, refused
from modelpack.server.grpc.calls import Asked, Unary
from modelpack.server.grpc.messages import Message, message, parsed
from modelpack.server.grpc.models import config_of, metadata_of, statistics_of
from modelpack.server.grpc.serving import Serving
from modelpack.server.grpc.taking import Taken, answered, parsed_aside, taken
from modelpack.server.problems import Problem, RefusedRequest
from modelpack.version import __version__

if TYPE_CHECKING:
    from modelpack.sdk.tensor import Array

SERVICE = "inference.GRPCInferenceService"

_Request = message("inference.ModelInferRequest")
_Response = message("inference.ModelInferResponse")
_ServerLive = message("inference.ServerLiveResponse")
_ServerReady = message("inference.ServerReadyResponse")
_ModelReadyRequest = message("inference.ModelReadyRequest")
_ModelReady = message("inference.ModelReadyResponse")
_ServerMetadata = message("inference.ServerMetadataResponse")
_MetadataRequest = message("inference.ModelMetadataRequest")
_ConfigRequest = message("inference.ModelConfigRequest")
_StatisticsRequest = message("inference.ModelStatisticsRequest")
_IndexRequest = message("inference.RepositoryIndexRequest")
_Index = message("inference.RepositoryIndexResponse")

EXTENSIONS = ("classification", "model_configuration", "model_repository", "schedule_policy",
              "statistics")  # fmt: skip


class Inference:
    """The methods with one message each way."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.unary: dict[str, Unary] = {
            "ServerLive": self.live,
            "ServerReady": self.ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.metadata,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.infer,
            "ModelConfig": self.config,
            "ModelStatistics": self.statistics,
            "RepositoryIndex": self.index,
        }

    async def infer(self, body: bytes, asked: Asked) -> bytes:
        """Answer one request."""
        request = await parsed_aside(_Request, body)
        one = await take(self._serving, request, asked, len(body), is_single=True)

        def encoded(answer: object) -> bytes:
            response = _Response(model_version=one.catalog.version)
            write(response, one.served, request, answer)
            return _bytes(response)

        response: bytes = await answered(one, asked, len(body), encoded)
        return response

    async def live(self, _body: bytes, _asked: Asked) -> bytes:
        """Say that this process answers."""
        return _bytes(_ServerLive(live=True))

    async def ready(self, _body: bytes, _asked: Asked) -> bytes:
        """Say whether requests are taken at this moment."""
        return _bytes(_ServerReady(ready=self._serving.catalog().problem() is None))

    async def model_ready(self, body: bytes, _asked: Asked) -> bytes:
        """Say whether a model is there and takes requests; one that is unknown is not ready."""
        request = parsed(_ModelReadyRequest, body)
        catalog = self._serving.catalog()
        try:
            catalog.model(request.name, request.version)
        except RefusedRequest:
            return _bytes(_ModelReady(ready=False))
        return _bytes(_ModelReady(ready=catalog.problem() is None))

    async def metadata(self, _body: bytes, _asked: Asked) -> bytes:
        """Say what the server is."""
        return _bytes(_ServerMetadata(name="modelpack", version=__version__, extensions=EXTENSIONS))

    async def model_metadata(self, body: bytes, _asked: Asked) -> bytes:
        """Say what a model takes and gives."""
        request = parsed(_MetadataRequest, body)
        catalog = self._serving.catalog()
        served = catalog.model(request.name, request.version)
        return _bytes(metadata_of(served, catalog))

    async def config(self, body: bytes, _asked: Asked) -> bytes:
        """Say how a model is batched, in Triton's words."""
        request = parsed(_ConfigRequest, body)
        catalog = self._serving.catalog()
        served = catalog.model(request.name, request.version)
        return _bytes(config_of(served, catalog.settings))

    async def statistics(self, body: bytes, _asked: Asked) -> bytes:
        """Say what a model, or every one, has answered."""
        request = parsed(_StatisticsRequest, body)
        catalog = self._serving.catalog()
        models: Iterable[Served] = catalog.models.values()
        if request.name:
            models = [catalog.model(request.name, request.version)]
        return _bytes(await statistics_of(catalog, models))

    async def index(self, body: bytes, _asked: Asked) -> bytes:
        """Say which models there are."""
        request = parsed(_IndexRequest, body)
        catalog = self._serving.catalog()
        problem = catalog.problem()
        state = "READY" if problem is None else "UNAVAILABLE"
        reason = "" if problem is None else problem.detail
        response = _Index()
        for name in catalog.models if problem is None or not request.ready else ():
            response.models.add(name=name, version=catalog.version, state=state, reason=reason)
        return _bytes(response)


async def take(
    serving: Serving, request: Message, asked: Asked, size_bytes: int, *, is_single: bool = False
) -> Taken:
    """Return what a request asks; ``is_single``: it wants one answer.  Raises RefusedRequest."""

    def read_for(served: Served) -> tuple[Arguments, Asked]:
        if is_single and served.api.is_stream:
            raise RefusedRequest(_decoupled(served.name))
        return read(served, request), parameters.wishes_of(request, asked)

    return await taken(
        serving,
        lambda catalog: catalog.model(request.model_name, request.model_version),
        read_for,
        size_bytes=size_bytes,
        is_raw=bool(request.raw_input_contents),
        asked=asked,
    )


def read(served: Served, request: Message) -> Arguments:
    """Return the arguments in a request; raises InputError."""
    _check_outputs(served, request.outputs)
    raw = request.raw_input_contents
    inputs = request.inputs
    is_raw = bool(raw)
    if is_raw and len(raw) != len(inputs):
        issue = Issue("/raw_input_contents", f"{len(inputs)} of them, one an input", str(len(raw)))
        raise refused([issue])
    tensors: dict[str, Array] = {}
    for number, one in enumerate(inputs):
        at = f"/{one.name}"
        if one.name in tensors:
            raise refused([Issue(at, "each input once", "it twice")])
        shape = contents.shape_from(at, one.shape)
        if not is_raw:
            tensors[one.name] = contents.from_contents(at, one.datatype, shape, one.contents)
            continue
        if one.HasField("contents") and one.contents.ByteSize():
            raise refused([Issue(at, "either contents or raw_input_contents", "both")])
        tensors[one.name] = contents.from_raw(at, one.datatype, shape, raw[number])
    return arguments_of(served, tensors)


def write(response: Message, served: Served, request: Message, answer: object) -> None:
    """Put an answer into its message; raises RefusedRequest for outputs that there are not."""
    response.model_name = served.name
    response.id = request.id
    tensors: Iterable[Named] = served.outputs.split(answer)
    if request.outputs:
        named = {one.name: one for one in tensors}
        tensors = _chosen(named, request.outputs, has_rows=served.api.batch is not None)
    tensors = list(tensors)
    is_raw = bool(request.raw_input_contents)
    is_raw = is_raw or any(one.datatype not in contents.FIELDS for one in tensors)
    for one in tensors:
        output = response.outputs.add(name=one.name, datatype=one.datatype, shape=one.shape)
        if is_raw:
            response.raw_output_contents.append(contents.to_raw(one))
        else:
            contents.fill(one, output.contents)


def _check_outputs(served: Served, outputs: Iterable[Message]) -> None:
    """Raise RefusedRequest for an output that the signature is known not to have."""
    if declared := [port.name for port in served.outputs.declared]:
        for output in outputs:
            if output.name not in declared:
                raise RefusedRequest(_unknown_output(output.name, declared))


def _chosen(
    tensors: Mapping[str, Named], outputs: Iterable[Message], *, has_rows: bool
) -> Iterable[Named]:
    """Yield the tensors that a request asks for, in its order."""
    for output in outputs:
        one = tensors.get(output.name)
        if one is None:
            raise RefusedRequest(_unknown_output(output.name, tensors))
        yield parameters.classified(one, output.parameters, has_rows=has_rows)


def _unknown_output(name: str, known: Iterable[str]) -> Problem:
    detail = f"no output '{name[:100]}', only {', '.join(known)}"
    return Problem(400, "bad-input", "unknown output", detail)


def _decoupled(name: str) -> Problem:
    detail = f"'{name}' answers in pieces: call it with ModelStreamInfer"
    return Problem(501, "not-implemented", "not implemented", detail)


def _bytes(response: Message) -> bytes:
    encoded: bytes = response.SerializeToString()
    return encoded
