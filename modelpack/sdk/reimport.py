"""Imports the modules of a folder anew, while those that were there before still run.

    taken_out(folders) ─► sys.modules and sys.path without them ─► import the new ones
                                    └─ it failed, or is not wanted: .put_back()

What runs already keeps the modules that it holds; only what it would import later is looked up anew.
Installed libraries, Python's own modules, modelpack and compiled extensions stay, also when they lie
below one of the folders, as a virtual environment inside a project does.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import linecache
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

_OWN = Path(__file__).parent.parent


class TakenOut:
    """The modules that were taken out, so that they can be put back."""

    def __init__(self, folders: tuple[Path, ...], modules: dict[str, ModuleType]) -> None:
        self._folders = folders
        self._modules = modules
        self._path = list(sys.path)

    def put_back(self) -> None:
        """Forget what was imported since, and have the modules of before again."""
        for name in _modules_below(self._folders):
            del sys.modules[name]
        sys.modules.update(self._modules)
        sys.path[:] = self._path
        _forget_files()


def taken_out(folders: Iterable[Path]) -> TakenOut:
    """Take every module of the user's below the folders out; the next import reads its file."""
    roots = tuple(folder.absolute() for folder in folders)
    taken = TakenOut(roots, _modules_below(roots))
    for name in taken._modules:
        del sys.modules[name]
    gone = {str(root) for root in roots}
    sys.path[:] = [entry for entry in sys.path if entry not in gone]
    _forget_files()
    return taken


def _forget_files() -> None:
    """Let file listings and the lines shown in tracebacks be read again."""
    importlib.invalidate_caches()
    linecache.clearcache()


def _modules_below(roots: tuple[Path, ...]) -> dict[str, ModuleType]:
    fixed = [_OWN, *(Path(sysconfig.get_path(name)) for name in _LIBRARIES)]
    return {
        name: module
        for name, module in list(sys.modules.items())
        if name != "__main__" and _is_users(module, roots, fixed)
    }


_LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")
_COMPILED = tuple(importlib.machinery.EXTENSION_SUFFIXES)


def _is_users(module: ModuleType, roots: tuple[Path, ...], fixed: list[Path]) -> bool:
    """Say whether the module was read from below one of the folders."""
    file = getattr(module, "__file__", None)
    if file is None:  # a package without __init__.py has folders only
        places = [str(one) for one in getattr(module, "__path__", ())]
    else:
        places = [] if file.endswith(_COMPILED) else [file]
    for place in places:
        path = Path(place)
        if any(path.is_relative_to(root) for root in roots):
            return not any(path.is_relative_to(one) for one in fixed)
    return False
