"""The base image that the direct builder builds on: opened, looked through once, and checked.

    --base, or the plan's ──open_image──► ReadImage ──layers──► Root ──► BaseFacts
                                             │                              │
                                             └── manifest's digest ──► $MODELPACK_CACHE/image/bases/

What is found is remembered under the digest of the base's manifest, so that building again reads
nothing of it.  Refused are a base for another platform, one without the Python of the lock, and one
with a C library that wheels were not built for: wheels of the tag ``manylinux_2_28`` need glibc 2.28
(PEP 600), and those are what the lock may bring.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from modelpack import paths
from modelpack.errors import BuildError, ModelpackError, NotFoundError, RefusedError
from modelpack.image.bases import PythonFrom
from modelpack.image.direct.base_layers import kept
from modelpack.image.direct.rootfs import Listing, Node, Root, read_layer
from modelpack.image.plan import ImagePlan
from modelpack.image.reading import ReadImage, ReadLayer, Where, open_image, parse_image
from modelpack.image.reference import full_name
from modelpack.manifest import canonical_json
from modelpack.progress import Progress
from modelpack.registry.counts import Counts

LEAST_GLIBC = (2, 28)
BASES = "'oci:DIR', 'oci-archive:FILE', 'docker-archive:FILE', 'engine:NAME' or 'HOST/NAME:TAG'"
"""What ``--base`` may be."""

_FORM = 1
"""Of the remembered facts; what has another one is looked through again."""
_USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON = re.compile(r"python(3\.\d{1,2})")
_DEB_FIELDS = ("Package", "Status", "Version", "Architecture")
_PLACES_HERE = (Where.LAYOUT, Where.LAYOUT_ARCHIVE, Where.DOCKER_ARCHIVE)
_SCANS = 2
"""Layers that are looked through at the same time."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A CPython of a base."""

    path: str
    """Of the file itself, no link, such as ``/usr/local/bin/python3.11``."""
    version: str | None
    """``X.Y.Z``; None when neither the base nor the file says it."""
    machine: str | None
    """Processor that it was built for, as the kernel names it."""


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """What the layers of a base hold, as far as it matters."""

    glibc: str | None
    """``X.Y``; None for another C library, or none."""
    pythons: Mapping[str, Interpreter]
    """Those on the base's PATH, by ``X.Y``."""
    system: Mapping[str, str]
    """``ID``, ``VERSION_ID`` and ``PRETTY_NAME`` of its ``os-release``."""
    packages: tuple[tuple[str, str, str], ...]
    """Debian packages: name, version, architecture."""


@dataclass(frozen=True, slots=True)
class OpenBase:
    """A base that fits a plan; its layers can be read while it is open."""

    image: ReadImage
    facts: BaseFacts
    python: Interpreter
    name: str | None
    """Under which others know it too; None for a file or folder of this machine."""

    @property
    def digest(self) -> str:
        """Of its manifest."""
        return self.image.document.blob.digest


@contextmanager
def open_base(
    plan: ImagePlan,
    base: str | None,
    *,
    insecure: bool,
    progress: Progress,
    counts: Counts | None = None,
) -> Iterator[OpenBase]:
    """Open the base of a plan, or ``base`` in its place; its layers can be read in the block.

    Raises RefusedError for one that does not fit, BuildError and NotFoundError for one that is not
    to be had, and what ``open_image`` raises.
    """
    if base is None and plan.base.python_from is not PythonFrom.BASE:
        raise BuildError(
            f"'{plan.base.image}' has no Python {plan.python}, and only an engine can install it",
            hint=f"give a base that has it with --base, as {BASES}",
        )
    reference = base or full_name(plan.base.image)
    with ExitStack() as stack:
        manager = open_image(
            reference, platform=plan.platform.name, insecure=insecure, counts=counts
        )
        image = _entered(stack, manager, reference, is_asked=base is not None)
        image = replace(image, layers=tuple(kept(layer, image.place) for layer in image.layers))
        facts = _facts(image, progress)
        python = _fitting(facts, plan, reference)
        yield OpenBase(image, facts, python, _public_name(reference))


def _entered(
    stack: ExitStack, manager: AbstractContextManager[ReadImage], reference: str, *, is_asked: bool
) -> ReadImage:
    """Open an image; where nobody asked for it by name, an error says what else a base can be."""
    try:
        return stack.enter_context(manager)
    except ModelpackError as cause:
        if is_asked:
            raise
        kind = NotFoundError if isinstance(cause, NotFoundError) else BuildError
        raise kind(
            f"the base '{reference}' is not to be had: {cause.message}",
            hint=f"give another with --base, as {BASES}",
        ) from cause


def _facts(image: ReadImage, progress: Progress) -> BaseFacts:
    """Return what a base holds: what is remembered of it, else what its layers say."""
    file = paths.cache_dir() / "image" / "bases" / f"{image.document.blob.hex}.json"
    known = _remembered(file)
    if known is None:
        with progress.step(f"look through the base {image.name}"):
            known = look_through(image)
        _remember(file, known)
    return known


def look_through(image: ReadImage) -> BaseFacts:
    """Read every layer of a base; raises DigestMismatchError, RefusedError for a damaged one."""

    def listed(layer: ReadLayer) -> Listing:
        return read_layer(layer.unpacked(), f"the layer '{layer.blob.digest[:19]}' of {image.name}")

    root = Root()
    with ThreadPoolExecutor(_SCANS, thread_name_prefix="base") as crew:
        for listing in crew.map(listed, image.layers):
            root.add(listing)
    env = dict(str(pair).partition("=")[::2] for pair in image.settings.get("Env") or ())
    libc = root.libc()
    return BaseFacts(
        glibc=libc.version if libc is not None else None,
        pythons=_pythons(root, env),
        system=_system(root),
        packages=_packages(root),
    )


def _pythons(root: Root, env: Mapping[str, str]) -> dict[str, Interpreter]:
    """Return the interpreters on PATH, the first of each version."""
    found: dict[str, Interpreter] = {}
    folders = (env.get("PATH") or _USUAL_PATH).split(":")
    said = env.get("PYTHON_VERSION", "")
    for folder in folders:
        for name in root.names(folder):
            match = _PYTHON.fullmatch(name)
            path = root.resolve(f"{folder}/{name}") if match else None
            node = root.node(path) if path else None
            if match is None or path is None or node is None or not node.is_executable:
                continue
            minor = match[1]
            version = said if said.startswith(f"{minor}.") else _version(root, node, minor)
            found.setdefault(minor, Interpreter(path, version, node.machine))
    return found


def _version(root: Root, node: Node, minor: str) -> str | None:
    """Return the version that an interpreter has inside, or the library that it is made of."""
    if node.version is not None:
        return node.version
    library = re.compile(rf"libpython{re.escape(minor)}\.so\.1\.0")
    return next((one.version for _, one in root.find(library) if one.version), None)


def _system(root: Root) -> dict[str, str]:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        node = root.node(path)
        if node is not None and node.text is not None:
            pairs = (line.partition("=")[::2] for line in node.text.splitlines())
            wanted = ("ID", "VERSION_ID", "PRETTY_NAME")
            return {key: value.strip("\"'") for key, value in pairs if key in wanted}
    return {}


def _packages(root: Root) -> tuple[tuple[str, str, str], ...]:
    """Return the Debian packages that are installed (deb-control(5), dpkg's status file)."""
    found = set()
    for text in root.texts("var/lib/dpkg"):
        for part in text.split("\n\n"):
            pairs = (line.partition(": ")[::2] for line in part.splitlines())
            said = {key: value.strip() for key, value in pairs if key in _DEB_FIELDS}
            if said.get("Status", "install ok installed").endswith(" installed") and (
                {"Package", "Version"} <= said.keys()
            ):
                found.add((said["Package"], said["Version"], said.get("Architecture", "")))
    return tuple(sorted(found))


def _fitting(facts: BaseFacts, plan: ImagePlan, reference: str) -> Interpreter:
    """Return the interpreter for a plan; raises RefusedError when the base has none that fits."""
    if facts.glibc is None or tuple(map(int, facts.glibc.split("."))) < LEAST_GLIBC:
        has = f"glibc {facts.glibc}" if facts.glibc else "no glibc (it may be Alpine, or empty)"
        raise RefusedError(
            f"the base '{reference}' has {has}, and wheels need 2.28 or later",
            hint="name a base made of Debian 10, Ubuntu 20.04, RHEL 8 or later",
        )
    python = facts.pythons.get(plan.python)
    if python is None and plan.program is not None:  # any will do to start and check a program
        python = next(iter(facts.pythons.values()), None)
    if python is None:
        has = ", ".join(f"Python {minor}" for minor in facts.pythons) or "no Python on its PATH"
        raise RefusedError(
            f"the base '{reference}' has {has}, and the bundle is locked for Python {plan.python}",
            hint=f"name a base with python{plan.python}, or build the bundle for the base's Python",
        )
    if python.machine not in (None, plan.platform.machine):
        raise RefusedError(
            f"'{python.path}' of the base '{reference}' is for {python.machine}, not for "
            f"{plan.platform.machine}",
            hint="the base says it is for another platform than it is: name another one",
        )
    return python


def _public_name(reference: str) -> str | None:
    """Return the name by which others can know a base; a path of this machine is none."""
    found = parse_image(reference)
    return None if found.where in _PLACES_HERE else found.name


def _remembered(file: Path) -> BaseFacts | None:
    try:
        value = json.loads(file.read_bytes())
        if value.pop("form") != _FORM:
            return None
        pythons = {minor: Interpreter(**one) for minor, one in value.pop("pythons").items()}
        packages = tuple(tuple(one) for one in value.pop("packages"))
        return BaseFacts(pythons=pythons, packages=packages, **value)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _remember(file: Path, facts: BaseFacts) -> None:
    """Keep what was found; where that cannot be, the base is looked through again."""
    data = canonical_json({"form": _FORM, **asdict(facts)})
    fresh = file.with_name(f".{secrets.token_hex(8)}")
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            fresh.write_bytes(data)
            fresh.replace(file)
        finally:
            fresh.unlink(missing_ok=True)
