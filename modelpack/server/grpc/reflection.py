"""``grpc.reflection``: tools such as grpcurl ask which services there are, and for their messages.

    list_services, file_by_filename, file_containing_symbol ──► names, descriptors with their imports

Both versions of the service have the same messages.  There are no extensions.
https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

from grpc import StatusCode

from modelpack.server.grpc.calls import Context, abort
from modelpack.server.grpc.messages import FILES_BY_NAME, Message, file_of, imports_of, message
from modelpack.server.grpc.messages import parsed as parsed_
from modelpack.server.problems import RefusedRequest

NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

_NOT_FOUND = StatusCode.NOT_FOUND.value[0]

Info = Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]


def info_of(name: str, services: Iterable[str]) -> Info:
    """Return the method of the service with that name."""
    package = name.rpartition(".")[0]
    request_kind = message(f"{package}.ServerReflectionRequest")
    response_kind = message(f"{package}.ServerReflectionResponse")
    known = sorted(services)

    async def info(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for body in requests:
            try:
                request = parsed_(request_kind, body)
            except RefusedRequest as refused:
                await abort(context, refused.problem, b"")
            response = response_kind(valid_host=request.host, original_request=request)
            _answer(request, response, known)
            yield response.SerializeToString()

    return info


def _answer(request: Message, response: Message, services: list[str]) -> None:
    asked = request.WhichOneof("message_request")
    try:
        if asked == "list_services":
            for name in services:
                response.list_services_response.service.add(name=name)
        elif asked == "file_by_filename":
            _add_files(request.file_by_filename, response)
        elif asked == "file_containing_symbol":
            _add_files(_file_with(request.file_containing_symbol), response)
        else:
            raise KeyError("there are no extensions")
    except KeyError as error:
        response.error_response.error_code = _NOT_FOUND
        response.error_response.error_message = str(error.args[0])[:200]


def _file_with(symbol: str) -> str:
    """Return the file that defines a symbol, or what holds it: a method, a field.  Raises KeyError."""
    while symbol:
        try:
            return file_of(symbol)
        except KeyError:
            symbol = symbol.rpartition(".")[0]
    raise KeyError("no such symbol")


def _add_files(file: str, response: Message) -> None:
    found = [FILES_BY_NAME[name] for name in imports_of(file)]
    response.file_descriptor_response.file_descriptor_proto.extend(found)
