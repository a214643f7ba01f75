"""``make demo`` keeps what it promises, with an engine and without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.network, pytest.mark.slow]


def run_demo(folder: Path, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo.py", folder],
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_without_an_engine_all_else_is_done_and_one_line_says_so(tmp_path: Path) -> None:
    said = run_demo(tmp_path / "demo", DOCKER_HOST=f"unix://{tmp_path}/none.sock")

    assert (tmp_path / "demo" / "context" / "Dockerfile").is_file()
    assert "digits-demo  local   running" in said
    *_, before, last = said.splitlines()
    assert last.startswith("demo: not run: building the image")
    assert before.startswith("demo: all that was promised happened")


@pytest.mark.engine
def test_with_an_engine_the_whole_way_is_gone(tmp_path: Path) -> None:
    said = run_demo(tmp_path / "demo")

    assert "digits-demo  docker  running" in said
    assert "not run" not in said
