"""What a build costs: beside a large virtual environment, and after a change of one line of code.

    python tests/benchmarks/bench_build.py [--quick]

``plain`` and ``.venv`` are ``modelpack build`` of a small project in a repository, without and with
a virtual environment of 10,000 files in it, in turns; their difference has the aim of 0.1 s at most.
``code change`` is a build with 500 MB of weights that are in the store already; the aim is 2 s.
Seconds of the command as a user sees it, the median, and the least and the most.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from modelpack import models
from modelpack.archive.builder import lock_inputs
from modelpack.archive.lockfile import LockedPackage, lock_text
from modelpack.config.load import load_project
from modelpack.store import Kind, Store

SERVICE = """
import modelpack


@modelpack.service
class Hello:{model}
    @modelpack.api
    def greet(self, name: str) -> str:
        return "hello " + name  # 0
"""
PACKAGE = LockedPackage("numpy", "2.4.6", None, ("sha256:" + "0" * 64,))
MB = 1_000_000


def make_project(folder: Path, model: str = "") -> Path:
    """Write a project with its lock, committed in a repository of its own."""
    folder.mkdir()
    (folder / "service.py").write_text(SERVICE.format(model=model))
    (folder / "modelpack.yaml").write_text("name: hello\nservice: service:Hello\n")
    store = Store()
    used = store.list(Kind.MODEL) if model else []
    inputs = lock_inputs(load_project(folder), used, store)
    (folder / "requirements.lock").write_text(lock_text(inputs.first_line, [PACKAGE]))
    who = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=first"]):
        subprocess.run(["git", *who, *words], cwd=folder, check=True)
    return folder


def make_venv(folder: Path, count: int) -> None:
    """Write a virtual environment of so many small files, 50 in a folder."""
    folder.mkdir()
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\n")
    for number in range(count):
        place = folder / "lib" / "site-packages" / f"package{number // 50}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"module{number % 50}.py").write_text("x = 1\n")


def build_s(project: Path) -> float:
    """Return how long the command took."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "modelpack", "build", project],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - began


def row(name: str, seconds: list[float]) -> float:
    """Print the times of one kind and return their median."""
    middle = statistics.median(seconds)
    print(f"{name:<12} {middle:8.3f} s   {min(seconds):.3f} to {max(seconds):.3f}", flush=True)
    return middle


def beside_a_venv(work: Path, rounds: int, files: int) -> None:
    """Build with and without the environment, in turns."""
    plain, crowded = make_project(work / "plain"), make_project(work / "crowded")
    make_venv(crowded / ".venv", files)
    for project in (plain, crowded):
        build_s(project)
    times: dict[Path, list[float]] = {plain: [], crowded: []}
    for _ in range(rounds):
        for project, seconds in times.items():
            seconds.append(build_s(project))
    pairs = [b - a for a, b in zip(times[plain], times[crowded], strict=True)]
    row("plain", times[plain])
    row(".venv", times[crowded])
    row("difference", pairs)


def after_a_code_change(work: Path, rounds: int, size: int) -> None:
    """Build again and again with one line changed and the same weights."""
    weights = work / "weights.bin"
    with weights.open("wb") as file:
        for _ in range(size // MB):
            file.write(os.urandom(MB))
    models.save("weights", Weights(weights.read_bytes()), framework="pickled")
    weights.unlink()
    project = make_project(work / "heavy", '\n    weights = modelpack.Model("weights")\n')
    seconds = []
    for number in range(rounds):
        text = (project / "service.py").read_text()
        changed = text[: text.rindex("#")] + f"# {number}\n"
        (project / "service.py").write_text(changed)
        seconds.append(build_s(project))
    row("code change", seconds)


class Weights:
    """An object that is mostly bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and short: does it run?")
    is_quick = parser.parse_args().quick
    rounds, files, size = (2, 500, 5 * MB) if is_quick else (15, 10_000, 500 * MB)
    with tempfile.TemporaryDirectory(prefix="modelpack-bench-") as name:
        os.environ["MODELPACK_HOME"] = str(Path(name) / "home")
        os.environ["MODELPACK_CACHE"] = str(Path(name) / "cache")
        beside_a_venv(Path(name), rounds, files)
        after_a_code_change(Path(name), min(rounds, 5), size)


if __name__ == "__main__":
    main()
