"""The last of the made layers: the environment itself, and the server in it.

    runtime wheel ──► bundle/venv/lib/pythonX.Y/site-packages/modelpack, and its metadata
    place of Python ─► bundle/venv/pyvenv.cfg, bundle/venv/bin/python ──► the base's interpreter

CPython finds its standard library through ``home`` of pyvenv.cfg, so it need not know that the link
is one; https://docs.python.org/3/library/venv.html.  Started with ``-I`` it sees nothing else.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath

from modelpack.archive.runtime_wheel import wheel_bytes
from modelpack.errors import UsageError
from modelpack.image.direct.layer import Part
from modelpack.image.direct.normalising import VENV
from modelpack.store.names import shown


@dataclass(frozen=True, slots=True)
class PythonPlace:
    """The interpreter of a base."""

    path: str
    """Whole, with no link in it: ``/usr/local/bin/python3.11``."""
    version: str | None
    """``X.Y.Z``; None when the base does not say."""


def environment_parts(place: PythonPlace, python: str) -> list[Part]:
    """Return what makes a folder an environment for Python ``X.Y``; raises UsageError."""
    path = PurePosixPath(place.path)
    if not path.is_absolute() or ".." in path.parts or not place.path.isprintable():
        raise UsageError(
            f"'{shown(place.path)}' is not the place of an interpreter",
            hint="name a base whose Python has a whole path",
        )
    config = (
        f"home = {path.parent}\n"
        "include-system-site-packages = false\n"
        f"version = {place.version or python}\n"
    )
    return [
        Part.of_bytes(f"{VENV}/pyvenv.cfg", config.encode()),
        Part.of_link(f"{VENV}/bin/python", place.path),
    ]


def server_parts(python: str, wheel: bytes | None = None) -> list[Part]:
    """Return the files of the server's wheel, as they are installed for Python ``X.Y``."""
    site = f"{VENV}/lib/python{python}/site-packages"
    with zipfile.ZipFile(io.BytesIO(wheel or wheel_bytes())) as archive:
        return [
            Part.of_bytes(f"{site}/{member.filename}", archive.read(member))
            for member in archive.infolist()
        ]
