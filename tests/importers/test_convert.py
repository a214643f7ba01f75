"""From what was packed elsewhere to a bundle that serves, by the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack.store import Kind, Store
from modelpack.tag import Tag

Pack = Callable[..., Path]
PICKLED = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "modelpack", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.usefixtures("index")
def test_a_model_repository_becomes_a_bundle_without_code(triton: Pack) -> None:
    done = run("import", triton())

    assert (done.returncode, done.stdout) == (0, "digits:10\n"), done.stderr
    assert "left: digits: dynamic_batching" in done.stderr
    manifest = Store().bundle_manifest(Store().find(Tag("digits"), Kind.BUNDLE))
    assert (manifest.service, manifest.model, manifest.carries_code) == (None, "digits", False)
    assert manifest.apis[0]["route"] == "/predict"


@pytest.mark.usefixtures("index")
def test_importing_again_changes_nothing(mar: Pack) -> None:
    first, second = run("import", mar()), run("import", mar())

    assert first.returncode == second.returncode == 0, second.stderr
    assert first.stdout == second.stdout == "digits:1.0\n"
    assert len(Store().list(Kind.BUNDLE)) == 1


@pytest.mark.usefixtures("index")
def test_a_pickle_is_carried_over_marked_and_never_loaded(mlflow: Pack, canary: Path) -> None:
    inputs = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]
    done = run("import", mlflow({"sklearn": PICKLED}, inputs))

    assert done.returncode == 0, done.stderr
    assert not canary.exists()
    (bundle,) = Store().list(Kind.BUNDLE)
    manifest = Store().bundle_manifest(bundle)
    assert manifest.carries_code
    assert manifest.apis[0]["route"] == "/predict"
    service = next(file.path for file in manifest.files)
    assert service == "mlflow_model_service.py"


def test_a_model_without_a_signature_is_saved_and_the_rest_is_told(mlflow: Pack) -> None:
    done = run("import", mlflow({"sklearn": PICKLED}), "-o", "json")

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["bundles"] == []
    assert found["models"][0].startswith("mlflow-model:")
    assert "nothing says what goes in" in found["left"][0]["why"]


def test_only_the_named_model_is_taken(triton: Pack) -> None:
    done = run("import", triton(), "--name", "other")

    assert done.returncode == 3
    assert "no model 'other'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["nowhere"], 3, "no file or folder 'nowhere'"),
        (["empty"], 2, "is nothing that can be imported"),
        (["empty", "--from", "tritn"], 3, "did you mean 'triton'?"),
    ],
)
def test_what_cannot_be_imported_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, text: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    done = run("import", *arguments)

    assert (done.returncode, done.stdout) == (status, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_is_left_behind_in_the_folder_of_temporary_files(
    mar: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    run("import", mar(serializedFile="nowhere"))

    assert list((tmp_path / "temporary").iterdir()) == []
