"""How parameters and answers look: on the wire as JSON, in Python as what the hint says.

    parsed JSON ──decode(raw, at, issues)──► Python value
    Python value ──encode──► plain values for the JSON writer (arrays stay arrays)

``decode`` never raises for a bad request: it adds an ``Issue`` with the JSON pointer of the place
and goes on, so that a client hears of all its mistakes at once.  Nothing is coerced: ``true`` is
no number, ``"2"`` is no integer, ``1.0`` is no integer.  ``encode`` raises TypeError or ValueError
when the service gave something that its own hints do not allow.

Here are single values; lists and objects are in ``containers``, arrays in ``tensor``, files and images
in ``files``, pydantic models in ``records``, and ``hints`` makes all of them from type hints.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from modelpack.errors import Issue


class _Missing:
    """Stands where no value was given; there is one."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()
Issues = list[Issue]


class Value:
    """One parameter or answer.  The base class says what most values are."""

    __slots__ = ()

    has_rows: bool = False
    """True when the first axis can be a batch: arrays and lists."""

    is_file: bool = False
    """True when it may be sent as raw bytes instead of JSON."""

    media_type: str = "application/json"
    """Content type when it is a whole answer."""

    @property
    def expectation(self) -> str:
        """What a request should have here, in words."""
        raise AssertionError(f"{type(self).__name__} does not say what it expects")

    def schema(self) -> dict[str, Any]:
        """Return its JSON Schema (2020-12)."""
        return {}

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:  # noqa: ARG002
        """Return the Python value of parsed JSON, or add to ``issues``."""
        return raw

    def encode(self, value: Any) -> Any:
        """Return plain values; raises TypeError or ValueError."""
        return value

    def example(self) -> Any:
        """Return a small valid JSON value."""
        return None


@dataclass(frozen=True, slots=True)
class AnyValue(Value):
    """Any JSON value, handed on as it is."""

    @property
    def expectation(self) -> str:
        return "a JSON value"


@dataclass(frozen=True, slots=True)
class BoolValue(Value):
    """``true`` or ``false``."""

    @property
    def expectation(self) -> str:
        return "true or false"

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        if not isinstance(raw, bool):
            issues.append(Issue(at, self.expectation, describe(raw)))
        return raw

    def encode(self, value: Any) -> bool:
        return bool(value)

    def example(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class NumberValue(Value):
    """A number with an optional range; whole numbers only when ``is_integer``."""

    is_integer: bool = False
    low: float | None = None
    high: float | None = None

    @property
    def expectation(self) -> str:
        word = "an integer" if self.is_integer else "a number"
        if self.low is not None and self.high is not None:
            return f"{word} from {self.low} to {self.high}"
        if self.low is not None:
            return f"{word} of at least {self.low}"
        return word if self.high is None else f"{word} of at most {self.high}"

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "integer" if self.is_integer else "number"}
        if self.low is not None:
            schema["minimum"] = self.low
        if self.high is not None:
            schema["maximum"] = self.high
        return schema

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        kinds = (int,) if self.is_integer else (int, float)
        if isinstance(raw, bool) or not isinstance(raw, kinds):
            issues.append(Issue(at, self.expectation, describe(raw)))
            return raw
        if (self.low is not None and raw < self.low) or (self.high is not None and raw > self.high):
            issues.append(Issue(at, self.expectation, str(raw), is_refused=True))
        return raw if self.is_integer else float(raw)

    def encode(self, value: Any) -> Any:
        return int(value) if self.is_integer else float(value)

    def example(self) -> Any:
        value = max(0, self.low or 0)
        if self.high is not None:
            value = min(value, self.high)
        return int(value) if self.is_integer else float(value)


@dataclass(frozen=True, slots=True)
class StringValue(Value):
    """A text."""

    @property
    def expectation(self) -> str:
        return "a string"

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        if not isinstance(raw, str):
            issues.append(Issue(at, self.expectation, describe(raw)))
        return raw

    def encode(self, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"expected a string, got {type(value).__name__}")
        return str(value)

    def example(self) -> str:
        return "text"


@dataclass(frozen=True, slots=True)
class ChoiceValue(Value):
    """One of a few strings or numbers, from ``Literal`` or an enum."""

    options: tuple[str | int | float | bool, ...]
    enum_type: type[enum.Enum] | None = None

    @property
    def expectation(self) -> str:
        return "one of " + ", ".join(repr(option) for option in self.options)

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.options)}

    def decode(self, raw: Any, at: str, issues: Issues) -> Any:
        # Compared with its type: in Python True == 1.
        if not any(type(raw) is type(option) and raw == option for option in self.options):
            issues.append(Issue(at, self.expectation, describe(raw)))
            return raw
        return raw if self.enum_type is None else self.enum_type(raw)

    def encode(self, value: Any) -> Any:
        plain = value.value if isinstance(value, enum.Enum) else value
        if plain not in self.options:
            raise ValueError(f"expected {self.expectation}, got {plain!r}")
        return plain

    def example(self) -> Any:
        return self.options[0]


def describe(raw: object) -> str:
    """Say what a request has at some place, without repeating more than a little of it."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if raw is None:
        return "null"
    if isinstance(raw, str):
        return f"the string {shorten(repr(raw))}"
    if isinstance(raw, int):
        return f"the integer {shorten(str(raw))}"
    if isinstance(raw, float):
        return f"the number {raw}"
    if isinstance(raw, list):
        return f"a list of {len(raw)}"
    if isinstance(raw, dict):
        return "an object"
    return type(raw).__name__


def shorten(text: str, most: int = 40) -> str:
    """Return the text cut to ``most`` characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def escape(key: str) -> str:
    """Return a key as it stands in a JSON pointer (RFC 6901), cut to 60 characters."""
    return shorten(key, 60).replace("~", "~0").replace("/", "~1")
