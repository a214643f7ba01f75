"""The page about scaling policies shows words that work, on the trace that it shows."""

from __future__ import annotations

import shlex
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "try-a-scaling-policy.md"
PROGRAM = Path(sysconfig.get_path("scripts")) / "modelpack"


def test_the_trace_of_the_page_is_played(
    tmp_path: Path, blocks_of: Callable[..., list[Any]]
) -> None:
    (trace,) = blocks_of(PAGE, "csv", "monday.csv")
    (tmp_path / "monday.csv").write_text(trace.text)
    (command,) = blocks_of(PAGE, "console")
    words = shlex.split(command.text.strip().removeprefix("$ modelpack "))

    done = subprocess.run(
        [PROGRAM, *words, "--svg", "monday.svg"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert "answered  9,500 of 13,200; refused 3,700 (28.03%)" in done.stdout
    assert "█" in done.stdout
    assert (tmp_path / "monday.svg").read_text().startswith("<svg ")
