"""The two packages that a cluster gets, and how they get there.

    bundle ──zip──► …-b-HEX.zip    named by the bundle's digest: sent once, whoever deploys it
    node code + runtime wheel ──► …-n-HEX.zip    named by its content: a new modelpack sends kilobytes

    dashboard   PUT /api/packages/gcs/NAME: the cluster keeps it in the memory of its head node
    folder      a file in a folder that every node sees under the same path: file:///FOLDER/NAME
    URL         somebody else's storage (https, s3, gs): what lies there is taken as it is

A replica's working directory is the first one, ``modelpack_ray_node`` of the second one its code.
The same input gives the same bytes: entries sorted, at one constant time.

Sources: Ray's documentation, "Environment Dependencies" (Remote URIs: a zip there has one folder at its
top); Ray's ``dashboard/modules/job/job_head.py`` (``/api/packages``) and ``dashboard/consts.py`` (100 MiB
for a request to the dashboard), ``_private/runtime_env/agent/runtime_env_consts.py`` (ten minutes).
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import secrets
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from modelpack.deploy import DeploymentSpec
from modelpack.deploy.shipping import Shipment, runtime_wheel, shipment
from modelpack.errors import DeployError, UsageError

NODE_PACKAGE = "modelpack_ray_node"
PACKAGE = "_ray_pkg_modelpack_"
"""Begins the names of packages; Ray wants the first two words."""
MOST_BYTES = 100 << 20
"""Largest package that a dashboard takes."""

PUT_THERE = "put there what '--output DIR' writes into DIR/packages"
"""What to do about a package that is missing in somebody else's storage."""

_ABSENT = (404, 410)
_ASK_S = 10.0
_TOP = "package"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_SCHEMES = ("https://", "s3://", "gs://")
_LAYOUT = b"1"

Pack = Callable[[DeploymentSpec], bytes]
"""Makes the package of a spec's bundle; ``package_of``, but for tests."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of both packages of a spec."""

    bundle: str
    node: str


@dataclass(frozen=True, slots=True)
class Storage:
    """Where the packages lie."""

    place: str | None = None
    """A folder, or the beginning of a URL; None: the cluster itself."""

    def __post_init__(self) -> None:
        if self.place is None or self.place.startswith("/"):
            return
        if not self.place.startswith(_SCHEMES):
            raise UsageError(
                f"'packages' is no place for packages: '{self.place}'",
                hint="a folder that all nodes see, such as /shared/modelpack, "
                f"or a URL with {', '.join(_SCHEMES)}",
            )

    @property
    def is_cluster(self) -> bool:
        """True when the cluster keeps them, as long as something runs from them."""
        return self.place is None

    @property
    def folder(self) -> Path | None:
        """The shared folder, if it is one."""
        return Path(self.place) if self.place is not None and self.place[0] == "/" else None

    def uri(self, name: str) -> str:
        """Return what a ``runtime_env`` says for a package."""
        if self.place is None:
            return f"gcs://{name}"
        where = self.place.rstrip("/")
        return f"file://{where}/{name}" if where.startswith("/") else f"{where}/{name}"


def names_of(spec: DeploymentSpec) -> Names:
    """Return how the packages of a spec are named; nothing is read of the bundle."""
    bundle = hashlib.sha256(spec.digest.encode() + _LAYOUT).hexdigest()[:32]
    node = hashlib.sha256(node_package()).hexdigest()[:32]
    return Names(f"{PACKAGE}b_{bundle}.zip", f"{PACKAGE}n_{node}.zip")


@cache
def node_package() -> bytes:
    """Return the package with what runs on the nodes."""
    name, wheel = runtime_wheel()
    here = Path(__file__).parent / "node"
    files = {f"{NODE_PACKAGE}/{one.name}": one.read_bytes() for one in here.glob("*.py")}
    return _zipped(files | {f"{NODE_PACKAGE}/runtime/{name}": wheel}, compress=False)


def bundle_package(given: Shipment) -> bytes:
    """Return the package with the bundle."""
    ship = {"python": given.python, "arguments": list(given.arguments)}
    files = {"ship.json": json.dumps(ship, sort_keys=True).encode()}
    return _zipped(files | dict(_files(given.folder)))


def write_package(folder: Path, name: str, data: bytes) -> None:
    """Write a package into a shared folder, whole or not at all; raises DeployError."""
    staged = folder / f".{name}.{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staged.write_bytes(under_one_folder(data))
        staged.chmod(0o644)  # Ray may run as somebody else
        staged.replace(folder / name)
    except OSError as cause:
        with suppress(OSError):
            staged.unlink()
        raise DeployError(
            f"cannot write the package into '{folder}': {cause.strerror or cause}",
            hint="'--option packages=' names a folder that you may write and every node may read",
        ) from cause


def require_package(storage: Storage, name: str) -> None:
    """Raise DeployError when somebody else's storage says that it does not have a package.

    Asked before Ray is, whose nodes remember for ten minutes what they could not get.  Only https is
    asked, and one that does not answer us may still answer the nodes.
    """
    uri = storage.uri(name)
    if not uri.startswith("https://"):
        return
    headers = {"user-agent": "modelpack"}
    request = urllib.request.Request(uri, method="HEAD", headers=headers)  # noqa: S310  https
    try:
        urllib.request.urlopen(request, timeout=_ASK_S).close()  # noqa: S310
    except urllib.error.HTTPError as cause:
        with cause:
            if cause.code not in _ABSENT:
                return
            raise DeployError(f"there is no package at '{uri}'", hint=PUT_THERE) from cause
    except (OSError, http.client.HTTPException):
        return


def check_size(data: bytes) -> None:
    """Raise DeployError for a package that a dashboard does not take."""
    if len(data) > MOST_BYTES:
        raise DeployError(
            f"the package of the bundle has {len(data) >> 20} MiB, a Ray dashboard takes "
            f"{MOST_BYTES >> 20}",
            hint="let '--option packages=/FOLDER' name a folder that every node sees",
        )


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            file = Path(parent, name)
            yield f"bundle/{file.relative_to(folder).as_posix()}", file.read_bytes()


def _zipped(files: dict[str, bytes], *, compress: bool = True) -> bytes:
    stream = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for path, data in sorted(files.items()):
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.compress_type = kind
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return stream.getvalue()


def under_one_folder(data: bytes) -> bytes:
    """Return a package as Ray wants it from a remote place: all of it below one folder."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return _zipped({f"{_TOP}/{name}": archive.read(name) for name in archive.namelist()})


def package_of(spec: DeploymentSpec) -> bytes:
    """Return the package of the spec's bundle; raises as ``shipping.shipment``."""
    with shipment(spec) as given:
        return bundle_package(given)
