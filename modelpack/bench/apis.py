"""What can be called on a server: read from the OpenAPI document that it shows of itself.

GET /openapi.json ──apis_of──► Api, Api …  ──choose──► the one that is asked for
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelpack.bench.place import Place, ask
from modelpack.client.openapi import json_calls
from modelpack.errors import NotFoundError, did_you_mean


@dataclass(frozen=True, slots=True)
class Api:
    """One call that a server offers."""

    name: str
    route: str
    example: Mapping[str, Any] | None = None
    """A valid JSON body, if the server names one."""
    properties: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """JSON Schema of each key of the body."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a server says of itself."""

    service: str = ""
    version: str = ""
    apis: tuple[Api, ...] = ()


def describe(place: Place, headers: Mapping[str, str]) -> Description | None:
    """Return what the server says of itself, or None when it says nothing that can be read.

    Raises BenchError when nobody answers there.
    """
    reply = ask(place, "/openapi.json", headers=headers)
    try:
        document = json.loads(reply.body) if reply.status == 200 else None
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    info = document.get("info")
    info = info if isinstance(info, dict) else {}
    return Description(
        str(info.get("title", "")), str(info.get("version", "")), tuple(apis_of(document))
    )


def apis_of(document: Mapping[str, Any]) -> list[Api]:
    """Return the calls that take a JSON body and have a route of their own, as ``json_calls``."""
    return [
        Api(
            name=str(call.operation.get("operationId") or call.route.strip("/")),
            route=call.route,
            example=call.example if isinstance(call.example, dict) else None,
            properties=_properties(call.media),
        )
        for call in json_calls(document)
        if "{" not in call.route
    ]


def choose(apis: Sequence[Api], name: str | None) -> Api:
    """Return the api of that name or route, or the first; raises NotFoundError."""
    if name is None and apis:
        return apis[0]
    for api in apis:
        if name in (api.name, api.route):
            return api
    known = [api.name for api in apis]
    near = did_you_mean(name or "", known)
    listed = ", ".join(known[:10]) or "none"
    hint = f"did you mean '{near}'?" if near else f"it has: {listed}"
    raise NotFoundError(f"the server has no api '{name}'", hint=hint)


def _properties(media: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    schema = media.get("schema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return {}
    return {name: one for name, one in properties.items() if isinstance(one, dict)}
