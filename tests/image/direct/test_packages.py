"""The layers that are made: what is in them, and that everybody makes the same ones."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import os
import posixpath
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelpack import paths
from modelpack.archive.lockfile import LockedPackage
from modelpack.archive.platforms import Platform
from modelpack.errors import BuildError, UsageError
from modelpack.image import ImagePlan
from modelpack.image.direct import packages
from modelpack.image.direct.installing import Installer
from modelpack.image.direct.layer import LayerWriter, write_parts
from modelpack.image.direct.normalising import installed_parts
from modelpack.image.direct.packages import LayerFile, PythonPlace, package_layers
from modelpack.store import Store

MakeWheel = Callable[..., Any]
PlanOf = Callable[..., ImagePlan]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
VERSION = ".".join(str(part) for part in sys.version_info[:3])
CACHED = f"__pycache__/{{}}.{sys.implementation.cache_tag}.pyc"
SITE = f"bundle/venv/lib/python{PYTHON}/site-packages"
PLACE = PythonPlace(f"/usr/local/bin/python{PYTHON}", VERSION)
OWN = PythonPlace(str(Path(sys.executable).resolve()), VERSION)
CP = f"cp{PYTHON.replace('.', '')}"
ARM64 = Platform("aarch64")


def files_of(layer: LayerFile) -> dict[str, bytes]:
    """Return what is in a layer; that it is whole and what it says is checked."""
    data = layer.path.read_bytes()
    assert layer.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert layer.size == len(data)
    unpacked = gzip.decompress(data) if layer.media_type.endswith("+gzip") else data
    assert layer.diff_id == f"sha256:{hashlib.sha256(unpacked).hexdigest()}"
    found = {}
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            found[member.name] = file.read() if file else b""
    return found


def members_of(layer: LayerFile) -> list[tarfile.TarInfo]:
    with tarfile.open(layer.path) as tar:
        return tar.getmembers()


def test_dependencies_bytecode_and_the_server_in_this_order(
    wheels_plan: PlanOf, make_wheel: MakeWheel, store: Store
) -> None:
    layers = package_layers(wheels_plan(make_wheel("tiny")), store, PLACE)
    found = [files_of(layer) for layer in layers]
    assert found[0][f"{SITE}/tiny/__init__.py"] == b"VALUE = 1\n"
    assert f"{SITE}/tiny/{CACHED}".format("__init__") in found[1]
    assert f"{SITE}/modelpack/server/__main__.py" in found[2]
    assert f"{SITE}/modelpack/server/{CACHED}".format("__main__") in found[2]
    assert not any("modelpack" in path for path in found[0])
    assert layers[0].created_by == "modelpack: 12 Python packages for linux/amd64"


def test_nothing_of_who_made_it_is_in_a_layer(
    wheels_plan: PlanOf, make_wheel: MakeWheel, store: Store
) -> None:
    wheel = make_wheel(
        "tiny", files={"tiny/__init__.py": b"", "tiny/run": b""}, programs=["tiny/run"]
    )
    for layer in package_layers(wheels_plan(wheel), store, PLACE):
        members = members_of(layer)
        assert [one.name for one in members] == sorted(one.name for one in members)
        assert members[0].name == "bundle"
        for one in members:
            assert one.name == "bundle" or one.name.startswith("bundle/")
            assert (one.mtime, one.uid, one.gid, one.uname, one.gname) == (0, 0, 0, "", "")
            is_program = one.isdir() or one.name.endswith("/run")
            assert one.mode == (0o777 if one.issym() else 0o755 if is_program else 0o644)
        assert str(paths.cache_dir()).encode() not in layer.path.read_bytes()


def test_the_environment_is_that_of_the_bases_python(wheels_plan: PlanOf, store: Store) -> None:
    server = package_layers(wheels_plan(), store, PLACE)[-1]
    link = next(one for one in members_of(server) if one.name == "bundle/venv/bin/python")
    assert (link.issym(), link.linkname) == (True, PLACE.path)
    config = files_of(server)["bundle/venv/pyvenv.cfg"].decode()
    assert config.splitlines() == [
        "home = /usr/local/bin",
        "include-system-site-packages = false",
        f"version = {VERSION}",
    ]


@pytest.mark.parametrize("path", ["python3.11", "/usr/../bin/python3.11", "/usr/bin/py\nthon"])
def test_a_place_that_is_none_is_refused(wheels_plan: PlanOf, store: Store, path: str) -> None:
    with pytest.raises(UsageError, match="is not the place of an interpreter"):
        package_layers(wheels_plan(), store, PythonPlace(path, None))


def test_the_unpacked_layers_run_and_use_their_bytecode(
    wheels_plan: PlanOf, make_wheel: MakeWheel, store: Store, tmp_path: Path
) -> None:
    layers = package_layers(wheels_plan(make_wheel("tiny")), store, OWN)
    for layer in layers:
        with tarfile.open(layer.path) as tar:
            tar.extractall(tmp_path / "root")
    python = tmp_path / "root/bundle/venv/bin/python"
    code = "import tiny, sys; from importlib.metadata import version; print(version('tiny'))"
    done = subprocess.run([python, "-I", "-v", "-c", code], capture_output=True, text=True)
    assert done.stdout == "1.0\n"
    pyc = tmp_path / "root" / SITE / "tiny" / CACHED.format("__init__")
    assert f"code object from '{pyc}'" in done.stderr
    check = [sys.executable, "-m", "pip", "--python", python, "check"]
    assert subprocess.run(check, capture_output=True, text=True).returncode == 0


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_umask_cache_and_folder_make_no_difference(
    *,
    mask: int,
    wheels_plan: PlanOf,
    make_wheel: MakeWheel,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wheel = make_wheel("tiny", files={"tiny/run.sh": b"#!/bin/sh\n"}, programs=["tiny/run.sh"])
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / f"cache-{mask}"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / f"uv-{mask}"))
    monkeypatch.setenv("UV_COMPILE_BYTECODE", "1")
    monkeypatch.setenv("UV_LINK_MODE", "symlink")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    before = os.umask(mask)
    try:
        layers = package_layers(wheels_plan(wheel), store, PLACE)
    finally:
        os.umask(before)
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "another"))
    monkeypatch.delenv("UV_COMPILE_BYTECODE")
    again = package_layers(wheels_plan(wheel), store, PLACE)
    assert [one.digest for one in layers] == [one.digest for one in again]
    assert [one.created_by for one in layers] == [one.created_by for one in again]


def test_the_python_that_installs_makes_no_difference(
    make_wheel: MakeWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = another_python()
    if other is None:
        pytest.skip("there is only one Python")
    data = "tiny-1.0.data"
    wheel = make_wheel(
        "tiny",
        files={"tiny.py": b"", f"{data}/scripts/tool": b"#!python\n", f"{data}/headers/t.h": b""},
    )
    (tmp_path / wheel.file_name).write_bytes(wheel.data)
    digests = []
    for program in (sys.executable, other):
        monkeypatch.setattr(sys, "executable", program)
        installer = Installer((wheel.locked,), ARM64, PYTHON)
        prefix = installer.install(tmp_path / f"with-{len(digests)}", wheels=tmp_path)
        with LayerWriter(tmp_path / f"layer-{len(digests)}") as out:
            write_parts(out, installed_parts(prefix, PYTHON, lambda name: pytest.fail(name)))
            digests.append(out.digest())
    assert digests[0] == digests[1]


def test_a_change_of_code_makes_no_layer_again(
    wheels_plan: PlanOf, make_wheel: MakeWheel, store: Store, heard: Any
) -> None:
    first = package_layers(wheels_plan(make_wheel("tiny"), code=b"a = 1\n"), store, PLACE)
    plan = wheels_plan(make_wheel("tiny"), code=b"a = 2\n", first_line="# another first line")
    assert package_layers(plan, store, PLACE, progress=heard) == first
    assert heard.steps == []


def test_another_package_makes_its_layers_again_and_not_the_server(
    wheels_plan: PlanOf, make_wheel: MakeWheel, store: Store
) -> None:
    first = package_layers(wheels_plan(make_wheel("tiny")), store, PLACE)
    second = package_layers(wheels_plan(make_wheel("tiny", "1.1")), store, PLACE)
    same = [one.digest == other.digest for one, other in zip(first, second, strict=True)]
    assert same[0] is False
    assert same[2] is True


def test_record_names_what_is_there_and_its_digests(
    wheels_plan: PlanOf, make_wheel: MakeWheel, store: Store
) -> None:
    wheel = make_wheel("tiny", files={"tiny/__init__.py": b"", "b,c.txt": b"x"}, scripts=["tiny"])
    found = files_of(package_layers(wheels_plan(wheel), store, PLACE)[0])
    info = f"{SITE}/tiny-1.0.dist-info"
    rows = list(csv.reader(found[f"{info}/RECORD"].decode().splitlines()))
    assert rows == sorted(rows)
    for path, digest, size in rows:
        data = found[posixpath.normpath(f"{SITE}/{path}")]
        if not path.endswith("/RECORD"):
            wanted = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            assert (digest, size) == (f"sha256={wanted}", str(len(data)))
    named = {posixpath.normpath(f"{SITE}/{row[0]}") for row in rows}
    own = {path for path in found if path.startswith(info) and path != info}
    assert own < named
    assert found[f"{info}/INSTALLER"] == b"modelpack\n"
    assert not any(path.startswith("bundle/venv/bin") for path in found)


def test_what_a_wheel_has_beside_its_modules_lies_where_it_belongs(
    wheels_plan: PlanOf, make_wheel: MakeWheel, store: Store
) -> None:
    data = "tiny-1.0.data"
    wheel = make_wheel(
        "tiny",
        files={
            "tiny/__init__.py": b"",
            f"{data}/data/share/tiny/words.txt": b"words",
            f"{data}/scripts/tiny-tool": b"#!python\nprint('tool')\n",
            f"{data}/scripts/tiny-shell": b"#!/bin/sh\necho shell\n",
            f"{data}/platlib/tiny/more.py": b"MORE = 1\n",
            f"{data}/headers/tiny.h": b"int tiny;",
        },
    )
    layer = package_layers(wheels_plan(wheel), store, PLACE)[0]
    found = files_of(layer)
    assert found["bundle/venv/share/tiny/words.txt"] == b"words"
    assert found[f"{SITE}/tiny/more.py"] == b"MORE = 1\n"
    assert found["bundle/venv/bin/tiny-shell"] == b"#!/bin/sh\necho shell\n"
    tool = found["bundle/venv/bin/tiny-tool"]
    assert tool == b"#!/bundle/venv/bin/python\nprint('tool')\n"
    modes = {one.name: one.mode for one in members_of(layer)}
    assert modes["bundle/venv/bin/tiny-tool"] == 0o755
    record = found[f"{SITE}/tiny-1.0.dist-info/RECORD"].decode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(tool).digest()).decode().rstrip("=")
    assert f"../../../bin/tiny-tool,sha256={digest},{len(tool)}\n" in record
    assert not any(path.endswith("tiny.h") for path in found)


def test_of_two_packages_with_one_file_the_last_by_name_has_it(
    wheels_plan: PlanOf,
    make_wheel: MakeWheel,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wheels = [
        make_wheel(name, files={"README.txt": name.encode(), f"{name}.py": b""})
        for name in ("zeta", "alpha", "middle")
    ]
    digests = set()
    for turn in range(3):
        monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / f"cache-{turn}"))
        layer = package_layers(wheels_plan(*wheels), store, PLACE)[0]
        digests.add(layer.digest)
        assert files_of(layer)[f"{SITE}/README.txt"] == b"zeta"
    assert len(digests) == 1


def test_a_package_of_uvs_cache_that_was_changed_ends_the_build(
    wheels_plan: PlanOf,
    make_wheel: MakeWheel,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "project"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "one"))
    plan = wheels_plan(make_wheel("tiny", files={"tiny.py": b"HONEST = 1\n"}), brings=False)
    package_layers(plan, store, PLACE)
    (cached,) = (tmp_path / "uv").rglob("tiny.py")
    cached.write_bytes(b"HONEST = 0\n")
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "two"))
    with pytest.raises(BuildError, match=r"tiny\.py' is not what the record") as caught:
        package_layers(plan, store, PLACE)
    assert "uv cache clean" in str(caught.value.hint)
    layers = tmp_path / "two" / "image" / "layers"
    assert not any(b"HONEST" in blob.read_bytes() for blob in (layers / "blobs").iterdir())
    assert list((layers / "scratch").iterdir()) == []


def test_what_the_bundle_does_not_bring_comes_from_where_uv_is_told(
    wheels_plan: PlanOf,
    make_wheel: MakeWheel,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wheel = make_wheel("tiny", files={"tiny.py": b"OURS = 1\n"})
    plan = wheels_plan(wheel, brings="tiny")
    (tmp_path / "project" / wheel.file_name).unlink()
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "project"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))
    apart = package_layers(plan, store, PLACE)[0]
    assert files_of(apart)[f"{SITE}/tiny.py"] == b"OURS = 1\n"
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "another"))
    assert package_layers(wheels_plan(wheel), store, PLACE)[0] == replace(
        apart, path=tmp_path / "another/image/layers/blobs" / apart.path.name
    )


def test_a_package_without_a_wheel_is_never_built(
    wheels_plan: PlanOf, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Building one would run its code here, with the rights of who builds."""
    mark = tmp_path / "mark"
    backend = f"open({str(mark)!r}, 'w').close()\nraise SystemExit('ran')\n"
    project = '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n'
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, text in (
            ("PKG-INFO", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"),
            ("pyproject.toml", project),
            ("own.py", backend),
        ):
            member = tarfile.TarInfo(f"tiny-1.0/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    digest = f"sha256:{hashlib.sha256(data.getvalue()).hexdigest()}"
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "project"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    locked = LockedPackage("tiny", "1.0", None, (digest,))
    plan = wheels_plan(packages=[locked], brings=False)
    (tmp_path / "project" / "tiny-1.0.tar.gz").write_bytes(data.getvalue())
    with pytest.raises(BuildError) as caught:
        package_layers(plan, store, PLACE)
    assert "wheel" in str(caught.value.hint)
    assert not mark.exists()


def test_a_package_that_misses_another_is_named(
    wheels_plan: PlanOf, make_wheel: MakeWheel, store: Store
) -> None:
    wheels = [make_wheel("tiny", requires=["other>=2"]), make_wheel("other", "1.5")]
    with pytest.raises(BuildError, match=r"'tiny' needs 'other>=2', and the lock has 1\.5"):
        package_layers(wheels_plan(*wheels), store, PLACE)


def test_a_lock_without_what_the_server_needs_is_refused_before_anything_is_installed(
    wheels_plan: PlanOf, make_wheel: MakeWheel, store: Store, heard: Any
) -> None:
    plan = wheels_plan(make_wheel("tiny"), runtime=False)
    with pytest.raises(
        BuildError, match=r"the server needs 'cloudpickle>=3\.1', and the lock has none"
    ):
        package_layers(plan, store, PLACE, progress=heard)
    assert heard.steps == []


def test_without_a_python_of_that_version_there_is_no_bytecode_and_a_note(
    wheels_plan: PlanOf,
    store: Store,
    heard: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packages, "find_compiler", lambda *_: None)
    layers = package_layers(wheels_plan(), store, PLACE, progress=heard)
    assert [one.what for one in layers] == ["Python packages (11)", "server"]
    assert not any(path.endswith(".pyc") for one in layers for path in files_of(one))
    assert heard.notes == [
        f"there is no Python {PYTHON} here, so the image gets no bytecode and starts slower"
    ]


def test_compressed_or_not_the_tar_is_the_same(
    wheels_plan: PlanOf, make_wheel: MakeWheel, store: Store
) -> None:
    plan = wheels_plan(make_wheel("tiny", files={"tiny.py": b"X = 1\n" * 300_000}))
    plain = package_layers(plan, store, PLACE)
    pressed = package_layers(plan, store, PLACE, compress=True)
    assert pressed[0].media_type == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert files_of(pressed[0]) == files_of(plain[0])
    assert (pressed[0].diff_id, pressed[0].created_by) == (plain[0].digest, plain[0].created_by)
    assert pressed[0].size < plain[0].size / 10
    assert [files_of(one) for one in pressed] == [files_of(one) for one in plain]


def test_each_platform_gets_the_wheels_that_run_there(
    wheels_plan: PlanOf, make_wheel: MakeWheel, store: Store
) -> None:
    both = [
        make_wheel(
            "tiny",
            files={"tiny.so": elf(machine)},
            tag=f"{CP}-{CP}-manylinux_2_17_{name}.manylinux2014_{name}",
        )
        for name, machine in (("x86_64", 0x3E), ("aarch64", 0xB7))
    ]
    hashes = tuple(one.locked.hashes[0] for one in both)
    locked = [replace(both[0].locked, hashes=hashes)]
    found = {}
    for platform in (Platform("x86_64"), ARM64):
        plan = wheels_plan(*both, platform=platform, packages=locked)
        layer = package_layers(plan, store, PLACE)[0]
        assert layer.created_by.endswith(f"for {platform.name}")
        found[platform.machine] = machine_of(files_of(layer)[f"{SITE}/tiny.so"])
    assert found == {"x86_64": 0x3E, "aarch64": 0xB7}


def test_another_version_of_python_than_ours_has_its_own_folder(
    wheels_plan: PlanOf, make_wheel: MakeWheel, store: Store
) -> None:
    wheel = make_wheel("tiny", tag="cp314-cp314-manylinux_2_17_x86_64")
    place = PythonPlace("/usr/local/bin/python3.14", "3.14.1")
    layers = package_layers(wheels_plan(wheel, python="3.14"), store, place)
    site = "bundle/venv/lib/python3.14/site-packages"
    assert f"{site}/tiny/__init__.py" in files_of(layers[0])
    assert f"{site}/modelpack/server/__main__.py" in files_of(layers[-1])


def another_python() -> str | None:
    """Return a Python of another version, from where this one lies or from PATH."""
    beside = Path(sys.base_prefix).parent.glob("*/bin/python3.1[0-9]")
    on_path = [shutil.which(f"python3.{minor}") for minor in (12, 13, 14, 11)]
    for program in filter(None, [*map(str, sorted(beside)), *on_path]):
        ask = [program, "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
        done = subprocess.run(ask, capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() != PYTHON:
            return program
    return None


def elf(machine: int) -> bytes:
    """Return the head of a shared object for a kind of processor."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + machine.to_bytes(2, "little")


def machine_of(data: bytes) -> int:
    """Return the kind of processor that a shared object is for."""
    assert data[:4] == b"\x7fELF"
    return int.from_bytes(data[18:20], "little")
