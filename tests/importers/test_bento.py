"""Bentos: their models, and what is told of the rest."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from modelpack.errors import RefusedError
from modelpack.importers.bento import BentoImporter


@pytest.fixture
def bento(tmp_path: Path, onnx: bytes) -> Path:
    """A bento with a model of two kinds that are known and one that is not."""
    root = tmp_path / "digits"
    described = {"service": "service:Digits", "models": [{"tag": "clf:1"}, {"tag": "gone:2"}]}
    (root / "env" / "python").mkdir(parents=True)
    (root / "bento.yaml").write_text(json.dumps(described))
    (root / "env" / "python" / "requirements.txt").write_text("numpy==1.26.4\n")
    for name, module, file, context in (
        ("clf", "bentoml.sklearn", "saved_model.pkl", {"framework_versions": {"scikit-learn": "1.9"}}),
        ("net", "bentoml.onnx", "saved_model.onnx", {}),
        ("own", "", "weights.bin", {}),
    ):  # fmt: skip
        folder = root / "models" / name / "1"
        folder.mkdir(parents=True)
        (folder / file).write_bytes(onnx)
        model = {"name": name, "version": "1", "module": module, "context": context}
        (folder / "model.yaml").write_text(json.dumps({**model, "labels": {"stage": "dev"}}))
    return root


def test_models_are_taken_with_what_loads_them(bento: Path, tmp_path: Path) -> None:
    clf, net = BentoImporter().read(bento, tmp_path / "scratch").models

    assert (clf.name, clf.version, clf.framework) == ("clf", "1", "sklearn")
    assert clf.requirements == ("scikit-learn==1.9",)
    assert clf.labels == {"stage": "dev", "imported_from": "bento"}
    assert (net.framework, net.requirements) == ("onnx", ())


def test_service_and_missing_and_unknown_models_are_told(bento: Path, tmp_path: Path) -> None:
    left = {one.what for one in BentoImporter().read(bento, tmp_path / "scratch").left}

    assert left == {"the service 'service:Digits'", "model 'gone:2'", "model 'own:1'"}


@pytest.mark.parametrize("mode", ["w:xz", "w:gz", "w"])
def test_the_archive_says_the_same_as_the_folder(bento: Path, tmp_path: Path, mode: str) -> None:
    packed = tmp_path / "digits.bento"
    with tarfile.open(packed, mode) as out:  # type: ignore[call-overload]
        out.add(bento, ".")

    assert BentoImporter().recognises(packed)
    found = BentoImporter().read(packed, tmp_path / "scratch")
    assert [one.name for one in found.models] == ["clf", "net"]


def test_another_archive_with_that_ending_is_refused(tmp_path: Path) -> None:
    packed = tmp_path / "x.bento"
    with tarfile.open(packed, "w"):
        pass

    with pytest.raises(RefusedError, match=r"bento\.yaml"):
        BentoImporter().read(packed, tmp_path / "scratch")
