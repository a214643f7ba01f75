"""Makes the wheel of the runtime: what of modelpack travels with a bundle.

    installed modules (base, config, sdk … client) ──► modelpack_runtime-X-py3-none-any.whl

It is made from whatever modelpack runs here, a checkout or an installed wheel, and is the same
byte for byte each time: entries sorted, stored, at one constant time.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import modelpack
from modelpack.errors import BuildError
from modelpack.manifest import RUNTIME_REQUIREMENTS
from modelpack.version import __version__

DISTRIBUTION = "modelpack-runtime"
_MODULES = (
    "__init__.py",
    "errors.py",
    "manifest.py",
    "paths.py",
    "progress.py",
    "py.typed",
    "tag.py",
    "version.py",
    "config/__init__.py",
    "config/deploying.py",
    "config/deploying.py",
    "config/serving.py",
    "config/settings.py",
)
_PACKAGES = ("sdk", "frameworks", "server", "client")
_ENTRY_POINTS = "modelpack.frameworks"


def write_runtime_wheel(folder: Path) -> Path:
    """Write the wheel into ``folder``, which must be there, and return its path."""
    path = folder / wheel_name()
    path.write_bytes(wheel_bytes())
    return path


def wheel_name() -> str:
    """Return the file name of the wheel."""
    return f"{_stem()}-py3-none-any.whl"


def wheel_bytes() -> bytes:
    """Return the wheel itself; raises BuildError when modelpack is not installed whole."""
    files = _sources() | _metadata()
    record = f"{_stem()}.dist-info/RECORD"
    files[record] = _record(files, record)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        # The metadata goes last, as the wheel specification recommends.
        for name in sorted(files, key=lambda name: (".dist-info/" in name, name == record, name)):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def _stem() -> str:
    return f"{DISTRIBUTION.replace('-', '_')}-{__version__}"


def _sources() -> dict[str, bytes]:
    root = Path(modelpack.__file__).parent
    wanted = [root / name for name in _MODULES]
    for package in _PACKAGES:
        wanted += [
            path
            for path in (root / package).rglob("*")
            if path.is_file() and not _is_litter(path.relative_to(root))
        ]
    try:
        return {
            f"modelpack/{path.relative_to(root).as_posix()}": path.read_bytes() for path in wanted
        }
    except OSError as cause:
        raise BuildError(
            f"modelpack is not installed whole: '{cause.filename}' cannot be read",
            hint="install it again",
        ) from cause


def _is_litter(path: Path) -> bool:
    """Say whether a file is what Python or an editor leaves in a checkout."""
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts) or (
        path.name.endswith(("~", ".orig", ".rej"))
    )


def _metadata() -> dict[str, bytes]:
    requirements = "".join(f"Requires-Dist: {line}\n" for line in RUNTIME_REQUIREMENTS)
    points = sorted(
        {
            f"{point.name} = {point.value}"
            for point in entry_points(group=_ENTRY_POINTS)
            if point.value.startswith("modelpack.frameworks.")
        }
    )
    if not points:
        raise BuildError(
            "modelpack is not installed whole: it lists no frameworks", hint="install it again"
        )
    info = f"{_stem()}.dist-info"
    texts = {
        "METADATA": (
            "Metadata-Version: 2.4\n"
            f"Name: {DISTRIBUTION}\n"
            f"Version: {__version__}\n"
            "Summary: What of modelpack travels with a bundle.\n"
            "License-Expression: Apache-2.0\n"
            "Requires-Python: >=3.11\n"
            f"{requirements}"
        ),
        "WHEEL": (
            "Wheel-Version: 1.0\nGenerator: modelpack\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
        "entry_points.txt": f"[{_ENTRY_POINTS}]\n" + "".join(f"{point}\n" for point in points),
        "top_level.txt": "modelpack\n",
    }
    return {f"{info}/{name}": text.encode() for name, text in texts.items()}


def _record(files: dict[str, bytes], record: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for name in sorted(files):
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=")
        writer.writerow([name, f"sha256={digest.decode()}", len(files[name])])
    writer.writerow([record, "", ""])
    return text.getvalue().encode()
