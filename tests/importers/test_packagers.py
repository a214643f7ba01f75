"""What the packagers of other systems really write, imported and served.

They need an environment of their own, made once; run on demand, with the other peers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uv

from modelpack.store import Store

pytestmark = [pytest.mark.peers, pytest.mark.network]

PACKAGES = ("bentoml==1.4.39", "mlflow-skinny==3.17.2", "onnx", "onnxruntime", "pandas", "scikit-learn",
            "skl2onnx", "skops", "torch-model-archiver==0.12.0", "uv")  # fmt: skip
PACK = Path(__file__).parent / "packagers" / "pack_samples.py"
Serve = Callable[..., str]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same classifier of digits, packed by each."""
    place = tmp_path_factory.mktemp("packagers")
    environment, folder = place / "venv", place / "samples"
    folder.mkdir()
    program = uv.find_uv_bin()
    subprocess.run(
        [program, "venv", "-q", "--seed", "--python", sys.executable, environment], check=True
    )
    python = environment / "bin" / "python"
    subprocess.run([program, "pip", "install", "-q", "--python", python, *PACKAGES], check=True)
    variables = {**os.environ, "HOME": str(place), "PYTHONWARNINGS": "ignore"}
    subprocess.run([python, PACK, folder], env=variables, check=True)
    return folder


@pytest.fixture(scope="module")
def answers(samples: Path) -> Any:
    """What the classifier answers where it was trained."""
    return json.loads((samples / "answers.json").read_text())


def brought(path: Path) -> list[str]:
    words = [sys.executable, "-m", "modelpack", "import", path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(
        f"{url}/predict", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return json.load(answer)


@pytest.mark.parametrize("packed", ["triton", "digits.mar", "mlflow-onnx"])
def test_onnx_models_become_bundles_without_code_and_answer_as_before(
    samples: Path, answers: Any, serve: Serve, tmp_path: Path, packed: str
) -> None:
    (tag,) = brought(samples / packed)
    found = post(serve(tag, cwd=tmp_path), {"X": answers["x"]})

    assert found["label"] == answers["labels"]


@pytest.mark.parametrize("packed", ["mlflow-digits", "mlflow-skops"])
def test_mlflow_models_become_bundles_that_answer_as_before(
    samples: Path, answers: Any, serve: Serve, tmp_path: Path, packed: str
) -> None:
    (tag,) = brought(samples / packed)

    assert post(serve(tag, cwd=tmp_path), {"x": answers["x"]}) == answers["labels"]


def test_a_table_goes_in_as_rows(samples: Path, serve: Serve, tmp_path: Path) -> None:
    (tag,) = brought(samples / "mlflow-iris")
    setosa = {"sepal length (cm)": 5.1, "sepal width (cm)": 3.5, "petal length (cm)": 1.4,
              "petal width (cm)": 0.2}  # fmt: skip

    assert post(serve(tag, cwd=tmp_path), {"rows": [setosa, setosa]}) == [0, 0]


def test_a_bento_brings_its_models(
    samples: Path, answers: Any, serve: Serve, tmp_path: Path
) -> None:
    clf, net = brought(samples / "digits.bento")

    assert clf.startswith("models/digits-clf:")
    assert net.startswith("digits-onnx:")
    found = post(serve(net, cwd=tmp_path), {"X": answers["x"]})
    assert found["label"] == answers["labels"]
    record = Store().model_record(
        next(one for one in Store().list() if one.tag.name == "digits-clf")
    )
    assert record.carries_code
    assert record.requirements[0].startswith("scikit-learn==")
