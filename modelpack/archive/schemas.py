"""Compares the schemas of apis: what can a client that was written for the old one still do?

    old apis, new apis ──by route──► ApiChange(route, where, what, is_breaking) …

A request that was accepted must still be, so what goes in may only become wider; an answer must stay
one that the client knows, so what comes out may only become narrower.  More keys in an answer break
nobody.  What cannot be judged counts as breaking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from modelpack.manifest import canonical_json

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ApiChange:
    """One difference between two versions of an api."""

    route: str
    where: str
    """``input/x/items``, ``output``, or empty for the api as a whole."""
    what: str
    is_breaking: bool
    """True when a client of the old one may fail with the new one."""

    def __str__(self) -> str:
        place = f"{self.route} {self.where}".rstrip()
        return f"{place}: {self.what}" + (" (breaking)" if self.is_breaking else "")


class _Turn(Enum):
    """What a change does to the set of values that fit."""

    NARROWER = "narrower"
    WIDER = "wider"
    OTHER = "other"


_Found = tuple[str, str, bool]
_NOTES = {"title", "description", "examples", "example", "default", "$comment", "deprecated"}
_LOW = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_HIGH = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_HANDLED = {
    *_NOTES, *_LOW, *_HIGH, "type", "enum", "const", "properties", "required", "additionalProperties",
    "items", "prefixItems", "anyOf", "oneOf", "$defs", "$ref",
}  # fmt: skip
_TYPES = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": float,
    "array": list,
    "object": dict,
    "null": type(None),
}
_ANYTHING = frozenset(_TYPES)
_MAX_DEPTH = 32


def api_changes(old: Sequence[Schema], new: Sequence[Schema]) -> tuple[ApiChange, ...]:
    """Compare the apis of two bundles, as their records have them; breaking changes first."""
    before = {str(api["route"]): api for api in old}
    after = {str(api["route"]): api for api in new}
    found = [ApiChange(route, "", "removed", True) for route in before if route not in after]
    found += [ApiChange(route, "", "added", False) for route in after if route not in before]
    for route, api in before.items():
        if route in after:
            found += [ApiChange(route, *one) for one in _between(api, after[route])]
    return tuple(sorted(found, key=lambda one: (not one.is_breaking, one.route, one.where)))


def _between(old: Schema, new: Schema) -> Iterator[_Found]:
    if old.get("name") != new.get("name"):
        yield "", f"named '{new.get('name')}', was '{old.get('name')}'", False
    if bool(old.get("stream")) != bool(new.get("stream")):
        yield "", "a stream now" if new.get("stream") else "no stream any more", True
    if old.get("batch") != new.get("batch"):
        yield "", f"batching {_batch(old.get('batch'))} → {_batch(new.get('batch'))}", False
    for side in ("input", "output"):
        comparison = _Comparison(old.get(side) or {}, new.get(side) or {}, side == "input")
        yield from comparison.changes(comparison.old, comparison.new, side, 0)


def _batch(batch: Schema | None) -> str:
    return f"up to {batch.get('max_batch_size')}" if batch else "off"


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two schemas of one side, each the root of its own references."""

    old: Schema
    new: Schema
    is_input: bool

    def changes(self, old: Any, new: Any, at: str, depth: int) -> Iterator[_Found]:
        """Give the differences of two schemas below ``at``."""
        old, new = _resolved(old, self.old), _resolved(new, self.new)
        if depth > _MAX_DEPTH or canonical_json(old) == canonical_json(new):
            return
        if any(key in one for one in (old, new) for key in ("anyOf", "oneOf")):
            yield from self._choices(old, new, at, depth)
            return
        yield from self._values(old, new, at)
        yield from self._bounds(old, new, at)
        yield from self._members(old, new, at, depth)
        yield from self._elements(old, new, at, depth)
        if old.get("default") != new.get("default"):
            yield at, f"default {old.get('default')!r} → {new.get('default')!r}", False
        for key in sorted((set(old) | set(new)) - _HANDLED):
            if old.get(key) != new.get(key):
                yield self._told(at, f"{key} {old.get(key)!r} → {new.get(key)!r}", _Turn.OTHER)

    def _told(self, at: str, what: str, turn: _Turn) -> _Found:
        harmless = _Turn.WIDER if self.is_input else _Turn.NARROWER
        return at, what, turn is not harmless

    def _choices(self, old: Schema, new: Schema, at: str, depth: int) -> Iterator[_Found]:
        before = {canonical_json(_bare(one)): one for one in _options(old)}
        after = {canonical_json(_bare(one)): one for one in _options(new)}
        gone = [one for key, one in before.items() if key not in after]
        come = [one for key, one in after.items() if key not in before]
        if len(gone) == len(come) == 1:
            yield from self.changes(gone[0], come[0], at, depth + 1)
            return
        for one in gone:
            yield self._told(at, f"no longer {_named(one)}", _Turn.NARROWER)
        for one in come:
            yield self._told(at, f"also {_named(one)}", _Turn.WIDER)

    def _values(self, old: Schema, new: Schema, at: str) -> Iterator[_Found]:
        before, after = _types(old), _types(new)
        if before != after:
            turn = _turn(_covered(after, before), _covered(before, after))
            yield self._told(at, f"{_listed(before)} → {_listed(after)}", turn)
        fixed_before, fixed_after = _fixed(old), _fixed(new)
        if fixed_before != fixed_after:
            is_narrower = fixed_before is None or (
                fixed_after is not None and fixed_after <= fixed_before
            )
            is_wider = fixed_after is None or (
                fixed_before is not None and fixed_before <= fixed_after
            )
            what = f"values {_shown(fixed_before)} → {_shown(fixed_after)}"
            yield self._told(at, what, _turn(is_narrower, is_wider))

    def _bounds(self, old: Schema, new: Schema, at: str) -> Iterator[_Found]:
        for key in (*_LOW, *_HIGH):
            before, after = old.get(key), new.get(key)
            if before == after:
                continue
            is_stricter: Callable[[Any, Any], bool] = (
                (lambda a, b: b > a) if key in _LOW else (lambda a, b: b < a)
            )
            is_narrower = before is None or (after is not None and is_stricter(before, after))
            turn = _Turn.NARROWER if is_narrower else _Turn.WIDER
            yield self._told(at, f"{key} {_or_none(before)} → {_or_none(after)}", turn)

    def _members(self, old: Schema, new: Schema, at: str, depth: int) -> Iterator[_Found]:
        before, after = old.get("properties") or {}, new.get("properties") or {}
        needed, needs = set(old.get("required") or ()), set(new.get("required") or ())
        for key in before.keys() - after.keys():
            is_refused = new.get("additionalProperties") is False
            yield f"{at}/{key}", "removed", is_refused or not self.is_input
        for key in after.keys() - before.keys():
            is_needed = self.is_input and key in needs
            yield f"{at}/{key}", "added, required" if key in needs else "added", is_needed
        for key in sorted(before.keys() & after.keys()):
            if key in needs - needed:
                yield f"{at}/{key}", "now required", self.is_input
            if key in needed - needs:
                what = "not required any more" if self.is_input else "not always there any more"
                yield f"{at}/{key}", what, not self.is_input
            yield from self.changes(before[key], after[key], f"{at}/{key}", depth + 1)
        yield from self._rest(old, new, "additionalProperties", f"{at}/*", depth)

    def _elements(self, old: Schema, new: Schema, at: str, depth: int) -> Iterator[_Found]:
        before, after = old.get("prefixItems") or [], new.get("prefixItems") or []
        for number, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from self.changes(one, other, f"{at}/{number}", depth + 1)
        if len(before) != len(after):
            yield self._told(at, f"{len(before)} → {len(after)} places", _Turn.OTHER)
        yield from self._rest(old, new, "items", f"{at}/items", depth)

    def _rest(self, old: Schema, new: Schema, key: str, at: str, depth: int) -> Iterator[_Found]:
        before, after = old.get(key, True), new.get(key, True)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from self.changes(before, after, at, depth + 1)
        elif before != after and not (_is_open(before) and _is_open(after)):
            is_narrower = _is_open(before) or after is False
            what = "only what is named" if after is False else "anything" if _is_open(after) else ""
            turn = _Turn.NARROWER if is_narrower else _Turn.WIDER
            yield self._told(at, what or _named(after), turn)


def _resolved(schema: Any, root: Schema) -> Schema:
    """Follow a reference into the definitions of its own document."""
    seen = 0
    while isinstance(schema, Mapping) and "$ref" in schema and seen < _MAX_DEPTH:
        name = str(schema["$ref"]).rpartition("/")[2]
        schema = (root.get("$defs") or {}).get(name, {})
        seen += 1
    return schema if isinstance(schema, Mapping) else {}


def _options(schema: Schema) -> list[Any]:
    return list(schema.get("anyOf") or schema.get("oneOf") or [schema])


def _bare(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {key: _bare(value) for key, value in schema.items() if key not in _NOTES}
    return [_bare(one) for one in schema] if isinstance(schema, list) else schema


def _types(schema: Schema) -> frozenset[str]:
    named = schema.get("type")
    if named is not None:
        return frozenset([named] if isinstance(named, str) else named)
    values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    found = {name for value in values for name, kind in _TYPES.items() if type(value) is kind}
    return frozenset(found) or _ANYTHING


def _covered(inner: frozenset[str], outer: frozenset[str]) -> bool:
    """Say whether every value of the one kind is one of the other: an integer is a number."""
    return inner <= (outer | {"integer"} if "number" in outer else outer)


def _turn(is_narrower: bool, is_wider: bool) -> _Turn:
    if is_narrower == is_wider:
        return _Turn.OTHER
    return _Turn.NARROWER if is_narrower else _Turn.WIDER


def _fixed(schema: Schema) -> frozenset[bytes] | None:
    if "const" in schema:
        return frozenset([canonical_json(schema["const"])])
    values = schema.get("enum")
    return None if values is None else frozenset(canonical_json(one) for one in values)


def _shown(values: frozenset[bytes] | None) -> str:
    return "any" if values is None else ", ".join(sorted(one.decode() for one in values))


def _listed(types: frozenset[str]) -> str:
    return "anything" if types == _ANYTHING else " or ".join(sorted(types))


def _named(schema: Any) -> str:
    schema = schema if isinstance(schema, Mapping) else {}
    return str(schema.get("title") or schema.get("$ref") or _listed(_types(schema)))


def _is_open(schema: Any) -> bool:
    return schema is True or schema == {}


def _or_none(bound: object) -> str:
    return "none" if bound is None else str(bound)
