"""Every framework, for real: saved in its own environment, loaded in a clean one, asked the same.

    environment 1: the framework, modelpack ──drive.py save──► model/, samples, answers
                                     ──drive.py convert──► its ONNX form, difference
    environment 2: what the record locks, the runtime wheel and nothing else ──drive.py load──► difference

Gigabytes are installed: ``make test-frameworks`` runs all of them, ``make test`` the smallest one.
``FRAMEWORKS_REPORT=FILE`` writes the table that docs/reference/frameworks.md shows.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uv

from modelpack.archive.runtime_wheel import write_runtime_wheel
from modelpack.manifest import RUNTIME_REQUIREMENTS

ROOT = Path(__file__).parents[2]
DRIVE = Path(__file__).parent / "cases" / "drive.py"
TORCH = "torch==2.13.0"
TIMEOUT_S = 1500

CASES: dict[str, tuple[str, ...]] = {
    "sklearn": ("scikit-learn", "joblib", "lightgbm"),
    "pickled": ("pandas",),
    "xgboost": ("xgboost-cpu", "scikit-learn"),
    "catboost": ("catboost",),
    "torch_class": (TORCH, "safetensors"),
    "torch_factory": (TORCH, "safetensors"),
    "torch_export": (TORCH,),
    "torch_script": (TORCH,),
    "keras": ("keras", TORCH),
    "keras_lambda": ("keras", TORCH),
    "tensorflow": ("tensorflow-cpu",),
    "transformers": ("transformers", TORCH),
    "transformers_pipeline": ("transformers", TORCH),
    "spacy": ("spacy",),
    "mlflow": ("mlflow-skinny", "scikit-learn", "pandas"),
}
"""What the first environment gets."""

CARRY_CODE = {
    "sklearn",
    "pickled",
    "torch_factory",
    "torch_export",
    "torch_script",
    "keras_lambda",
    "tensorflow",
    "mlflow",
}


class Environment:
    """A virtual environment in a folder; torch comes by pip, which has a CPU build, the rest by uv."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        run(uv.find_uv_bin(), "venv", "--seed", f"--python={sys.executable}", folder)

    def install(self, *requirements: object) -> None:
        by_pip = [text for text in map(str, requirements) if text.startswith("torch==")]
        others = [text for text in map(str, requirements) if text not in by_pip]
        if by_pip:
            run(self.python, "-m", "pip", "install", "--quiet", *by_pip)
        if others:
            run(uv.find_uv_bin(), "pip", "install", f"--python={self.python}", *others)

    def drive(self, *words: object) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(run(self.python, DRIVE, *words).splitlines()[-1])
        return said


def run(*argv: object) -> str:
    # Nothing of the environment that these tests run in may help the two others.
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    clean |= {"KERAS_BACKEND": "torch", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    if "load" in argv:
        del clean["KERAS_BACKEND"]  # the saved model knows
    done = subprocess.run(
        [*map(str, argv)], capture_output=True, text=True, env=clean, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path)  # a gigabyte each: not to be kept until the run ends


def comes_back(case: str, needs: tuple[str, ...], place: Path) -> dict[str, Any]:
    """Save in one environment and load in another; returns what both said."""
    first = Environment(place / "first")
    first.install(*needs, "-e", ROOT)
    saved = first.drive("save", case, place)
    second = Environment(place / "second")
    second.install(*saved["requirements"], *RUNTIME_REQUIREMENTS)
    wheel = write_runtime_wheel(place)
    run(uv.find_uv_bin(), "pip", "install", f"--python={second.python}", "--no-deps", wheel)
    return saved | second.drive("load", place)


def report(case: str, found: dict[str, Any]) -> None:
    if (file := os.environ.get("FRAMEWORKS_REPORT")) is not None:
        with Path(file).open("a") as out:
            out.write(json.dumps({"case": case, **found}) + "\n")


@pytest.mark.network
def test_a_small_one_comes_back_with_equal_answers(place: Path) -> None:
    found = comes_back("lightgbm", ("lightgbm", "scikit-learn"), place)
    report("lightgbm", found)
    assert found["largest"] == 0.0, found["where"]
    assert found["is_same_twice"]
    assert not found["carries_code"]
    assert not any(line.startswith("scikit-learn") for line in found["requirements"])


@pytest.mark.frameworks
@pytest.mark.network
@pytest.mark.parametrize("case", CASES)
def test_it_comes_back_with_equal_answers(case: str, place: Path) -> None:
    found = comes_back(case, CASES[case], place)
    report(case, found)
    assert found["largest"] <= 1e-6, found["where"]
    assert found["is_same_twice"]
    assert found["inputs"]
    assert found["carries_code"] is (case in CARRY_CODE)


@pytest.mark.frameworks
@pytest.mark.network
@pytest.mark.parametrize("case", ["torch_class", "torch_export", "torch_named"])
def test_torch_becomes_onnx(case: str, place: Path) -> None:
    environment = Environment(place / "first")
    environment.install(TORCH, "safetensors", "onnx", "onnxscript", "-e", ROOT)
    found = environment.drive("convert", case, place)
    report(f"{case} to onnx", found)
    assert found["largest_difference"] <= 1e-5
    assert found["is_same_twice"]
