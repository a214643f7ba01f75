"""Pydantic models as parameters and answers.

The model is recognised by its two class methods and pydantic itself is never imported: a service
that uses it brings it, the runtime does not need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelpack.errors import Issue
from modelpack.sdk.values import Issues, Value, describe, escape

_RANGES = ("greater_than", "less_than", "multiple_of", "too_short", "too_long", "value_error",
           "assertion_error", "string_pattern_mismatch")  # fmt: skip


@dataclass(frozen=True, slots=True)
class RecordValue(Value):
    """A pydantic model: it validates, it describes itself, it dumps itself."""

    model: Any

    @property
    def expectation(self) -> str:
        return f"an object '{self.model.__name__}'"

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = self.model.model_json_schema()
        return schema

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        try:
            return self.model.model_validate(raw)
        except ValueError as refusal:  # pydantic's ValidationError is one
            details = getattr(refusal, "errors", None)
            if details is None:
                issues.append(Issue(at, self.expectation, describe(raw)))
                return None
            for detail in details():
                issues.append(_issue(detail, at))
            return None

    def encode(self, value: Any) -> Any:
        if not isinstance(value, self.model):
            value = self.model.model_validate(value)
        return value.model_dump(mode="json", by_alias=True)

    def example(self) -> Any:
        schema = self.schema()
        if examples := schema.get("examples"):
            return examples[0]
        return example_of(schema, schema.get("$defs", {}))


def _issue(detail: Any, at: str) -> Issue:
    pointer = at + "".join(f"/{escape(str(step))}" for step in detail["loc"])
    kind = str(detail["type"])
    got = "nothing" if kind == "missing" else describe(detail.get("input"))
    return Issue(pointer, str(detail["msg"]), got, is_refused=kind.startswith(_RANGES))


def example_of(schema: Any, definitions: Any, depth: int = 0) -> Any:
    """Return a small value that fits a JSON Schema of the kind that pydantic writes."""
    if "$ref" in schema:
        schema = definitions.get(schema["$ref"].rsplit("/", 1)[-1], {})
    for key in ("example", "default", "const"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return example_of(schema[key][0], definitions, depth)
    kind = schema.get("type")
    if kind == "object" and depth < 8:
        wanted = schema.get("required", ())
        properties = schema.get("properties", {})
        return {key: example_of(properties[key], definitions, depth + 1) for key in wanted}
    if kind == "array":
        count = max(1, int(schema.get("minItems", 1)))
        return [example_of(schema.get("items", {}), definitions, depth + 1)] * count
    low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    plain = {"string": "text", "integer": low, "number": float(low), "boolean": False}
    return plain.get(str(kind))
