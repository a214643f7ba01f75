"""Other applications below a path of a service.

    @modelpack.mount("/ui", app)          app: any ASGI application, such as one of FastAPI or Gradio
    @modelpack.service
    class Digits: ...

    mount ──► Mount(path, app) on the class ──service──► ServiceSpec.mounts

The two decorators may stand in either order.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelpack.errors import SignatureError

_MOUNTS = "__modelpack_mounts__"
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


@dataclass(frozen=True, slots=True)
class Mount:
    """An application and where it answers."""

    path: str
    """Answers on this path and everything below it; begins with ``/`` and ends without."""
    app: AsgiApp


def mounts_of(cls: type) -> tuple[Mount, ...]:
    """Return what is mounted on a class or one of its bases."""
    found: tuple[Mount, ...] = getattr(cls, _MOUNTS, ())
    return found


def add_mount(cls: type, path: str, app: AsgiApp, taken: Sequence[str] = ()) -> None:
    """Keep a mount on a class; raises SignatureError for what cannot be mounted.

    ``taken`` are the paths on which something else answers, as far as they are known.
    """
    where = f"{cls.__name__}: mount('{path}')"
    if not _PATH.fullmatch(path):
        raise SignatureError(f"{where}: no such path can be mounted on", hint="use one like '/ui'")
    if not callable(app) or isinstance(app, type):
        raise SignatureError(
            f"{where}: {type(app).__name__} is not an ASGI application",
            hint="give the application itself, as in app = FastAPI()",
        )
    mounts = (*mounts_of(cls), Mount(path, app))
    check_mounts(cls, mounts, taken)
    setattr(cls, _MOUNTS, mounts)


def check_mounts(cls: type, mounts: Sequence[Mount], taken: Sequence[str]) -> None:
    """Raise SignatureError when two things would answer on one path."""
    for number, one in enumerate(mounts):
        others = [*taken, *(other.path for other in mounts[:number])]
        for path in others:
            if path != "/" and (_is_below(path, one.path) or _is_below(one.path, path)):
                raise SignatureError(
                    f"{cls.__name__}: mount('{one.path}') and '{path}' are in each other's way",
                    hint="choose another path",
                )


def _is_below(path: str, parent: str) -> bool:
    return path == parent or path.startswith(parent + "/")
