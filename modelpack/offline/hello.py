"""What a service says of the api that is to answer rows, before the first of them.

    hello ──read──► Hello(parameters, output)
                      └─ mapping: which column, key or file is which parameter

Made by ``modelpack.server.offline.describe`` in the service's own process: the user's code never
runs in the process that reads and writes files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelpack.errors import BatchError


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter, as a row has it: without the axis of the batch."""

    name: str
    is_required: bool
    is_batched: bool
    dtype: str | None
    """Of an array; None: it is none."""
    shape: tuple[int, ...] | None
    """Lengths of the axes of a row, -1: any; None: it is no array, or of any shape."""
    is_file: bool
    is_text: bool
    schema: Mapping[str, Any]

    @property
    def is_array(self) -> bool:
        """True for an array of numbers or booleans."""
        return self.dtype is not None and self.dtype != "str"

    @property
    def is_floats(self) -> bool:
        """True for an array of floats, into which whole numbers fit as well."""
        return self.dtype is not None and self.dtype.startswith("float")

    @property
    def is_object(self) -> bool:
        """True when a row is an object with keys of its own."""
        return self.schema.get("type") == "object" or "properties" in self.schema

    @property
    def takes_vector(self) -> bool:
        """True when a row may be a list of values: the columns of a table."""
        if self.dtype is not None:
            return self.shape is None or len(self.shape) > 0
        return self.schema.get("type") == "array"


@dataclass(frozen=True, slots=True)
class Hello:
    """The api of a run."""

    service: str
    api: str
    runner: str
    max_batch_size: int | None
    """None: every row is a call of its own."""
    parameters: tuple[Param, ...]
    output_schema: Mapping[str, Any]
    is_one_array: bool
    is_file: bool
    is_stream: bool

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Hello:
        """Return what the service said."""
        output = plain["output"]
        return cls(
            service=plain["service"],
            api=plain["api"],
            runner=plain["runner"],
            max_batch_size=plain["max_batch_size"],
            parameters=tuple(
                Param(**{**one, "shape": None if one["shape"] is None else tuple(one["shape"])})
                for one in plain["parameters"]
            ),
            output_schema=output["schema"],
            is_one_array=output["is_one_array"],
            is_file=output["is_file"],
            is_stream=output["is_stream"],
        )

    @property
    def names(self) -> list[str]:
        """Names of the parameters."""
        return [one.name for one in self.parameters]

    def param(self, name: str) -> Param:
        """Return a parameter by its name."""
        return next(one for one in self.parameters if one.name == name)

    def only(self, given: Mapping[str, Any], what: str) -> Param:
        """Return the one parameter that rows without names fill; raises BatchError.

        ``given`` are those that ``--set`` fills, ``what`` is a row in words.
        """
        found = self.open_params(given)
        required = [one for one in found if one.is_required]
        if len(required or found) != 1:
            listed = ", ".join(f"'{one.name}'" for one in found) or "no parameter"
            raise BatchError(
                f"{what} cannot fill {listed} of '{self.api}'",
                hint="name each in the rows: columns of a table, or keys of .jsonl",
            )
        return (required or found)[0]

    def open_params(self, given: Mapping[str, Any]) -> list[Param]:
        """Return the parameters that are not given by ``--set``."""
        return [one for one in self.parameters if one.name not in given]
