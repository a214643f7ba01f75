"""(being written) see the protocol below; concrete values follow."""

from __future__ import annotations

from typing import Any, Protocol

from modelpack.errors import Issue


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()


class Value(Protocol):
    """How one parameter or answer looks on the wire and in Python."""

    @property
    def expectation(self) -> str: ...
    @property
    def has_rows(self) -> bool: ...
    def schema(self) -> dict[str, Any]: ...
    def decode(self, raw: Any, at: str, issues: list[Issue]) -> Any: ...
    def encode(self, value: Any) -> Any: ...
    def example(self) -> Any: ...


def describe(raw: object) -> str:
    return type(raw).__name__
