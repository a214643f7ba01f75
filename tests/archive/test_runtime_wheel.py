from __future__ import annotations

import ast
import base64
import csv
import hashlib
import io
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from modelpack.archive.runtime_wheel import wheel_bytes, wheel_name, write_runtime_wheel
from modelpack.manifest import RUNTIME_REQUIREMENTS
from modelpack.version import __version__

INFO = f"modelpack_runtime-{__version__}.dist-info"


@pytest.fixture
def wheel() -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(wheel_bytes()))


def test_it_is_the_same_bytes_each_time_whatever_was_run_before(tmp_path: Path) -> None:
    path = write_runtime_wheel(tmp_path)
    assert path.name == wheel_name() == f"modelpack_runtime-{__version__}-py3-none-any.whl"
    assert path.read_bytes() == wheel_bytes()


def test_it_holds_the_runtime_and_nothing_of_the_toolchain(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    tops = {
        name.split("/")[1].removesuffix(".py") for name in names if name.startswith("modelpack/")
    }
    assert {"sdk", "frameworks", "server", "config", "errors", "manifest", "tag"} <= tops
    assert not tops & {"store", "archive", "image", "deploy", "cli", "models", "embed", "testing"}
    assert "modelpack/config/load.py" not in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_every_module_it_imports_is_in_it_or_required(wheel: zipfile.ZipFile) -> None:
    """What runs only in the toolchain is reached by name alone, when somebody asks for it."""
    inside = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in wheel.namelist()
        if name.endswith(".py")
    }
    for name in [name for name in wheel.namelist() if name.endswith(".py")]:
        if name == "modelpack/__init__.py":  # its imports are by name, or for type checkers
            continue
        for node in ast.walk(ast.parse(wheel.read(name))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("modelpack."):
                assert node.module in inside, f"{name} imports {node.module}"


def test_the_record_fits_the_files(wheel: zipfile.ZipFile) -> None:
    rows = list(csv.reader(io.StringIO(wheel.read(f"{INFO}/RECORD").decode())))
    assert {row[0] for row in rows} == set(wheel.namelist())
    assert len(rows) == len(wheel.namelist())
    for path, digest, size in rows:
        if path != f"{INFO}/RECORD":
            data = wheel.read(path)
            encoded = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={encoded}", str(len(data)))


def test_the_metadata_names_what_the_server_needs(wheel: zipfile.ZipFile) -> None:
    metadata = Parser().parsestr(wheel.read(f"{INFO}/METADATA").decode())
    assert metadata["Name"] == "modelpack-runtime"
    assert metadata["Version"] == __version__
    assert tuple(metadata.get_all("Requires-Dist", [])) == RUNTIME_REQUIREMENTS


def test_the_frameworks_are_found_by_the_same_entry_points(wheel: zipfile.ZipFile) -> None:
    lines = wheel.read(f"{INFO}/entry_points.txt").decode().splitlines()
    assert lines[0] == "[modelpack.frameworks]"
    assert "onnx = modelpack.frameworks.onnx:OnnxFramework" in lines
    assert len(lines) >= 4


def test_entries_have_no_time_and_a_plain_mode(wheel: zipfile.ZipFile) -> None:
    for entry in wheel.infolist():
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)
        assert entry.external_attr >> 16 == 0o100644
        assert entry.compress_type == zipfile.ZIP_STORED


def test_static_files_of_the_server_are_in_it(wheel: zipfile.ZipFile) -> None:
    import modelpack.server

    static = Path(modelpack.server.__file__).parent / "web" / "static"
    there = {
        f"modelpack/server/web/static/{p.relative_to(static)}"
        for p in static.rglob("*")
        if p.is_file()
    }
    assert there <= set(wheel.namelist())
