"""What is published works outside of the checkout: built, installed, used."""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of the checkout, and the wheel made from that sdist alone."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("modelpack_cli-*-py3-none-any.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel, what it asks for, and nothing else."""
    venv = tmp_path_factory.mktemp("venv") / "venv"
    run(sys.executable, "-m", "venv", venv)
    run(venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-compile", wheel)
    return venv / "bin"


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    tracked = run("git", "ls-files", "modelpack", "templates", cwd=ROOT).splitlines()
    wanted = {name.replace("templates/", "modelpack/templates/", 1) if name.startswith("templates/")
              else name for name in tracked}  # fmt: skip

    assert len(wanted) > 50
    assert wanted - packed == set()


def test_nothing_but_the_package_is_in_the_wheel(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}

    assert {top.partition("-")[0] for top in tops} == {"modelpack", "modelpack_cli"}


def test_licence_is_named_as_pep_639_wants_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()

    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nLicense-File: LICENSE\n" in metadata


def test_installed_requirements_fit_together(installed: Path) -> None:
    assert "No broken requirements" in run(installed / "python", "-m", "pip", "check")


def test_command_says_its_version(installed: Path, tmp_path: Path) -> None:
    from modelpack import __version__

    assert __version__ in run(installed / "modelpack", "--version", cwd=tmp_path)
    assert __version__ in run(installed / "python", "-m", "modelpack", "--version", cwd=tmp_path)


@pytest.mark.parametrize("template", sorted(p.name for p in (ROOT / "templates/init").iterdir()))
def test_projects_are_made_from_every_template(
    installed: Path, tmp_path: Path, template: str
) -> None:
    run(installed / "modelpack", "init", "my-words", "--template", template, cwd=tmp_path)

    files = {path.name for path in (tmp_path / "my-words").iterdir()}
    assert files == {path.name for path in (ROOT / "templates/init" / template).iterdir()}
    assert "class MyWords:" in (tmp_path / "my-words" / "service.py").read_text()


def test_installed_server_has_its_page_and_answers(
    installed: Path, tmp_path: Path, serve: Callable[..., str]
) -> None:
    """The files of the API page are data, which a wheel can forget."""
    run(installed / "modelpack", "init", "words", "--template", "function", cwd=tmp_path)
    url = serve(cwd=tmp_path / "words", program=installed / "modelpack")

    answer = httpx.post(f"{url}/keywords", json={"text": "salt and salt water", "top": 1})
    page = httpx.get(f"{url}/docs")
    parts = re.findall(r'(?:src|href)="\.?/?(static/[^"]+)"', page.text)

    assert answer.json() == [{"word": "salt", "count": 2}]
    assert len(parts) >= 2
    for part in parts:
        found = httpx.get(f"{url}/{part}")
        assert (found.status_code, len(found.content) > 100) == (200, True), part


def run(*argv: object, cwd: Path | None = None) -> str:
    """Return what a program printed; fails with all it said when it failed."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
