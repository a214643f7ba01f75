"""What the distribution says of itself is there."""

from __future__ import annotations

import ast
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

from modelpack.deploy import Target
from modelpack.deploy.catalog import GROUP, Catalog

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ALLOWED = ("modelpack.deploy", "modelpack.errors", "modelpack.progress")


def test_every_target_is_found_by_its_entry_point() -> None:
    points = [
        EntryPoint(name, value, GROUP) for name, value in PROJECT["entry-points"][GROUP].items()
    ]
    catalog = Catalog.of(points)
    assert catalog.problems == ()
    for point in points:
        found = catalog.load(point.name)
        assert issubclass(found, Target)
        assert found.name == point.name


def test_the_plugin_stands_on_the_deploy_layer_alone() -> None:
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                is_core = name == "modelpack" or name.startswith("modelpack.")
                assert not is_core or name.startswith(ALLOWED), f"{file.name}: {name}"
