"""Calls over HTTP: the service's own routes, or tensors in binary where there are several.

GET /openapi.json ──► Service
one array, files, JSON  ──bodies──► POST /predict
several arrays          ──tensors─► POST /v2/models/NAME/infer      where the server answers there
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

from modelpack.client import bodies, problems, tensors
from modelpack.client.errors import CallError, CallUnknownError
from modelpack.client.reply import Reply, Request
from modelpack.client.schema import BINARY, NDJSON, Api, Service, service_of

_NO_DOCUMENT = "does the URL name a server of modelpack, and nothing behind it?"


class HttpDialect:
    """How calls look over HTTP."""

    def __init__(self, *, only_json: bool = False) -> None:
        """``only_json``: arrays are sent, and wanted back, as JSON too."""
        self._only_json = only_json

    def describe(self) -> Generator[Request, Reply, Service]:
        """Read the document of the service.

        A server shows its pages only to names that it knows, so that no browser is led to them under
        a name of somebody else's.  A browser cannot choose what it says as ``Host``; we can.
        """
        try:
            reply = yield Request(method="GET", path="/openapi.json")
        except CallError as error:
            if error.code != "host-refused":
                error.hint = _NO_DOCUMENT if isinstance(error, CallUnknownError) else error.hint
                raise
            reply = yield Request(method="GET", path="/openapi.json", host="localhost")
        return service_of(reply.body)

    def request(
        self, service: Service, api: Api, arguments: Mapping[str, Any], about: Mapping[str, str]
    ) -> Request:
        """Return the request for arguments."""
        headers = dict(about)
        if len(arguments) > 1 and not self._only_json:
            path = _oip_path(service, api)
            found = None if path is None else tensors.numeric(api, arguments)
            if path is not None and found is not None:
                data, size = tensors.to_binary(found)
                headers["content-type"] = BINARY
                headers[tensors.HEAD_LENGTH] = str(size)
                return Request(path=path, headers=headers, body=data)
        body = (bodies.json_of if self._only_json else bodies.body_of)(api, arguments)
        headers["content-type"] = body.content_type
        headers.update(body.headers)
        if not self._only_json and (accept := bodies.accept_of(api)):
            headers.setdefault("accept", accept)
        return Request(path=api.route, headers=headers, body=body.data, is_stream=api.is_stream)

    def value(self, api: Api, reply: Reply) -> Any:
        """Return the value of an answer."""
        if tensors.HEAD_LENGTH in reply.headers:
            return tensors.value_of(tensors.from_binary(reply))
        return bodies.value_of(api, reply)

    def error(self, reply: Reply, request_id: str) -> CallError:
        """Return the error that an answer is."""
        return problems.error_of(reply, request_id)

    def reader(self, api: Api, reply: Reply) -> LineReader:
        """Return what reads the lines of a stream."""
        if reply.content_type != NDJSON:
            raise CallError(f"the answer of '{api.name}' is '{reply.content_type}', not a stream")
        return LineReader(api, reply.headers.get("x-request-id", ""))


def _oip_path(service: Service, api: Api) -> str | None:
    """Return where an api takes binary tensors; None: nowhere, or its answer is no tensors only."""
    properties = api.returns.get("properties", {})
    answers = [api.returns] if "x-dtype" in api.returns else list(properties.values())
    if api.is_stream or not answers or any(one.get("x-dtype", "str") == "str" for one in answers):
        return None
    for name in (f"{service.name}.{api.name}", service.name):
        path = f"/v2/models/{name}/infer"
        if path in service.paths and (name != service.name or api.name == service.default):
            return path
    return None


class LineReader:
    """Values of a stream, one JSON value a line."""

    def __init__(self, api: Api, request_id: str) -> None:
        self._api = api
        self._request_id = request_id
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield the values whose lines are whole; raises the error with which a stream ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in filter(None, lines):
            problem = problems.in_stream(bodies.raw_of(line)) if b'"error"' in line[:9] else None
            if problem is not None:
                status = problem.get("status")
                raise problems.made(
                    status if isinstance(status, int) else 500,
                    problem,
                    request_id=str(problem.get("request_id", self._request_id)),
                )
            yield bodies.piece_of(self._api, line)

    def end(self) -> Iterator[Any]:
        """Yield the value of a last line without an end."""
        return self.feed(b"\n")
