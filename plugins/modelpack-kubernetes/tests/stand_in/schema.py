"""What an object may look like: types, unknown fields, and how its lists and maps are merged.

    schema_of(kind) ──► Schema ──check(object)──► mistakes, in the API server's words
                               ──child(name)──► schema of a field; list_type, keys, is_atomic

The schemas are those of Kubernetes itself, as ``kubernetes-validate`` brings them, and for other
projects' kinds the ones that their custom resource definitions hold.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate

from .kinds import Kind

VERSION = "1.37.0"
CRDS = Path(__file__).parents[1] / "data" / "crds"

_ROOT = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_CHECKS = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "null": lambda value: value is None,
}


@functools.cache
def _definitions() -> dict[str, Any]:
    folder = _ROOT / f"v{VERSION}-local-strict"
    found: dict[str, Any] = json.loads((folder / "_definitions.json").read_text())["$defs"]
    return found


@dataclass(frozen=True, slots=True)
class Schema:
    """One node of a schema; ``is_open`` when fields that it does not name may be there."""

    node: dict[str, Any]
    is_open: bool = False

    @property
    def types(self) -> tuple[str, ...]:
        said = self.node.get("type", ())
        return (said,) if isinstance(said, str) else tuple(said)

    @property
    def list_type(self) -> str:
        return str(self.node.get("x-kubernetes-list-type", "atomic"))

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self.node.get("x-kubernetes-list-map-keys", ()))

    @property
    def is_atomic(self) -> bool:
        return self.node.get("x-kubernetes-map-type") == "atomic"

    def default_of(self, key: str) -> Any:
        """Return what stands for a key of a list's item that is left out."""
        return "TCP" if key == "protocol" else self.item.child(key).node.get("default")

    @property
    def item(self) -> Schema:
        return self._make(self.node.get("items", {}))

    def child(self, name: str) -> Schema:
        known = self.node.get("properties", {})
        if name in known:
            return self._make(known[name])
        more = self.node.get("additionalProperties")
        return self._make(more if isinstance(more, dict) else {})

    def _make(self, node: dict[str, Any]) -> Schema:
        is_open = self.is_open or node.get("x-kubernetes-preserve-unknown-fields") is True
        return Schema(_resolved(node), is_open)

    def check(self, value: Any, path: str = "") -> Iterator[str]:
        """Yield what is wrong with a value."""
        if value is None:
            return  # the API server drops fields that are null
        choices = self.node.get("oneOf") or self.node.get("anyOf")
        if choices and not self.types:
            if not any(not list(self._make(one).check(value, path)) for one in choices):
                yield f"{path}: wrong type {type(value).__name__}"
            return
        if self.types and not any(_CHECKS[one](value) for one in self.types):
            yield f"{path}: wrong type {type(value).__name__}, expected {self.types[0]}"
            return
        if "enum" in self.node and value not in self.node["enum"]:
            yield f"{path}: Unsupported value: {json.dumps(value)}"
        if isinstance(value, dict):
            yield from self._check_fields(value, path)
        elif isinstance(value, list):
            for number, one in enumerate(value):
                yield from self.item.check(one, f"{path}[{number}]")

    def _check_fields(self, value: dict[str, Any], path: str) -> Iterator[str]:
        known = self.node.get("properties", {})
        more = self.node.get("additionalProperties")
        is_free = self.is_open or isinstance(more, dict) or (not known and more is not False)
        for name in self.node.get("required", ()):
            if value.get(name) is None:
                yield f"{path}.{name}: Required value".lstrip(".")
        for name, one in value.items():
            where = f"{path}.{name}".lstrip(".")
            if name not in known and not is_free:
                yield f'unknown field "{where}"'
            else:
                yield from self.child(name).check(one, where)


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference; what stands beside it counts too."""
    ref = node.get("$ref")
    if ref is None:
        return node
    return {**_definitions()[ref.rpartition("/")[2]], **node}


@functools.cache
def schema_of(kind: Kind) -> Schema:
    """Return the schema of a kind, with the metadata that every object has."""
    if kind.definition is not None:
        return Schema(_definitions()[kind.definition])
    file = CRDS / str(kind.crd)
    node = json.loads(file.read_text())
    meta = {"$ref": f"#/$defs/{_META}"}
    return Schema({**node, "properties": {**node["properties"], "metadata": meta}})
