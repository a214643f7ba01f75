"""Where things are kept.

    $MODELPACK_HOME, else $XDG_DATA_HOME/modelpack, else ~/.local/share/modelpack
        store/         models and bundles, an OCI image layout
        deployments/   what the local target remembers
        run/           notes and admin sockets of running servers
    $XDG_CONFIG_HOME/modelpack, else ~/.config/modelpack
        config.yaml    what the user sets for every project; only read
    $MODELPACK_CACHE, else $XDG_CACHE_HOME/modelpack, else ~/.cache/modelpack
        envs/          Python environments made from locks; safe to delete
        image/         layers that the direct builder has made, what it knows of bases

Nothing is created here; who writes makes the folder, with mode 0700.
"""

from __future__ import annotations

import os
from pathlib import Path


def home_dir() -> Path:
    """Return the folder that holds what must not be lost."""
    if set_home := os.environ.get("MODELPACK_HOME"):
        return Path(set_home).expanduser().absolute()
    return _xdg("XDG_DATA_HOME", ".local/share") / "modelpack"


def cache_dir() -> Path:
    """Return the folder that holds what can be made again."""
    if set_cache := os.environ.get("MODELPACK_CACHE"):
        return Path(set_cache).expanduser().absolute()
    return _xdg("XDG_CACHE_HOME", ".cache") / "modelpack"


def user_config_file() -> Path:
    """Return the file with what the user sets for every project."""
    return _xdg("XDG_CONFIG_HOME", ".config") / "modelpack" / "config.yaml"


def store_dir() -> Path:
    """Return the folder of the store."""
    return home_dir() / "store"


def deployments_dir() -> Path:
    """Return the folder of the deployment records."""
    return home_dir() / "deployments"


def run_dir() -> Path:
    """Return the folder for what running processes need."""
    return home_dir() / "run"


def bundle_dir() -> Path | None:
    """Return the bundle this process serves (``$MODELPACK_BUNDLE``), if it serves one."""
    root = os.environ.get("MODELPACK_BUNDLE")
    return Path(root).absolute() if root else None


def templates_dir() -> Path:
    """Return the templates, in a checkout (``templates/``) or in an installed wheel."""
    package = Path(__file__).parent
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"


def _xdg(variable: str, fallback: str) -> Path:
    value = os.environ.get(variable, "")
    # The specification says that relative paths are invalid and to be ignored.
    return Path(value) if value.startswith("/") else Path.home() / fallback
