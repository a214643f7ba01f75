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
import importlib.util
import linecache
import os
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
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
    for root in roots:
        drop_stale_bytecode(root)
    gone = {str(root) for root in roots}
    sys.path[:] = [entry for entry in sys.path if entry not in gone]
    _forget_files()
    return taken


def drop_stale_bytecode(folder: Path) -> None:
    """Remove cached bytecode below the folder that is older than its source.

    Python looks at the size of the source and the second of its last change: one that is written
    again within a second, as long as before, would be taken from the bytecode of the former text.
    """
    for place, folders, files in os.walk(folder):
        folders[:] = [one for one in folders if not one.startswith(".")]
        if "pyvenv.cfg" in files:
            folders.clear()
        for file in files if place.endswith("__pycache__") else ():
            cached = Path(place, file)
            with suppress(OSError, ValueError):
                source = Path(importlib.util.source_from_cache(str(cached)))
                if source.stat().st_mtime_ns >= cached.stat().st_mtime_ns:
                    cached.unlink()


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
