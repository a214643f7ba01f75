"""Imports are read and not run: what a service needs, and which distribution brings it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from modelpack.archive.imports import Code, imports_of, service_modules

LayOut = Callable[..., Path]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes a distribution be installed here, with these files."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])

    def install(name: str, *files: str, direct_url: str = "") -> None:
        info = site / f"{name.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        if direct_url:
            (info / "direct_url.json").write_text(direct_url)
        importlib.invalidate_caches()

    return install


@pytest.fixture
def code(lay_out: LayOut) -> Callable[[Mapping[str, str]], Code]:
    def make(files: Mapping[str, str]) -> Code:
        return Code(lay_out(files), tuple(files), "service")

    return make


MakeCode = Callable[[Mapping[str, str]], Code]


def test_the_distribution_of_a_module_is_found(
    code: MakeCode, installed: Callable[..., None]
) -> None:
    installed("Big.Tool", "bigtool/__init__.py")
    found = imports_of(code({"service.py": "import bigtool.part as part\n"}))
    assert [(one.name, one.version, one.modules) for one in found.found] == [
        ("big-tool", "1.5", ("bigtool",))
    ]
    assert found.unknown == ()


def test_standard_library_project_and_modelpack_are_left_out(code: MakeCode) -> None:
    found = imports_of(
        code(
            {
                "service.py": "import os, json.decoder, modelpack\nfrom modelpack import Tensor\n"
                "import helpers\nfrom pkg.deep import thing\nfrom . import helpers as again\n",
                "helpers.py": "import sys\n",
                "pkg/deep.py": "from .other import x\nfrom xml import sax\n",
                "pkg/other.py": "",
            }
        )
    )
    assert (found.found, found.unknown) == ((), ())


def test_only_what_the_service_reaches_counts(
    code: MakeCode, installed: Callable[..., None]
) -> None:
    """What training needs lies beside the service and stays out."""
    for name in ("serving", "training", "deep"):
        installed(name, f"{name}.py")
    made = code(
        {
            "service.py": "from pkg import sub\nimport serving\n",
            "pkg/__init__.py": "",
            "pkg/sub.py": "def later():\n    import deep\n",
            "train.py": "import training\n",
        }
    )
    assert [one.name for one in imports_of(made).found] == ["deep", "serving"]
    assert service_modules(made) == ("pkg", "pkg.sub", "service")


def test_what_is_for_type_checkers_alone_does_not_count(code: MakeCode) -> None:
    text = (
        "from typing import TYPE_CHECKING\nimport typing\n"
        "if TYPE_CHECKING:\n    import nowhere\n"
        "if typing.TYPE_CHECKING:\n    import nowhere\nelse:\n    import elsewhere\n"
    )
    assert imports_of(code({"service.py": text})).unknown == ("elsewhere",)


def test_what_nothing_brings_is_said_once(code: MakeCode) -> None:
    text = "try:\n    import gone.a, gone.b\nexcept ImportError:\n    gone = None\n"
    assert imports_of(code({"service.py": text})).unknown == ("gone",)


def test_of_several_that_share_a_name_the_one_that_brings_the_module_is_taken(
    code: MakeCode, installed: Callable[..., None]
) -> None:
    installed("cloud-storage", "cloudy/storage/__init__.py")
    installed("cloud-compute", "cloudy/compute/__init__.py", "cloudy/compute/fast.cpython-311.so")
    for text, name in (
        ("from cloudy import storage", "cloud-storage"),
        ("import cloudy.storage.blob", "cloud-storage"),
        ("from cloudy.compute.fast import run", "cloud-compute"),
    ):
        assert [one.name for one in imports_of(code({"service.py": text})).found] == [name]


def test_a_package_that_was_installed_from_a_folder_is_known_by_it(
    code: MakeCode, installed: Callable[..., None], tmp_path: Path
) -> None:
    url = f'{{"url": "{(tmp_path / "my lib").as_uri()}", "dir_info": {{"editable": true}}}}'
    installed("my-lib", "mylib.py", direct_url=url)
    [only] = imports_of(code({"service.py": "import mylib"})).found
    assert only.folder == tmp_path / "my lib"


def test_nothing_of_it_is_run(code: MakeCode, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    text = f"import helper\nopen({str(canary)!r}, 'w')\n"
    made = code({"service.py": text, "helper.py": text, "broken.py": "def"})
    assert service_modules(made) == ("helper", "service")
    assert imports_of(made).unknown == ()
    assert not canary.exists()
