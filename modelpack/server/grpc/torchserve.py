"""TorchServe's gRPC: ``org.pytorch.serve.grpc.inference.InferenceAPIsService``.

    Ping               {"status": "Healthy"}, as GET /ping
    Predictions        the parts of a form in, the bytes of the answer out   (``faces.handled``)
    StreamPredictions  the same in pieces, where the api streams; else one

What always holds: the bytes of an answer are those of ``POST /predictions/M`` for the same parts.
Models are registered and scaled by modelpack itself, so there is no ``ManagementAPIsService``.
TorchServe, frontend/server/src/main/resources/proto/inference.proto
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from modelpack.sdk.api import Arguments
from modelpack.server.faces.catalog import Served
from modelpack.server.faces.handled import Handled
from modelpack.server.faces.inference import stream
from modelpack.server.grpc.calls import Asked, Unary
from modelpack.server.grpc.messages import Message, message
from modelpack.server.grpc.serving import Serving
from modelpack.server.grpc.taking import FACE, Taken, answered, parsed_aside, taken
from modelpack.server.observe.payloads.notes import PROTOBUF, Note
from modelpack.server.observe.payloads.record import Said
from modelpack.server.problems import Problem, RefusedRequest

SERVICE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"

_SAID = Said(f"/{SERVICE}/StreamPredictions", PROTOBUF, (), FACE)

_Request = message("org.pytorch.serve.grpc.inference.PredictionsRequest")
_Response = message("org.pytorch.serve.grpc.inference.PredictionResponse")
_Health = message("org.pytorch.serve.grpc.inference.TorchServeHealthResponse")


class TorchServe:
    """The methods of the service."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.unary: dict[str, Unary] = {"Ping": self.ping, "Predictions": self.predict}

    async def ping(self, _body: bytes, _asked: Asked) -> bytes:
        """Say whether models can be asked."""
        word = "Healthy" if self._serving.catalog().problem() is None else "Unhealthy"
        encoded: bytes = _Health(health=f'{{\n  "status": "{word}"\n}}\n').SerializeToString()
        return encoded

    async def predict(self, body: bytes, asked: Asked) -> bytes:
        """Answer one request."""
        one = await self._taken(await parsed_aside(_Request, body), asked, len(body))
        if one.served.api.is_stream:
            detail = f"'{one.served.name}' answers in pieces: call it with StreamPredictions"
            raise RefusedRequest(Problem(501, "not-implemented", "not implemented", detail))
        return await _answer(one, asked, len(body))

    async def pieces(self, body: bytes, asked: Asked) -> AsyncIterator[bytes]:
        """Yield the pieces of an api that streams, or the one answer of another."""
        with Note(_SAID, asked.request_id, body) as note:
            try:
                one = await self._taken(await parsed_aside(_Request, body), asked, len(body))
                async with aclosing(_pieces(one, asked, len(body))) as pieces:
                    async for piece in pieces:
                        note.piece(piece)
                        yield piece
            except Exception as error:
                note.fail(error)
                raise

    async def _taken(self, request: Message, asked: Asked, size_bytes: int) -> Taken:
        def read(served: Served) -> tuple[Arguments, Asked]:
            handled = Handled(served.endpoint, served.endpoint.writer.writer_for(b""))
            return handled.read_parts(dict(request.input)), asked

        return await taken(
            self._serving,
            lambda catalog: catalog.model(request.model_name, request.model_version),
            read,
            size_bytes=size_bytes,
            is_raw=True,
            asked=asked,
        )


async def _pieces(one: Taken, asked: Asked, size_bytes: int) -> AsyncGenerator[bytes]:
    endpoint = one.served.endpoint
    if not endpoint.api.is_stream:
        yield await _answer(one, asked, size_bytes)
        return
    found = stream(
        endpoint,
        one.arguments,
        request_id=asked.request_id,
        timeout_s=one.asked.timeout_s,
        fields=asked.fields,
        face=FACE,
    )
    async for piece in found:
        is_text = isinstance(piece, str)
        data = piece.encode("utf-8", "replace") if is_text else endpoint.writer.json(piece)[1]
        yield _encoded(data)


async def _answer(one: Taken, asked: Asked, size_bytes: int) -> bytes:
    write = one.arguments.write or one.served.endpoint.writer.json

    def encoded(answer: Any) -> bytes:
        _, data, _ = write(answer)
        return _encoded(data)

    response: bytes = await answered(one, asked, size_bytes, encoded)
    return response


def _encoded(data: bytes) -> bytes:
    encoded: bytes = _Response(prediction=data).SerializeToString()
    return encoded
