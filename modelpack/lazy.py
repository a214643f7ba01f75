"""Lets a package offer names whose modules are loaded when a name is first used.

    __getattr__ = names_of(__name__, {"build_bundle": "modelpack.archive.builder"})

A command that reads one module of a package does not wait for all the others (numpy, the clients of
engines and registries).  The names stand in the package for type checkers as ordinary imports, under
``TYPE_CHECKING``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def names_of(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package; ``homes`` says which module each name is from."""

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
