"""Where a model comes from: its library, and the distributions that must be there to load it.

    is_a(model, "xgboost", "Booster")     by the names of its classes; imports nothing
    library("xgboost")                    the module itself, imported where it is needed
    pinned("xgboost", "numpy")            import names ──► ("xgboost-cpu==3.1.1", "numpy==2.4.6")
    pins_of(model)                        every library that a pickle of the model would refer to

What is pinned is the distribution that is installed here: ``xgboost-cpu`` is not replaced by
``xgboost``.  A distribution that did not come from an index (an editable checkout) is left out, since
nobody else could install it by that name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module, metadata
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[^\]]*\])?\s*([<>=!~][^@/\\]*)?")
_NOT_PINNED = frozenset({"modelpack", *sys.stdlib_module_names})


def library(module: str) -> Any:
    """Import a framework, now that it is needed; raises ModuleNotFoundError.

    Who saves or loads turns that into an error that names what to install.
    """
    return import_module(module)


def is_a(model: object, module: str, *names: str) -> bool:
    """Say whether a class of the library with one of the ``names`` is a base of the model's."""
    return base_of(model, module, *names) is not None


def base_of(model: object, module: str, *names: str) -> type | None:
    """Return the most derived class of the library that has one of the ``names``, or None."""
    for base in type(model).__mro__:
        if base.__name__ in names and base.__module__.partition(".")[0] == module:
            return base
    return None


def pinned(*modules: str) -> tuple[str, ...]:
    """Return requirements for the distributions that hold these modules, sorted, each once.

    Modules are top-level import names; those of the standard library, and those that belong to no
    distribution, are passed over.
    """
    wanted = {module for module in modules if module not in _NOT_PINNED}
    homes = metadata.packages_distributions() if wanted else {}
    names = {name for module in wanted for name in _homes_of(module, homes.get(module, ()))}
    return tuple(sorted(filter(None, map(_pin, names))))


def pins_of(model: object) -> tuple[str, ...]:
    """Return requirements for every library whose classes and functions the model is made of.

    The model is pickled into nothing to see them; large arrays are not copied for it.  Raises what
    pickling raises.
    """
    return pinned(*{name.partition(".")[0] for name in _modules_in(model)})


def plain_requirements(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines that name a distribution and versions; options, paths and URLs are left out."""
    for line in lines:
        text = line.partition("#")[0].strip()
        if _PLAIN.fullmatch(text):
            yield text.replace(" ", "")


def requirement_name(line: str) -> str:
    """Return the name that a plain requirement begins with, in the form of an index."""
    return re.split(r"[\s\[<>=!~;]", line, maxsplit=1)[0].lower().replace("_", "-")


def _modules_in(model: object) -> set[str]:
    import cloudpickle

    found: set[str] = set()

    class Watching(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        def persistent_id(self, value: Any) -> None:
            found.add(_module_of(value))

    Watching(_Nowhere(), protocol=5, buffer_callback=lambda _: False).dump(model)
    return found


def _module_of(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__
    owner = value if isinstance(value, type | FunctionType | BuiltinFunctionType) else type(value)
    return str(getattr(owner, "__module__", None) or "builtins")


class _Nowhere:
    """A file that forgets what is written."""

    def write(self, data: Any) -> int:
        return len(data)


def _homes_of(module: str, distributions: Iterable[str]) -> Iterator[str]:
    """Choose among distributions that share a top-level name, such as ``google``."""
    homes = sorted(set(distributions))
    if len(homes) < 2:
        yield from homes
    elif module in homes:
        yield module
    else:
        yield from (name for name in homes if _is_loaded(module, name))


def _is_loaded(module: str, distribution: str) -> bool:
    """Say whether this process has loaded a module of the distribution below ``module``."""
    paths = (str(path) for path in metadata.files(distribution) or ())
    inside = (path for path in paths if path.startswith(f"{module}/") and path.endswith(".py"))
    return any(
        path.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".") in sys.modules
        for path in inside
    )


def _pin(name: str) -> str | None:
    found = metadata.distribution(name)
    if found.read_text("direct_url.json") is not None:
        return None
    # A local part ("2.13.0+cpu") is the builder's own; the index has the release.
    return f"{name.lower().replace('_', '-')}=={found.version.partition('+')[0]}"
