"""One callable of a service: what it takes, what it gives, how it is called.

    JSON object ──ApiSpec.decode──► Arguments(values, rows) ──► the user's method
    its result  ──ApiSpec.encode──► plain values for the JSON writer

What always holds: the body is an object whose keys are the parameter names; with ``batch`` the
first axis of every array or list parameter is the batch and all of them have the same length.

Not here: bytes on a socket (``server.bodies``), gathering rows (``server.batching``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelpack.config.settings import BatchConfig
from modelpack.errors import InputError, Issue, did_you_mean
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import MISSING, Value, describe, escape


@dataclass(slots=True)
class Arguments:
    """Decoded arguments of one request; ``rows`` is 1 for an api without batching."""

    values: dict[str, Any]
    rows: int
    write: Any = None
    """How the answer is to be written, when the body itself says so (``bodies.writers.Write``)."""
    timeout_s: float | None = None
    """Longest that it may take, when the body says so; looked at where ``write`` is given."""
    priority: int | None = None
    """Who goes first, when the body says so; looked at where ``write`` is given."""
    take: Any = None
    """What takes the call instead of the api's queue, when the body means several calls, or another
    api (``server.faces.spread``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of an api."""

    name: str
    value: Value
    default: Any = MISSING

    @property
    def is_required(self) -> bool:
        """True when a request must give it."""
        return self.default is MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSpec:
    """The compiled form of a method marked with ``@modelpack.api``."""

    name: str
    """Name in messages and metrics."""

    route: str
    """Path it answers on, such as ``/predict``."""

    attribute: str
    """Name of the method on the service's class."""

    parameters: tuple[Parameter, ...]
    """In the order of the method's signature, without ``self``."""

    returns: Value
    """What it gives; for a stream, what each chunk is."""

    batch: BatchConfig | None = None
    """Set when rows of several requests may share one call."""

    is_async: bool = False
    """True for ``async def`` and async generators."""

    is_stream: bool = False
    """True for generators: the answer is sent piece by piece."""

    doc: str = ""
    """The method's docstring."""

    example: Mapping[str, Any] | None = None
    """A valid body given by the user; None: made from the types."""

    nan: str = "null"
    """What becomes of NaN and infinities in arrays: ``null`` in JSON, or an ``error``."""

    @property
    def batched(self) -> tuple[str, ...]:
        """Names of the parameters whose first axis is the batch."""
        if self.batch is None:
            return ()
        return tuple(p.name for p in self.parameters if p.value.has_rows)

    @property
    def variable_axes(self) -> dict[str, tuple[int, ...]]:
        """The axes without a length behind the first one, of batched arrays of numbers that say
        their axes: those that ``buckets`` pads.
        """
        found: dict[str, tuple[int, ...]] = {}
        for name, value in ((p.name, p.value) for p in self.parameters):
            if name in self.batched and isinstance(value, TensorValue) and value.spec.shape:
                first, *others = value.spec.shape
                axes = tuple(
                    axis
                    for axis, dim in enumerate(others, 1)
                    if not isinstance(dim, int) and (dim is None or dim != first)
                )
                if axes and value.spec.dtype != "str":
                    found[name] = axes
        return found

    def decode(self, body: object) -> Arguments:
        """Check the parsed JSON body; raises InputError with every issue found."""
        if not isinstance(body, dict):
            raise InputError.at("", f"an object with the keys {self._keys}", describe(body))
        issues: list[Issue] = []
        values: dict[str, Any] = {}
        given = 0
        for parameter in self.parameters:
            raw = body.get(parameter.name, MISSING)
            if raw is MISSING:
                if parameter.default is MISSING:
                    expected = parameter.value.expectation
                    issues.append(Issue(f"/{parameter.name}", expected, "nothing"))
                else:
                    values[parameter.name] = parameter.default
                continue
            given += 1
            values[parameter.name] = parameter.value.decode(raw, f"/{parameter.name}", issues)
        if len(body) > given:
            issues.extend(self._unknown(body))
        if issues:
            raise InputError.of(issues)
        return Arguments(values, self.count_rows(values))

    def count_rows(self, values: Mapping[str, Any]) -> int:
        """Return the rows of decoded values; raises InputError when they differ or there are none."""
        if self.batch is None:
            return 1
        rows: int | None = None
        for name in self.batched:
            count = len(values[name])
            if count == 0:
                issue = Issue(f"/{name}", "at least one row", "none")
            elif rows is not None and count != rows:
                issue = Issue(f"/{name}", f"{rows} rows as in the others", f"{count} rows")
            else:
                rows = count
                continue
            raise InputError.of([issue])
        return rows or 1

    def encode(self, result: object) -> Any:
        """Return plain values (arrays stay arrays); raises TypeError or ValueError if it cannot."""
        return self.returns.encode(result)

    def sample(self) -> dict[str, Any]:
        """Return a valid body: the user's example, else one made from the types."""
        if self.example is not None:
            return dict(self.example)
        return {p.name: p.value.example() for p in self.parameters if p.is_required}

    def input_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the body."""
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {p.name: p.value.schema() for p in self.parameters},
            "additionalProperties": False,
        }
        if required := [p.name for p in self.parameters if p.is_required]:
            schema["required"] = required
        return schema

    def to_json(self) -> dict[str, Any]:
        """Return what a bundle records of this api."""
        record: dict[str, Any] = {
            "name": self.name,
            "route": self.route,
            "input": self.input_schema(),
            "output": self.returns.schema(),
            "stream": self.is_stream,
        }
        if self.batch is not None:
            record["batch"] = _plain(self.batch)
        return record

    @property
    def _keys(self) -> str:
        return ", ".join(f"'{p.name}'" for p in self.parameters) or "none"

    def _unknown(self, body: Mapping[str, Any]) -> list[Issue]:
        known = [p.name for p in self.parameters]
        issues = []
        for key in body:
            if key not in known:
                near = did_you_mean(str(key), known)
                expected = f"'{near}'" if near else f"only the keys {self._keys}"
                issues.append(Issue("/" + escape(str(key)), expected, "an unknown key"))
        return issues


def _plain(batch: BatchConfig) -> dict[str, Any]:
    """Return what a bundle records of the batching: beside the first two what is not default."""
    record: dict[str, Any] = {
        "max_batch_size": batch.max_batch_size,
        "latency_ms": batch.latency_ms,
    }
    if batch.max_wait_ms is not None:
        record["max_wait_ms"] = batch.max_wait_ms
    if batch.preferred_batch_sizes:
        record["preferred_batch_sizes"] = list(batch.preferred_batch_sizes)
    if batch.buckets:
        record["buckets"] = list(batch.buckets)
        record["pad_value"] = batch.pad_value
    return record
