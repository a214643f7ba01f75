"""The keeper as one text: complete, and of the standard library alone."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from modelpack.deploy.keeping.program import ASKER, MAIN, PARTS, program
from tests.server.life.conftest import keeper

__all__ = ["keeper"]

MOST_BYTES = 128 * 1024
"""What Linux takes as one argument of a program (MAX_ARG_STRLEN)."""


def test_it_needs_nothing_but_a_python(tmp_path) -> None:
    """No modelpack is near, and no package either."""
    source = program().replace('if __name__ == "__main__":', 'if __name__ == "never":')
    seen = "\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", source + seen],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={},
    )

    ours = {name for name in done.stdout.split() if name.startswith("modelpack")}
    assert ours == set(PARTS)
    others = {name.partition(".")[0] for name in done.stdout.split()} - {"modelpack", "__main__"}
    assert others <= set(sys.stdlib_module_names)


def test_it_fits_on_a_command_line() -> None:
    assert len(program().encode()) < MOST_BYTES
    assert MAIN not in PARTS


@pytest.mark.parametrize("text", [program(), ASKER], ids=["all of it", "what asks"])
def test_without_a_keeper_an_order_fails_in_one_line(tmp_path, text: str) -> None:
    env = {"MODELPACK_PORT_KEEPER": str(tmp_path / "none.sock")}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", text, "ask", "status"],
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "the keeper of the port does not answer: [Errno 2] No such file or directory"
    ]


def test_what_asks_gives_the_answer_of_the_keeper(keeper) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ASKER, "ask", "hold", "a", "b"],
        capture_output=True,
        text=True,
        check=True,
        env=keeper.env,
    )

    assert json.loads(done.stdout) == keeper.ask("status")
    assert json.loads(done.stdout)["allowed"] == ["a", "b"]
