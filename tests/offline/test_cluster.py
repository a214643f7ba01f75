"""A run on a real Ray cluster of two nodes, in an environment of its own (``make test-peers``)."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "cluster" / "two_nodes.py"

SERVICE = """
import time

import modelpack


@modelpack.service
class Sums:
    @modelpack.api(batch=True, max_batch_size=8)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 2]
    ) -> modelpack.Tensor["float32", "batch"]:
        if (x == 66666).any():
            raise ValueError("no such row")
        time.sleep(0.01)
        return x.sum(axis=1)
"""
BAD = (40, 2000)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with this modelpack and Ray; it is named by RAY_PYTHON, or made."""
    if named := os.environ.get("RAY_PYTHON"):
        return Path(named)
    from uv import find_uv_bin

    folder = tmp_path_factory.mktemp("ray") / "env"
    python = folder / "bin" / "python"
    for words in (
        ["venv", "-q", "--python", sys.executable, str(folder)],
        ["pip", "install", "-q", "--python", str(python), f"{ROOT}[ray]"],
    ):
        done = subprocess.run([find_uv_bin(), *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return python


@pytest.mark.peers
def test_two_nodes_answer_and_the_loss_of_one_loses_and_doubles_no_row(
    python: Path, tmp_path: Path
) -> None:
    project = tmp_path / "sums"
    project.mkdir()
    (project / "service.py").write_text(SERVICE)
    build = [sys.executable, "-m", "modelpack", "build", "--version", "1"]
    subprocess.run(build, cwd=project, check=True, capture_output=True)
    rows = tmp_path / "rows.csv"
    count = 6000
    lines = [f"r{i},{66666 if i in BAD else i},{i % 10}" for i in range(count)]
    rows.write_text("\n".join(["id,a,b", *lines]) + "\n")
    output = tmp_path / "out.csv"
    done = subprocess.run(
        [python, PROGRAM, "sums:1", rows, output],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    said = [line for line in done.stdout.splitlines() if line.startswith("{")]  # Ray talks, too
    facts = json.loads(said[0])
    assert facts == {"nodes": 2, "is_lost": True, "rows": count, "bad": len(BAD)}
    found = list(csv.DictReader(output.read_text().splitlines()))
    assert [int(row["row"]) for row in found] == [i for i in range(count) if i not in BAD]
    assert all(float(r["output"]) == int(r["row"]) + int(r["row"]) % 10 for r in found)


@pytest.mark.peers
def test_a_cluster_that_nobody_answers_for_is_said_at_once(python: Path, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    build = [sys.executable, "-m", "modelpack", "build", "--version", "1"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    words = ["batch", "sums:1", "predict", "-i", "rows.csv", "--output", "out.csv"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    done = subprocess.run(
        [python, "-m", "modelpack", *words, "--engine", "ray", "--ray-address", address],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert f"error[unreachable]: no Ray cluster answers at '{address}'" in done.stderr
