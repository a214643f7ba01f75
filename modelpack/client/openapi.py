"""Finds the calls with a JSON body in the OpenAPI document of any server.

    /openapi.json ──json_calls──► JsonCall(route, operation, media), …

A document comes from a stranger: what in it has another form than OpenAPI says is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ABSENT: Any = object()
"""No example; ``None`` is one."""


@dataclass(frozen=True, slots=True)
class JsonCall:
    """A POST that takes a JSON body."""

    route: str
    operation: Mapping[str, Any]
    media: Mapping[str, Any]
    """Schema and examples of the body."""

    @property
    def example(self) -> Any:
        """The example of the body, or the first of several; ABSENT if there is none."""
        if "example" in self.media:
            return self.media["example"]
        several = self.media.get("examples")
        first = next(iter(several.values()), None) if isinstance(several, dict) else None
        return first.get("value", ABSENT) if isinstance(first, dict) else ABSENT


def json_calls(document: Any) -> list[JsonCall]:
    """Return every call that takes a JSON body, in the order of the document.

    Where the document marks the apis of the service, only those: the calls of other contracts lead
    to the same apis.
    """
    paths = document.get("paths") if isinstance(document, dict) else None
    posts = {
        route: path["post"]
        for route, path in (paths.items() if isinstance(paths, dict) else ())
        if isinstance(path, dict) and isinstance(path.get("post"), dict)
    }
    own = {route: operation for route, operation in posts.items() if _is_marked(operation)}
    found = []
    for route, operation in (own or posts).items():
        try:
            media = operation["requestBody"]["content"]["application/json"]
        except (KeyError, TypeError):
            continue
        if isinstance(media, dict):
            found.append(JsonCall(route, operation, media))
    return found


def _is_marked(operation: Mapping[str, Any]) -> bool:
    tags = operation.get("tags")
    return isinstance(tags, list) and "apis" in tags
