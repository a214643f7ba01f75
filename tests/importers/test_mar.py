"""Archives of TorchServe."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack.errors import RefusedError
from modelpack.importers.mar import MarImporter

Pack = Callable[..., Path]


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return out.getvalue()


def test_model_and_requirements_are_taken_and_the_handler_is_told(
    mar: Pack, tmp_path: Path
) -> None:
    requirements = b"numpy>=1.26  # why\n--extra-index-url x\nat @ https://x/y.whl\nscipy \\\n  --hash=sha256:0\n"
    path = mar({"requirements.txt": requirements}, requirementsFile="requirements.txt")
    (model,) = MarImporter().read(path, tmp_path / "scratch").models

    assert (model.name, model.version, model.framework) == ("digits", "1.0", "onnx")
    assert model.requirements == ("numpy>=1.26", "scipy")
    assert [one.what for one in model.left] == ["handler 'handler.py'"]


def test_torchscript_is_told_from_weights_alone(mar: Pack, tmp_path: Path) -> None:
    script = zipped("net/code/a.py", "net/constants.pkl", "net/data.pkl")
    path = mar({"model.pt": script}, serializedFile="model.pt")
    (model,) = MarImporter().read(path, tmp_path / "a").models
    assert model.framework == "torch"

    path = mar({"model.pt": zipped("net/data.pkl")}, serializedFile="model.pt")
    found = MarImporter().read(path, tmp_path / "b")
    assert found.models == ()
    assert "weights without a program" in found.left[0].why


def test_files_beside_the_model_are_told(mar: Pack, tmp_path: Path) -> None:
    (model,) = MarImporter().read(mar({"labels.json": b"{}"}), tmp_path / "scratch").models

    assert "file 'labels.json'" in {one.what for one in model.left}


def test_an_archive_that_is_a_tar_or_a_folder_is_taken_too(mar: Pack, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with zipfile.ZipFile(mar()) as archive:
        archive.extractall(folder)
    packed = tmp_path / "digits.tar.gz"
    with tarfile.open(packed, "w:gz") as out:
        out.add(folder, ".")

    for path in (folder, packed):
        assert MarImporter().recognises(path)
        assert MarImporter().read(path, tmp_path / path.suffix).models[0].name == "digits"


@pytest.mark.parametrize("name", ["nowhere.onnx", "../../etc/passwd", "/etc/passwd"])
def test_a_model_that_is_not_inside_is_refused(mar: Pack, tmp_path: Path, name: str) -> None:
    with pytest.raises(RefusedError, match="not there"):
        MarImporter().read(mar(serializedFile=name), tmp_path / "scratch")


def test_a_manifest_without_a_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", "{}")

    with pytest.raises(RefusedError, match="names no model"):
        MarImporter().read(path, tmp_path / "scratch")
