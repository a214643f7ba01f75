"""What is asked of a run, and what tells it from another one.

--input, --output, API, --set … ──► Job ──fingerprint──► job.json beside the output
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelpack.errors import UsageError
from modelpack.offline.inputs import Input, find_input
from modelpack.offline.objects import is_object
from modelpack.offline.outputs import FORMATS
from modelpack.offline.outputs.choosing import format_of

PART_ROWS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run: from where, through which api, to where."""

    api: str
    """Name of the api."""

    input: str
    """Path of a file or a folder, or ``s3://BUCKET/KEY``."""

    output: str
    """Path of a file, of a folder (with a slash at its end, or there already), or ``s3://…``."""

    input_format: str | None = None
    """``csv``, ``jsonl``, ``parquet`` or ``npy``; None: as the name says."""

    output_format: str | None = None
    """The same; None: as the name says, and in a folder that of the input."""

    dead_letter: str | None = None
    """File for rows without an answer; None: beside the output, with ``.bad.jsonl``."""

    constants: Mapping[str, Any] = field(default_factory=dict)
    """Values for parameters that no row has."""

    keep: tuple[str, ...] = ()
    """Columns or keys of the input that go to the output as they are."""

    max_bad: int | None = None
    """Most rows that may stay without an answer before the run stops; None: any number."""

    part_rows: int = PART_ROWS
    """Most rows of one part."""

    restart: bool = False
    """Forget what is done, and an output that is there."""

    def __post_init__(self) -> None:
        if self.part_rows < 1:
            raise UsageError(f"a part has at least one row, got {self.part_rows}")
        if self.max_bad is not None and self.max_bad < 0:
            raise UsageError(f"--max-bad is at least 0, got {self.max_bad}")

    @property
    def is_folder(self) -> bool:
        """True when the parts themselves are the output."""
        if self.output.endswith("/"):
            return True
        return not is_object(self.output) and Path(self.output).is_dir()

    @property
    def bare_output(self) -> str:
        """The output without a slash at its end."""
        return self.output.rstrip("/")

    @property
    def dead_letter_at(self) -> str:
        """Where rows without an answer are written."""
        return self.dead_letter or f"{self.bare_output}.bad.jsonl"

    def find_input(self) -> Input:
        """Return the input; raises what ``inputs.find_input`` raises."""
        return find_input(self.input, self.input_format)

    def written_format(self, given: Input) -> str:
        """Return the format to write; raises UsageError."""
        if self.output_format is not None:
            if self.output_format not in FORMATS:
                raise UsageError(
                    f"'{self.output_format}' is not written", hint=f"one of {', '.join(FORMATS)}"
                )
            return self.output_format
        if not self.is_folder:
            return format_of(self.output)
        return given.format if given.format in FORMATS else "jsonl"

    def fingerprint(self, given: Input, source: Mapping[str, Any], form: str) -> dict[str, Any]:
        """Return what has to be the same for a run that goes on."""
        constants = json.dumps(self.constants, sort_keys=True, default=repr)
        return {
            "input": given.identity,
            "source": dict(source),
            "api": self.api,
            "format": form,
            "keep": list(self.keep),
            "constants": hashlib.sha256(constants.encode()).hexdigest(),
        }
