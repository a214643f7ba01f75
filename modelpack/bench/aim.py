"""What a load is aimed at: one kind of request to one server, tried once before the load begins.

URL, api, input ──take_aim──► Aim(place, requests) ──try_once──► answers 2xx, or a clear error
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from modelpack.bench.apis import Api, Description, choose, describe
from modelpack.bench.inputs import Body, Input, read_bodies
from modelpack.bench.place import Place, ask
from modelpack.errors import BenchError, UsageError
from modelpack.version import __version__

AGENT = f"modelpack-bench/{__version__}"
_TEXT = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One kind of request to one server."""

    place: Place
    method: str
    path: str
    api: str = ""
    """Name of the api; '' when the server does not say."""
    bodies: tuple[Body, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    """More header lines of each request; never shown or saved: they may hold secrets."""
    service: str = ""
    version: str = ""
    source: str = ""
    """What was served for this run; '' when the server was there."""

    @property
    def label(self) -> str:
        """A short name for tables."""
        return self.api or self.path

    @property
    def body_bytes(self) -> int:
        """Mean length of a body."""
        return round(sum(len(one.data) for one in self.bodies) / max(len(self.bodies), 1))

    def requests(self) -> tuple[bytes, ...]:
        """Return whole requests, head and body."""
        if not self.bodies:
            return (self._head([]),)
        return tuple(
            self._head([*_fields(body), ("content-length", str(len(body.data)))]) + body.data
            for body in self.bodies
        )

    def _head(self, fields: Sequence[tuple[str, str]]) -> bytes:
        all_fields = [
            ("host", self.place.authority),
            ("user-agent", AGENT),
            ("accept", "*/*"),
            *self.headers.items(),
            *fields,
        ]
        lines = "".join(f"{name}: {value}\r\n" for name, value in all_fields)
        return f"{self.method} {self.path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def take_aim(
    place: Place,
    *,
    api: str | None = None,
    given: Input | None = None,
    headers: Mapping[str, str] | None = None,
    source: str = "",
) -> Aim:
    """Return what to send to a server.

    A URL with a path is taken as it is: POST with the input or the api's example, else GET.  Raises
    BenchError when nobody answers, NotFoundError for an unknown api, UsageError for the input.
    """
    given, headers = given or Input(), headers or {}
    described = describe(place, headers)
    if place.path:
        return _aim_at_path(place, described, api, given, headers)
    if described is None or not described.apis:
        raise UsageError(
            f"'{place.url}' does not say which apis it has",
            hint="give the path in the URL, and --input FILE",
        )
    aim = _aim_at_api(place, choose(described.apis, api), given, headers)
    return replace(aim, service=described.service, version=described.version, source=source)


def _aim_at_api(place: Place, api: Api, given: Input, headers: Mapping[str, str]) -> Aim:
    return Aim(
        place=place,
        method="POST",
        path=api.route,
        api=api.name,
        bodies=tuple(read_bodies(given, api)),
        headers=headers,
    )


def _aim_at_path(
    place: Place,
    described: Description | None,
    api: str | None,
    given: Input,
    headers: Mapping[str, str],
) -> Aim:
    if api is not None:
        raise UsageError(f"the URL names '{place.path}' already", hint="leave --api away")
    for one in described.apis if described is not None else ():
        if one.route == place.path:
            return _aim_at_api(place, one, given, headers)
    bodies = tuple(read_bodies(given, None)) if given.file is not None else ()
    method = "POST" if bodies else "GET"
    return Aim(place=place, method=method, path=place.path, bodies=bodies, headers=headers)


def try_once(aim: Aim, *, timeout_s: float = 60.0) -> None:
    """Send each of the first bodies once; raises UsageError or BenchError unless all succeed."""
    for body in aim.bodies[:8] or (None,):
        fields = dict(_fields(body)) if body is not None else {}
        reply = ask(
            aim.place,
            aim.path,
            method=aim.method,
            body=None if body is None else body.data,
            headers={"user-agent": AGENT, **aim.headers, **fields},
            timeout_s=timeout_s,
        )
        if 200 <= reply.status < 300:
            continue
        why = problem_text(reply.body)
        if reply.status in (400, 413, 415, 422):
            raise UsageError(
                f"'{aim.label}' refuses the input with {reply.status}{why and ': ' + why}",
                hint="'--input FILE' gives another; the example is in /openapi.json",
            )
        raise BenchError(f"'{aim.label}' answers {reply.status}{why and ': ' + why}")


def problem_text(body: bytes) -> str:
    """Return what an answer says of why it is none, in short."""
    try:
        said = json.loads(body)
    except ValueError:
        text = body.decode("utf-8", "replace")
        return "" if text.lstrip().startswith("<") else _short(text)
    if isinstance(said, dict):
        for key in ("detail", "title", "error", "message"):
            if isinstance(said.get(key), str) and said[key]:
                return _short(said[key])
    return _short(str(said))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _TEXT else line[: _TEXT - 1] + "…"


def _fields(body: Body) -> list[tuple[str, str]]:
    return [("content-type", body.content_type), *body.headers]
