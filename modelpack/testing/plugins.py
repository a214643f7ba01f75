"""What the distribution of a target plugin must keep, read from its project folder.

    ROOT/pyproject.toml ──finds_every_target──► each entry point loads a target of its name
    ROOT/src/**/*.py ──stands_on_the_deploy_layer──► of modelpack, only what plugins may import

    @pytest.mark.parametrize("claim", PLUGIN_CLAIMS, ids=lambda claim: claim.__name__)
    def test_plugin(claim):
        claim(Path(__file__).parents[1])

A plugin that imports more of modelpack than that breaks with any release of it.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

from modelpack.deploy.catalog import GROUP, Catalog
from modelpack.deploy.plugin import Target
from modelpack.errors import ModelpackError
from modelpack.testing.case import TargetContractError, expect

ALLOWED = ("modelpack.deploy", "modelpack.errors", "modelpack.progress")
"""Packages of modelpack that a plugin may import, with what is in them."""


def finds_every_target(root: Path) -> None:
    """Raise TargetContractError unless each entry point leads to a target of that name."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    named = project.get("entry-points", {}).get(GROUP, {})
    expect(bool(named), f"'{root.name}' has no entry point in '{GROUP}'")
    points = [EntryPoint(name, value, GROUP) for name, value in named.items()]
    catalog = Catalog.of(points)
    expect(not catalog.problems, "; ".join(catalog.problems))
    for point in points:
        try:
            found = catalog.load(point.name)
        except ModelpackError as error:
            raise TargetContractError(error.message) from error
        expect(issubclass(found, Target), f"'{point.value}' is no target")
        expect(found.name == point.name, f"'{point.name}' leads to the target '{found.name}'")


def stands_on_the_deploy_layer(root: Path) -> None:
    """Raise TargetContractError for an import of modelpack beyond ``ALLOWED``."""
    files = sorted((root / "src").rglob("*.py"))
    expect(bool(files), f"'{root.name}' has no code below 'src'")
    for file in files:
        for name in _imported(ast.parse(file.read_text())):
            is_core = name.partition(".")[0] == "modelpack"
            is_allowed = any(name == one or name.startswith(f"{one}.") for one in ALLOWED)
            if is_core and not is_allowed:
                raise TargetContractError(f"{file.name} imports '{name}'")


PLUGIN_CLAIMS: tuple[Callable[[Path], None], ...] = (finds_every_target, stands_on_the_deploy_layer)
"""All that a distribution must keep."""


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yield the modules that a file imports, inside of functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
