"""Finds out what a service needs from what it imports, without running any of it.

    module of the service ──ast──► modules of the project that it reaches ──► what they import
        standard library, the project itself, modelpack   left out
        installed here                                    ──► the distribution that brings it
        not to be found                                   ──► said

Which distribution brings a module is known from those that are installed where the build runs.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

_OURS = ("modelpack", "modelpack-cli", "modelpack-runtime")


@dataclass(frozen=True, slots=True)
class Inferred:
    """A distribution that a service needs."""

    name: str
    """Normalised."""
    version: str
    """Of the one that is installed here."""
    modules: tuple[str, ...]
    """What the service imports of it, by the names that stand in the code."""
    folder: Path | None = None
    """Where it was installed from, when that is a folder of this machine."""


@dataclass(frozen=True, slots=True)
class Imports:
    """What a service imports."""

    found: tuple[Inferred, ...]
    unknown: tuple[str, ...]
    """Modules that nothing installed here brings."""


@dataclass(frozen=True, slots=True)
class Code:
    """The packed code of a service."""

    root: Path
    paths: tuple[str, ...]
    """Of the files that get into the bundle, below ``root``."""
    module: str
    """Dotted name of the module that the service is in."""


def service_modules(code: Code) -> tuple[str, ...]:
    """Return the modules of the project that the service's own reaches by imports, sorted."""
    return tuple(sorted(name for name, _ in _walk(code)))


def imports_of(code: Code) -> Imports:
    """Return what the service's module and those of the project that it reaches import from others."""
    own = {name.partition(".")[0] for name in _modules(code.paths)}
    names = {
        name
        for _, imported in _walk(code)
        for name in imported
        if (top := name.partition(".")[0]) not in own
        and top not in sys.stdlib_module_names
        and top not in _OURS
    }
    if not names:
        return Imports((), ())
    return _distributions_of(names)


def _walk(code: Code) -> Iterator[tuple[str, frozenset[str]]]:
    """Give each module that is reached, and the names that it imports."""
    known = _modules(code.paths)
    waiting = [code.module]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        # To import a.b runs a first.
        for part in _with_parents(name):
            if part in seen or part not in known:
                continue
            seen.add(part)
            imported = _imported(
                code.root / known[part], part, known[part].endswith("/__init__.py")
            )
            waiting += sorted(imported)
            yield part, imported


def _modules(paths: Iterable[str]) -> dict[str, str]:
    """Return the modules that files are, by their dotted names."""
    found = {}
    for path in sorted(paths):
        if path.endswith(".py"):
            parts = path.removesuffix(".py").split("/")
            if parts[-1] == "__init__" and len(parts) > 1:
                parts.pop()
            if all(part.isidentifier() for part in parts):
                found[".".join(parts)] = path
    return found


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


def _imported(file: Path, module: str, is_package: bool) -> frozenset[str]:
    """Return the dotted names that a file imports; ``from a import b`` gives ``a.b``."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return frozenset()  # the service was loaded, so this file is none that it needs
    package = module.split(".") if is_package else module.split(".")[:-1]
    names: set[str] = set()
    for node in _nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" if base else alias.name for alias in node.names}
    return frozenset(name.removesuffix(".*") for name in names)


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Give every node but those that only a type checker sees."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and _is_for_types(node.test):
            waiting += node.orelse
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


def _is_for_types(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _distributions_of(names: Iterable[str]) -> Imports:
    from importlib.metadata import packages_distributions

    brought_by = packages_distributions()
    modules: dict[str, set[str]] = {}
    unknown: set[str] = set()
    for name in sorted(names):
        top = name.partition(".")[0]
        candidates = sorted(set(brought_by.get(top, ())))
        chosen = candidates if len(candidates) < 2 else _nearest(name, candidates)
        if not chosen:
            unknown.add(top)
        for one in chosen:
            modules.setdefault(one, set()).add(name if len(candidates) > 1 else top)
    found = [_inferred(name, tuple(sorted(modules[name]))) for name in sorted(modules)]
    return Imports(tuple(one for one in found if one.name not in _OURS), tuple(sorted(unknown)))


def _nearest(name: str, candidates: Sequence[str]) -> list[str]:
    """Return which of the distributions that share a name at the top bring this module.

    Those with the longest part of its dotted name: ``google.cloud.storage`` is of one of many.
    """
    depths = {one: _depth(name, _files_of(one)) for one in candidates}
    deepest = max(depths.values())
    return [one for one in candidates if depths[one] == deepest]


def _files_of(name: str) -> frozenset[str]:
    try:
        return frozenset(str(file) for file in distribution(name).files or ())
    except PackageNotFoundError:
        return frozenset()


def _depth(name: str, files: frozenset[str]) -> int:
    parents = _with_parents(name)
    for depth in range(len(parents), 0, -1):
        place = parents[depth - 1].replace(".", "/")
        ends = (".py", "/__init__.py")
        if any(f"{place}{end}" in files for end in ends) or any(
            file.startswith(f"{place}.") and file.endswith(".so") for file in files
        ):
            return depth
    return 0


def _inferred(name: str, modules: tuple[str, ...]) -> Inferred:
    from packaging.utils import canonicalize_name

    found = distribution(name)
    return Inferred(canonicalize_name(found.name), found.version, modules, _folder_of(found))


def _folder_of(found: Distribution) -> Path | None:
    """Return the folder that a distribution was installed from; None for one from an index."""
    text = found.read_text("direct_url.json")
    if not text:
        return None
    said = json.loads(text)
    url = urlsplit(str(said.get("url", "")))
    if "dir_info" not in said or url.scheme != "file":
        return None
    return Path(unquote(url.path))
