"""``models convert`` and what ``models inspect`` says of where a model comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from modelpack import models
from modelpack.store import Store

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

pytestmark = pytest.mark.filterwarnings("ignore::Warning:onnx.*", "ignore::Warning:skl2onnx.*")


@pytest.fixture
def saved(tmp_path: Path) -> str:
    x, y = load_iris(return_X_y=True)
    np.save(tmp_path / "x.npy", x)
    model = LogisticRegression(max_iter=500).fit(x, y)
    data = tmp_path / "x.npy"
    return str(models.save("iris", model, metrics={"accuracy": 0.97}, data=data))


def test_a_conversion_prints_the_tag_and_says_how_well_it_fits(
    cli: Cli, saved: str, tmp_path: Path
) -> None:
    done = cli("models", "convert", "iris", "--to", "onnx", "--allow-code")
    assert done.status == 0
    assert done.out.startswith("iris-onnx:")
    assert len(done.out.splitlines()) == 1
    assert "checked on 256 random rows: largest difference" in done.err
    shown = cli("models", "inspect", done.out.strip()).out
    assert f"from {saved}, sha256:" in shown
    assert "by onnx " in shown


def test_a_conversion_as_json(cli: Cli, saved: str, tmp_path: Path) -> None:
    words = ["models", "convert", "iris", "--to", "onnx", "--allow-code", "-o", "json"]
    value = json.loads(cli(*words, "--samples", str(tmp_path / "x.npy"), "--name", "other").out)
    assert value["source"] == saved
    assert value["tag"].startswith("other:")
    assert value["rows"] == 150
    assert 0 <= value["largest_difference"] <= value["tolerance"] == 1e-4


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--to", "onnx"], 4, "--allow-code"),
        (["--to", "tflite"], 2, "'tflite'"),
        (["--to", "onnx", "--allow-code", "--tolerance", "0"], 4, "0 is allowed"),
        (["--to", "onnx", "--allow-code", "--rows", "0"], 2, "--rows must be at least 1"),
        (["--to", "onnx", "--allow-code", "--samples", "no.npy"], 3, "'no.npy'"),
        ([], 2, "--to"),
    ],
)
def test_what_cannot_be_done_is_said(
    words: list[str], status: int, said: str, cli: Cli, saved: str
) -> None:
    done = cli("models", "convert", "iris", *words)
    assert done.status == status
    assert said in done.err
    assert done.out == ""


def test_inspect_says_what_a_model_was_trained_on(cli: Cli, saved: str) -> None:
    shown = cli("models", "inspect", "iris").out
    assert "accuracy 0.97" in shown
    assert "trained on x.npy, sha256:" in shown
    value = json.loads(cli("models", "inspect", "iris", "-o", "json").out)
    assert value["metrics"] == {"accuracy": 0.97}
    assert value["data"][0]["name"] == "x.npy"
    assert value["conversion"] is None


def test_code_that_a_conversion_runs_is_asked_of_the_policy(cli: Cli, saved: str) -> None:
    (Store().root.parent / "trust.yaml").write_text(
        'rules:\n  - {names: ["*"], require_signature: [serve]}\n'
    )
    done = cli("models", "convert", "iris", "--to", "onnx", "--allow-code")
    assert (done.status, done.out) == (4, "")
    assert f"no signature of '{saved}' counts" in done.err
