"""Values that hold other values: optional ones, unions, lists, tuples, mappings, objects.

Each hands decoding and encoding on to what it holds and adds its own step to the JSON pointer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modelpack.errors import Issue
from modelpack.sdk.values import Issues, Value, describe, escape


@dataclass(frozen=True, slots=True)
class OptionalValue(Value):
    """A value or ``null``."""

    inner: Value

    @property
    def expectation(self) -> str:
        return f"{self.inner.expectation} or null"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.inner.schema(), {"type": "null"}]}

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        return None if raw is None else self.inner.decode(raw, at, issues)

    def encode(self, value: Any) -> Any:
        return None if value is None else self.inner.encode(value)

    def example(self) -> Any:
        return self.inner.example()


@dataclass(frozen=True, slots=True)
class UnionValue(Value):
    """The first of several values that fits."""

    choices: tuple[Value, ...]

    @property
    def expectation(self) -> str:
        return " or ".join(choice.expectation for choice in self.choices)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [choice.schema() for choice in self.choices]}

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        for choice in self.choices:
            trial: Issues = []
            value = choice.decode(raw, at, trial)
            if not trial:
                return value
        issues.append(Issue(at, self.expectation, describe(raw)))
        return raw

    def encode(self, value: Any) -> Any:
        for choice in self.choices:
            try:
                return choice.encode(value)
            except (TypeError, ValueError):
                continue
        raise TypeError(f"expected {self.expectation}, got {type(value).__name__}")

    def example(self) -> Any:
        return self.choices[0].example()


@dataclass(frozen=True, slots=True)
class ListValue(Value):
    """A list of equal values."""

    item: Value
    has_rows = True

    @property
    def expectation(self) -> str:
        return f"a list ({self.item.expectation} each)"

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema()}

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        if not isinstance(raw, list):
            issues.append(Issue(at, self.expectation, describe(raw)))
            return []
        return [self.item.decode(one, f"{at}/{i}", issues) for i, one in enumerate(raw)]

    def encode(self, value: Any) -> Any:
        kind = getattr(getattr(value, "dtype", None), "kind", "")
        if kind in tuple("fiub"):
            return value  # an array of numbers: the JSON writer takes it without a list
        if isinstance(value, str | bytes | Mapping):
            raise TypeError(f"expected a list, got {type(value).__name__}")
        return [self.item.encode(one) for one in value]

    def example(self) -> Any:
        return [self.item.example()]


@dataclass(frozen=True, slots=True)
class TupleValue(Value):
    """A fixed number of values, a JSON array."""

    items: tuple[Value, ...]

    @property
    def expectation(self) -> str:
        return f"a list of {len(self.items)}"

    def schema(self) -> dict[str, Any]:
        count = len(self.items)
        items = [item.schema() for item in self.items]
        return {"type": "array", "prefixItems": items, "minItems": count, "maxItems": count}

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        if not isinstance(raw, list) or len(raw) != len(self.items):
            issues.append(Issue(at, self.expectation, describe(raw)))
            return ()
        pairs = enumerate(zip(self.items, raw, strict=True))
        return tuple(item.decode(one, f"{at}/{i}", issues) for i, (item, one) in pairs)

    def encode(self, value: Any) -> Any:
        values = tuple(value)
        if len(values) != len(self.items):
            raise ValueError(f"expected {len(self.items)} values, got {len(values)}")
        return [item.encode(one) for item, one in zip(self.items, values, strict=True)]

    def example(self) -> Any:
        return [item.example() for item in self.items]


@dataclass(frozen=True, slots=True)
class MapValue(Value):
    """An object with any keys and equal values."""

    item: Value

    @property
    def expectation(self) -> str:
        return "an object"

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.item.schema()}

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        if not isinstance(raw, dict):
            issues.append(Issue(at, self.expectation, describe(raw)))
            return {}
        return {
            key: self.item.decode(one, f"{at}/{escape(key)}", issues) for key, one in raw.items()
        }

    def encode(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise TypeError(f"expected a mapping, got {type(value).__name__}")
        return {str(key): self.item.encode(one) for key, one in value.items()}

    def example(self) -> Any:
        return {"key": self.item.example()}


@dataclass(frozen=True, slots=True)
class ObjectValue(Value):
    """A dataclass or TypedDict: known keys, each with its own value."""

    name: str
    fields: Mapping[str, Value]
    required: frozenset[str]
    factory: Callable[..., Any]

    @property
    def expectation(self) -> str:
        return f"an object with the keys {', '.join(repr(key) for key in self.fields)}"

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {
            "type": "object",
            "title": self.name,
            "properties": {key: value.schema() for key, value in self.fields.items()},
            "additionalProperties": False,
        }
        if self.required:
            schema["required"] = [key for key in self.fields if key in self.required]
        return schema

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        if not isinstance(raw, dict):
            issues.append(Issue(at, self.expectation, describe(raw)))
            return None
        before = len(issues)
        values = {}
        for key, value in self.fields.items():
            if key in raw:
                values[key] = value.decode(raw[key], f"{at}/{escape(key)}", issues)
            elif key in self.required:
                issues.append(Issue(f"{at}/{escape(key)}", value.expectation, "nothing"))
        for key in raw:
            if key not in self.fields:
                issues.append(Issue(f"{at}/{escape(key)}", self.expectation, "an unknown key"))
        if len(issues) > before:
            return None
        try:
            return self.factory(**values)
        except (TypeError, ValueError) as refusal:  # a dataclass that checks itself
            issues.append(Issue(at, f"a valid {self.name}", str(refusal), is_refused=True))
            return None

    def encode(self, value: Any) -> Any:
        is_mapping = isinstance(value, Mapping)
        if not is_mapping and not dataclasses.is_dataclass(value):
            raise TypeError(f"expected {self.name}, got {type(value).__name__}")
        plain = {}
        for key, item in self.fields.items():
            if is_mapping and key not in value:
                if key in self.required:
                    raise ValueError(f"{self.name} lacks the key '{key}'")
                continue
            plain[key] = item.encode(value[key] if is_mapping else getattr(value, key))
        return plain

    def example(self) -> Any:
        return {key: value.example() for key, value in self.fields.items() if key in self.required}
