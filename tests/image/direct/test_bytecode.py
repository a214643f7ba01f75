"""Bytecode of a layer: for the paths of the image, never compared with its source, always the same."""

from __future__ import annotations

import importlib.util
import marshal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelpack.errors import BuildError
from modelpack.image.direct import bytecode
from modelpack.image.direct.bytecode import (
    Source,
    compile_sources,
    is_compiled,
    module_sources,
)
from modelpack.image.direct.interpreters import Compiler
from modelpack.image.direct.layer import LayerWriter, Part, write_parts

OWN = Compiler(sys.executable, ".".join(str(part) for part in sys.version_info[:3]))
SITE = "bundle/venv/lib/python3.11/site-packages"


def layer_of(tmp_path: Path, files: dict[str, bytes]) -> Path:
    with LayerWriter(tmp_path / "layer") as out:
        write_parts(out, [Part.of_bytes(f"{SITE}/{path}", data) for path, data in files.items()])
        out.digest()
    return tmp_path / "layer"


def compiled(
    layer: Path, scratch: Path, sources: Sequence[Source] | None = None, program: Compiler = OWN
) -> dict[str, bytes]:
    """Return the bytecode of a layer by path below the folder of packages."""
    scratch.mkdir()
    found = {}
    for part in compile_sources(program, layer, sources or module_sources(layer), scratch):
        assert isinstance(part.source, Path)
        with part.source.open("rb") as file:
            file.seek(part.offset)
            found[part.path.removeprefix(f"{SITE}/")] = file.read(part.size)
    return found


def cached(path: str) -> str:
    return importlib.util.cache_from_source(path)


def test_it_is_of_the_kind_that_is_never_compared_and_knows_its_place(tmp_path: Path) -> None:
    source = b"def f():\n    return 1\n"
    found = compiled(layer_of(tmp_path, {"tiny/mod.py": source}), tmp_path / "s")
    data = found[cached("tiny/mod.py")]
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert int.from_bytes(data[4:8], "little") == 0b01  # hash, unchecked
    assert data[8:16] == importlib.util.source_hash(source)
    code = marshal.loads(data[16:])
    assert code.co_filename == f"/{SITE}/tiny/mod.py"


def test_how_many_processes_and_in_which_order_makes_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import email
    import json

    files = {}
    for package in (email, json):
        folder = Path(package.__file__).parent
        for file in folder.rglob("*.py"):
            files[f"{folder.name}/{file.relative_to(folder)}"] = file.read_bytes()
    assert len(files) > 20
    # Large enough for several processes.
    files |= {f"more{n}.py": b"A = {'x', 'y', 'z'}\nB = frozenset('abc')\n" for n in range(60)}
    layer = layer_of(tmp_path, files)
    sources = module_sources(layer)
    found = []
    for count in (1, 2, 4):
        monkeypatch.setattr(bytecode, "processors", lambda count=count: count)
        found.append(compiled(layer, tmp_path / str(count), sources[count:] + sources[:count]))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == len(files)


def test_variables_of_the_surroundings_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = layer_of(tmp_path, {"a.py": b'"""A docstring."""\nassert True\n'})
    before = compiled(layer, tmp_path / "before")
    for name, value in {
        "PYTHONOPTIMIZE": "2",
        "PYTHONHASHSEED": "77",
        "PYTHONPYCACHEPREFIX": str(tmp_path),
        "PYTHONPATH": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "json.py").write_text("raise SystemExit(1)\n")
    assert compiled(layer, tmp_path / "after") == before


def test_files_beside_the_compiler_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder holds modules of ours, whose names the standard library may come to use."""
    program = tmp_path / "program" / "pyc.py"
    program.parent.mkdir()
    program.write_bytes(bytecode._COMPILER.read_bytes())
    program.with_name("json.py").write_text("raise SystemExit(1)\n")
    monkeypatch.setattr(bytecode, "_COMPILER", program)
    assert compiled(layer_of(tmp_path, {"a.py": b""}), tmp_path / "s")


def test_what_cannot_be_compiled_is_left_out(tmp_path: Path) -> None:
    files = {
        "good.py": b"X = 1\n",
        "template.py": b"{{ name }} = !\n",
        "binary.py": b"\x00\xff",
        "latin.py": "# -*- coding: latin-1 -*-\nX = 'é'\n".encode("latin-1"),
        "deep.py": b"x = " + b"(" * 5000 + b")" * 5000,
        "warns.py": b"X = '\\d'\n",
    }
    found = compiled(layer_of(tmp_path, files), tmp_path / "s")
    assert set(found) == {cached(name) for name in ("good.py", "latin.py", "warns.py")}


def test_nothing_of_what_is_compiled_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    source = f"open({str(mark)!r}, 'w').close()\n".encode()
    compiled(layer_of(tmp_path, {"evil.py": source, "sitecustomize.py": source}), tmp_path / "s")
    assert not mark.exists()


def test_modules_of_tests_and_other_files_stay_as_they_are(tmp_path: Path) -> None:
    files = {
        "pkg/tests/test_a.py": b"",
        "pkg/testing.py": b"",
        "pkg/data.txt": b"",
        "tests.py": b"",
    }
    found = compiled(layer_of(tmp_path, files), tmp_path / "s")
    assert set(found) == {cached("pkg/testing.py"), cached("tests.py")}
    assert not is_compiled("bundle/x.pyi")


def test_a_compiler_that_dies_ends_the_build(tmp_path: Path) -> None:
    layer = layer_of(tmp_path, {"a.py": b""})
    with pytest.raises(BuildError, match="could not be compiled: it ended with status 1"):
        compiled(layer, tmp_path / "s", program=Compiler("/bin/false", "3.11.2"))
