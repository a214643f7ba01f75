"""Events of Lambda as requests, and answers as what each kind of event wants back.

| event                                        | kind    | answer                                      |
| -------------------------------------------- | ------- | ------------------------------------------- |
| ``version: "2.0"``, ``requestContext.http``  | v2      | status, headers, cookies, body              |
| ``httpMethod`` and ``requestContext.elb``    | balancer| status, line, headers, body                 |
| ``httpMethod``                               | v1      | status, headers with all values, body       |
| ``{"path": "/explain", "body": ...}``        | direct  | the JSON that the api answers               |
| anything else                                | direct  | the same, of the default api                |

v2 is what HTTP APIs and function URLs send, v1 what REST APIs do.  A body that is not text is base64
both ways.  A direct call that fails is a failed invocation: ``InvocationFailedError``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlencode

import orjson

Lines = list[tuple[bytes, bytes]]
"""Header lines, names in lower case."""


class InvocationFailedError(Exception):
    """An invocation has no answer; ``kind`` says in a word why."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True, slots=True)
class Request:
    """What an event asks."""

    kind: str
    """``v1``, ``v2``, ``balancer`` or ``direct``."""
    method: str
    path: str
    """Percent-decoded."""
    query: bytes = b""
    headers: Lines = field(default_factory=list)
    body: bytes = b""
    client: str = "127.0.0.1"
    has_many: bool = True
    """For a load balancer: whether it sends and wants all values of a header."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What the application answered."""

    status: int
    headers: Lines
    body: bytes

    def header(self, name: bytes) -> bytes:
        """Return the value of a header; b"" when there is none."""
        return next((value for key, value in self.headers if key == name), b"")


def request_of(event: Any, default_path: str) -> Request:
    """Return what an event asks; raises InvocationFailedError (bad-event).

    ``default_path`` is where a direct call goes that names none.
    """
    if isinstance(event, dict):
        context = event.get("requestContext")
        try:
            if isinstance(context, dict) and isinstance(context.get("http"), dict):
                return _from_v2(event, context)
            if "httpMethod" in event and "path" in event:
                return _from_v1(event, context if isinstance(context, dict) else {})
        except (TypeError, ValueError, AttributeError, KeyError, binascii.Error) as error:
            text = f"the HTTP event is malformed: {type(error).__name__}"
            raise InvocationFailedError("bad-event", text) from error
        path = event.get("path")
        if isinstance(path, str) and path.startswith("/") and event.keys() <= _DIRECT:
            return _direct(path, event.get("body", {}))
    return _direct(default_path, event)


_DIRECT = {"path", "body"}


def result_of(request: Request, answered: Answered) -> bytes:
    """Return what is sent back, as JSON; raises InvocationFailedError for a direct call that failed."""
    if request.kind == "direct":
        return _direct_result(answered)
    is_text, body = _body_of(answered)
    result: dict[str, Any] = {"statusCode": answered.status}
    if request.kind == "v2":
        result |= _joined(answered.headers)
    else:
        many: dict[str, list[str]] = {}
        for name, value in answered.headers:
            many.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        if request.has_many:
            result["multiValueHeaders"] = many
        else:
            result["headers"] = {name: ", ".join(values) for name, values in many.items()}
        if request.kind == "balancer":
            result["statusDescription"] = f"{answered.status} {_phrase(answered.status)}"
    result["body"], result["isBase64Encoded"] = body, not is_text
    return orjson.dumps(result)


def prelude_of(status: int, headers: Lines) -> bytes:
    """Return what stands before the body of a streamed answer to an HTTP event.

    It is JSON and eight zero bytes, with the content type ``STREAMED``.
    """
    return orjson.dumps({"statusCode": status, **_joined(headers)}) + b"\0" * 8


STREAMED = "application/vnd.awslambda.http-integration-response"
"""Content type of a streamed answer with a prelude."""


def is_text(headers: Lines) -> bool:
    """Say whether a body is text, as far as its head tells."""
    fields = dict(headers)
    kind = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if fields.get(b"content-encoding", b"identity") != b"identity":
        return False
    return kind.startswith(b"text/") or kind.endswith(
        (b"json", b"jsonlines", b"xml", b"javascript")
    )


# --- events -------------------------------------------------------------------------------------


def _from_v2(event: Mapping[str, Any], context: Mapping[str, Any]) -> Request:
    http = context["http"]
    raw = event.get("rawPath") or http.get("path") or "/"
    stage = context.get("stage")
    if stage and stage != "$default" and raw.startswith(f"/{stage}/"):
        raw = raw.removeprefix(f"/{stage}")
    headers = [
        (name.lower().encode("latin-1"), str(value).encode("latin-1"))
        for name, value in (event.get("headers") or {}).items()
    ]
    if cookies := event.get("cookies"):
        headers.append((b"cookie", "; ".join(cookies).encode("latin-1")))
    return Request(
        kind="v2",
        method=str(http["method"]).upper(),
        path=unquote(raw),
        query=str(event.get("rawQueryString") or "").encode("latin-1"),
        headers=headers,
        body=_body_in(event),
        client=str(http.get("sourceIp") or "127.0.0.1"),
    )


def _from_v1(event: Mapping[str, Any], context: Mapping[str, Any]) -> Request:
    is_balancer = "elb" in context
    many, one = event.get("multiValueHeaders"), event.get("headers")
    pairs = (
        [(name, value) for name, values in many.items() for value in values or ()]
        if many
        else list((one or {}).items())
    )
    queries = event.get("multiValueQueryStringParameters") or {
        name: [value] for name, value in (event.get("queryStringParameters") or {}).items()
    }
    query = [(name, value) for name, values in queries.items() for value in values or ()]
    # A load balancer leaves them encoded as they came.
    text = "&".join(f"{k}={v}" for k, v in query) if is_balancer else urlencode(query)
    identity = context.get("identity") or {}
    return Request(
        kind="balancer" if is_balancer else "v1",
        method=str(event["httpMethod"]).upper(),
        path=unquote(str(event["path"])),
        query=text.encode("latin-1"),
        headers=[(k.lower().encode("latin-1"), str(v).encode("latin-1")) for k, v in pairs],
        body=_body_in(event),
        client=str(identity.get("sourceIp") or "127.0.0.1"),
        has_many=not is_balancer or many is not None,
    )


def _body_in(event: Mapping[str, Any]) -> bytes:
    body = event.get("body")
    if body is None:
        return b""
    if event.get("isBase64Encoded"):
        return base64.b64decode(body, validate=True)
    return body.encode() if isinstance(body, str) else orjson.dumps(body)


def _direct(path: str, body: Any) -> Request:
    headers = [(b"content-type", b"application/json"), (b"accept", b"application/json")]
    return Request("direct", "POST", path, headers=headers, body=orjson.dumps(body))


# --- answers ------------------------------------------------------------------------------------


def _body_of(answered: Answered) -> tuple[bool, str]:
    """Return whether the body is sent as text, and what is sent."""
    if is_text(answered.headers):
        try:
            return True, answered.body.decode()
        except UnicodeDecodeError:
            pass
    return False, base64.b64encode(answered.body).decode()


def _joined(headers: Lines) -> dict[str, Any]:
    """Return header lines as format 2.0 has them: one value a name, cookies apart."""
    joined: dict[str, str] = {}
    cookies: list[str] = []
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name == "set-cookie":
            cookies.append(value)
        else:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return {"headers": joined, "cookies": cookies} if cookies else {"headers": joined}


def _direct_result(answered: Answered) -> bytes:
    if answered.status >= 400:
        raise _failure(answered)
    kind = answered.header(b"content-type")
    if kind.partition(b";")[0].strip() == b"application/json":
        return answered.body
    sent_as_text, body = _body_of(answered)
    result = {"contentType": kind.decode("latin-1"), "body": body}
    return orjson.dumps({**result, "isBase64Encoded": not sent_as_text})


def _failure(answered: Answered) -> InvocationFailedError:
    """Return what a refused direct call is, in the words of the problem."""
    try:
        said = orjson.loads(answered.body)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        said = {}
    code = said.get("code") if isinstance(said.get("code"), str) else f"status-{answered.status}"
    title = str(said.get("title") or _phrase(answered.status))
    detail = str(said.get("detail") or "")
    return InvocationFailedError(str(code), f"{title}: {detail}" if detail else title)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def raw_path(path: str) -> bytes:
    """Return a path as it stands in a request line."""
    return quote(path, safe="/:@!$&'()*+,;=~-._").encode()
