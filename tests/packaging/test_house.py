"""Promises of the repository itself that no other test keeps."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

import modelpack
from modelpack.manifest import GRPC_REQUIREMENTS, REDIS_REQUIREMENTS, RUNTIME_REQUIREMENTS

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
    wrong = re.compile(
        r"\b(pip|uv|pipx|uvx)\b[^\n]* (install|add|run)\b[^\n]*\bmodelpack(?!-)\b(?!\.)"
    )
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
    pages += [*ROOT.glob("templates/init/**/*"), *ROOT.glob("modelpack/**/*.py")]

    found = [
        f"{page.relative_to(ROOT)}: {match.group()}"
        for page in pages
        if page.is_file()
        for match in wrong.finditer(page.read_text())
    ]
    assert found == []


PART_OF = {
    "pydantic-core": "pydantic",
    "requests": "docker",
    "certifi": "httpx",
    # several distributions share one package: which of them is met first is chance
    "opentelemetry-api": "opentelemetry-sdk",
    "opentelemetry-semantic-conventions": "opentelemetry-sdk",
}
"""Libraries whose classes are part of what another one shows."""

BROUGHT_BY_MODELS = {"onnxruntime", "joblib", "scikit-learn", "pillow", "opentelemetry-sdk"}
"""What a service or its model lists among its own requirements."""


def libraries_of(*folders: str) -> set[str]:
    """Return the distributions that the modules in these folders of the package import."""
    homes = packages_distributions()
    found = set()
    for folder in folders:
        for path in (ROOT / "modelpack" / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                found |= {name.partition(".")[0] for name in names}
    foreign = found - set(sys.stdlib_module_names) - {"modelpack"}
    homes["google"] = ["protobuf"]  # many share that package; its plugins alone use the others
    return {homes[name][0].lower().replace("_", "-") for name in foreign}


def names_of(requirements: Iterable[str]) -> set[str]:
    return {Requirement(text).name.lower().replace("_", "-") for text in requirements}


def test_every_library_that_is_imported_is_asked_for() -> None:
    """A library that only comes along with another one goes away with it."""
    optional = [text for extra in PROJECT["optional-dependencies"].values() for text in extra]
    asked = names_of([*PROJECT["dependencies"], *optional])

    assert libraries_of(".") - {part for part, whole in PART_OF.items() if whole in asked} <= asked


def test_every_library_of_the_runtime_gets_into_the_image() -> None:
    used = libraries_of("sdk", "frameworks", "server")

    wholes = {PART_OF.get(name, name) for name in used}
    asked_for = names_of([*GRPC_REQUIREMENTS, *REDIS_REQUIREMENTS])  # by the settings of a bundle
    assert wholes - BROUGHT_BY_MODELS - asked_for == names_of(RUNTIME_REQUIREMENTS)
