"""Promises of the repository itself that no other test keeps."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

import modelpack
from modelpack.manifest import RUNTIME_REQUIREMENTS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_no_module_is_longer_than_400_lines() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for folder in ("modelpack", "plugins", "scripts", "examples")
        for path in (ROOT / folder).rglob("*.py")
    }

    assert len(lengths) > 50
    assert {path: count for path, count in lengths.items() if count > 400} == {}


def test_images_are_given_what_the_distribution_asks_for() -> None:
    """The runtime's requirements stand in two places; the marker is moot in a Linux image."""
    asked = {req.name: req.specifier for req in map(Requirement, PROJECT["dependencies"])}

    for requirement in map(Requirement, RUNTIME_REQUIREMENTS):
        assert asked[requirement.name] == requirement.specifier, requirement.name


def test_every_public_name_can_be_imported() -> None:
    for name in modelpack.__all__:
        assert getattr(modelpack, name) is not None
    assert set(dir(modelpack)) == set(modelpack.__all__)


def test_changelog_has_an_unreleased_part_with_known_headings() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^### (.+)$", text, flags=re.MULTILINE)

    assert "## [Unreleased]" in text
    assert headings
    assert set(headings) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_nobody_is_told_to_install_the_other_distribution() -> None:
    """``modelpack`` on the package index is somebody else's."""
    wrong = re.compile(r"(pip|uv|pipx|uvx)[^\n]* (install|add|run)[^\n]*\bmodelpack(?!-)\b(?!\.)")
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
    pages += [*ROOT.glob("templates/init/**/*"), *ROOT.glob("modelpack/**/*.py")]

    found = [
        f"{page.relative_to(ROOT)}: {match.group()}"
        for page in pages
        if page.is_file()
        for match in wrong.finditer(page.read_text())
    ]
    assert found == []
