"""The clients of the page about gRPC get what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "faces" / "grpc.md"
SHOWN = "127.0.0.1:8001"

IRIS = """
import modelpack

NAMES = ["setosa", "versicolor", "virginica"]


@modelpack.service
class Iris:
    @modelpack.api(batch=True)
    def predict(self, x: modelpack.Tensor["float64", "batch", 4]) -> list[str]:
        return [NAMES[int(row[2] > 2.5) + int(row[2] > 4.9)] for row in x]
"""


def block(kind: str, name: str) -> str:
    return PAGE.read_text().partition(f"\n```{kind} {name}\n")[2].partition("\n```\n")[0]


@pytest.fixture
def iris(serve_grpc: Callable[..., Any]) -> Any:
    return serve_grpc("service:Iris", text=IRIS)


def in_another_python(python: Path, text: str, target: str, folder: Path) -> None:
    """Run a session of the page; fails unless it says what the page shows."""
    assert SHOWN in text
    (folder / "session.txt").write_text(text.replace(SHOWN, target) + "\n")
    program = "import doctest, sys; sys.exit(doctest.testfile('session.txt', False).failed)"
    done = subprocess.run(
        [python, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_client_made_of_the_protos_gets_what_the_page_says(iris: Any, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    subprocess.run(["sh", "-ec", block("sh", "grpc")], cwd=tmp_path, env=environ, check=True)

    in_another_python(Path(sys.executable), block("python", "grpc"), iris.target, tmp_path)


@pytest.mark.peers
@pytest.mark.network
def test_the_client_of_triton_gets_what_the_page_says(iris: Any, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "environment"], check=True)
    python = tmp_path / "environment" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "tritonclient[grpc]"]
    subprocess.run(install, check=True, timeout=600)

    in_another_python(python, block("python", "triton"), iris.target, tmp_path)
