"""Finds a service by its import string, ``module:Class``.

Three failures that look alike to Python are told apart, since each needs another mend:
no such module (ModuleMissingError), the module itself failed (UserCodeError, with the user's error
chained), and no such attribute (AttributeMissingError).
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from modelpack.errors import (
    AttributeMissingError,
    ModuleMissingError,
    UsageError,
    UserCodeError,
    did_you_mean,
)
from modelpack.sdk.service import ServiceSpec, is_service, spec_of

DEFAULT_MODULE = "service"


def load_import_string(text: str, root: Path) -> ServiceSpec:
    """Return the service that ``module:Class`` (or ``module`` with one service) names in ``root``.

    Raises UsageError, ModuleMissingError, AttributeMissingError or UserCodeError.
    """
    module_name, colon, attribute = text.partition(":")
    parts = module_name.split(".")
    if not all(part.isidentifier() for part in parts) or (colon and not attribute.isidentifier()):
        raise UsageError(
            f"'{text}' is not an import string",
            hint="write module:Class, such as 'service:Digits'",
        )
    module = import_module(module_name, root)
    return _named(module, attribute) if colon else _only(module)


def find_service(root: Path) -> ServiceSpec:
    """Return the one service of ``root/service.py``; raises as ``load_import_string`` does."""
    if not (root / f"{DEFAULT_MODULE}.py").is_file() and not (root / DEFAULT_MODULE).is_dir():
        raise ModuleMissingError(
            f"no service in '{root}': there is no {DEFAULT_MODULE}.py",
            hint="name it in modelpack.yaml (service: module:Class), or run 'modelpack init NAME'",
        )
    return _only(import_module(DEFAULT_MODULE, root))


def import_module(name: str, root: Path) -> ModuleType:
    """Import a module of the user's from ``root``, which goes first on the path."""
    root = root.absolute()
    _forget_others(name, root)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as cause:
        if cause.name is not None and (name == cause.name or name.startswith(f"{cause.name}.")):
            near = did_you_mean(name, _modules(root))
            raise ModuleMissingError(
                f"no module '{name}' in '{root}'",
                hint=f"did you mean '{near}'?" if near else "check 'service:' in modelpack.yaml",
            ) from cause
        raise UserCodeError(
            f"'{name}' needs the module '{cause.name}', which is not installed",
            hint="install it, and list it under 'requirements:' in modelpack.yaml",
        ) from cause
    except UsageError:
        raise  # a decorator of ours found a mistake and says it better
    except (Exception, SystemExit) as cause:
        place = ""
        if isinstance(cause, SyntaxError):
            place = f" ({Path(cause.filename or name).name}, line {cause.lineno})"
        said = cause.msg if isinstance(cause, SyntaxError) else cause
        raise UserCodeError(
            f"'{name}' failed as it was imported: {type(cause).__name__}: {said}{place}",
            hint="run again with -v to see where",
        ) from cause


def _named(module: ModuleType, attribute: str) -> ServiceSpec:
    if not hasattr(module, attribute):
        names = [name for name in vars(module) if not name.startswith("_")]
        near = did_you_mean(attribute, names)
        raise AttributeMissingError(
            f"'{module.__name__}' has no '{attribute}'",
            hint=f"did you mean '{near}'?" if near else f"it has {_list(_services(module))}",
        )
    return spec_of(getattr(module, attribute))


def _only(module: ModuleType) -> ServiceSpec:
    services = _services(module)
    if len(services) != 1:
        raise AttributeMissingError(
            f"'{module.__name__}' has {_list(services)}, and one service is wanted",
            hint="put @modelpack.service above the class"
            if not services
            else f"name the one you mean: '{module.__name__}:{services[0]}'",
        )
    return spec_of(getattr(module, services[0]))


def _services(module: ModuleType) -> list[str]:
    return [
        name
        for name, thing in vars(module).items()
        if is_service(thing) and thing.__module__ == module.__name__
    ]


def _list(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "no service"


def _modules(root: Path) -> list[str]:
    if not root.is_dir():
        return []
    files = [path.stem for path in root.glob("*.py")]
    return files + [path.parent.name for path in root.glob("*/__init__.py")]


def _forget_others(name: str, root: Path) -> None:
    """Drop a module of the same name that another project left in this process."""
    top = name.partition(".")[0]
    loaded = sys.modules.get(top)
    places = list(getattr(loaded, "__path__", None) or [getattr(loaded, "__file__", None)])
    is_ours = any(place and Path(place).is_relative_to(root) for place in places)
    # Only names that this root would answer: a library of that name is left alone.
    if loaded is None or is_ours or not any((root / f).exists() for f in (f"{top}.py", top)):
        return
    for other in [one for one in sys.modules if one == top or one.startswith(f"{top}.")]:
        del sys.modules[other]
    sys.path[:] = [str(root), *(p for p in sys.path if p != str(root))]
