"""Says which instructions a plan makes, in the order that keeps rebuilds and pushes small.

    base ─► Python ─► system packages ─► dependencies ─► models ─► code ─► settings
    changes least ─────────────────────────────────────────────► changes most

A code change leaves every layer before it alone; weights stand before code, so that they are
uploaded once.  Where the bundle brings packages, dependencies are installed in a stage of their
own.  The context's files are those of ``context``.

Without ``mounts`` every builder understands the file.  With them the command that installs packages
is lent a cache and the login of an index, of which nothing stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modelpack.archive.local_wheels import WHEELS_FOLDER
from modelpack.image import instructions as dockerfile
from modelpack.image.bases import PythonFrom
from modelpack.image.instructions import Instruction
from modelpack.image.plan import BUNDLE_ROOT, VENV_PYTHON, ImagePlan
from modelpack.manifest import BUNDLE_FILE, LOCK_FILE
from modelpack.version import __version__

HEADING = "Written by modelpack"
INDEX_ARGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
"""Variables that tell pip where packages are; never with a password, history would keep it."""

PIP_CONF = "pip.conf"
NETRC = "netrc"
_SECRET_VARIABLES = {PIP_CONF: "PIP_CONFIG_FILE", NETRC: "NETRC"}

_PYTHON_STAGE = "python"
_PACKAGES_STAGE = "packages"
_PIP = "/tmp/pip"  # noqa: S108 - a path in the image, not here
_PIP_CACHE = "/root/.cache/pip"
_SECRETS = "/run/secrets"
_WHEELS = "/tmp/wheels/"  # noqa: S108
_IMPORTS = "import modelpack.frameworks.bundled, modelpack.server.life.lifecycle"
_NO_PINS = (
    "DL3008",
    "No versions: a distribution keeps only its newest, so a pin would break this file.",
)


@dataclass(frozen=True, slots=True)
class Mounts:
    """What the command that installs packages is lent while it runs."""

    has_cache: bool = False
    """True: what pip downloads is kept by the builder for the next build."""
    secrets: tuple[str, ...] = ()
    """Ids of secrets: ``PIP_CONF``, ``NETRC``."""


NO_MOUNTS = Mounts()


def render_dockerfile(plan: ImagePlan, mounts: Mounts = NO_MOUNTS) -> str:
    """Return the Dockerfile of a plan; the same plan gives the same text."""
    heading = [
        f"{HEADING} {__version__} for {plan.entry.tag}.",
        f"Bundle: {plan.entry.digest}",
        f"Base: {plan.base.reason}.",
    ]
    return dockerfile.render(list(instructions_of(plan, mounts)), heading)


def instructions_of(plan: ImagePlan, mounts: Mounts = NO_MOUNTS) -> Iterator[Instruction]:
    """Give the instructions of a plan; the notes are what its progress shows."""
    base = plan.base
    if base.python_from is PythonFrom.COPY and base.python_image is not None:
        yield dockerfile.from_image(
            base.python_image, stage=_PYTHON_STAGE, note=f"Python {plan.python} comes from here"
        )
    if plan.has_wheels and plan.program is None:
        # Wheels are only installed from: they stay behind in a stage of their own.
        yield dockerfile.from_image(
            base.image, stage=_PACKAGES_STAGE, note="packages that the bundle brings"
        )
        yield from _system(plan)
        yield from _dependencies(plan, mounts)
    yield dockerfile.from_image(base.image, note=f"base {base.image}")
    yield from _system(plan)
    if plan.program is not None:  # it needs no package, and no server of ours
        yield from _starter(plan)
    elif plan.has_wheels:
        installed = f"{BUNDLE_ROOT}/venv"
        yield dockerfile.copy(LOCK_FILE, to=f"{BUNDLE_ROOT}/", note="what is installed")
        yield dockerfile.copy(f"{installed}/", to=f"{installed}/", from_stage=_PACKAGES_STAGE)
    else:
        yield from _dependencies(plan, mounts)
    yield from _files(plan)
    yield from _settings(plan)


def _system(plan: ImagePlan) -> Iterator[Instruction]:
    base = plan.base
    if base.system_packages:
        yield _apt_install(base.system_packages, note=f"system packages for Python {plan.python}")
    if base.python_from is PythonFrom.COPY:
        yield dockerfile.copy(
            "/usr/local/",
            to="/usr/local/",
            from_stage=_PYTHON_STAGE,
            note=f"Python {plan.python}, built for an older glibc than the base has",
        )
        yield dockerfile.run(
            ["ldconfig"],
            [f"python{plan.python}", "-c", "import bz2, ctypes, lzma, sqlite3, ssl, uuid, zlib"],
            note="make its libraries known, and see that all of them are there",
        )
    if plan.system_packages:
        yield _apt_install(plan.system_packages, note="system packages")


def _apt_install(packages: tuple[str, ...], *, note: str) -> Instruction:
    return dockerfile.run(
        ["apt-get", "update"],
        ["apt-get", "install", "--yes", "--no-install-recommends", "--", *packages],
        ["apt-get", "clean"],
        ["rm", "-rf", "/var/lib/apt/lists"],
        note=note,
        ignored_rules=[_NO_PINS],
    )


def _dependencies(plan: ImagePlan, mounts: Mounts) -> Iterator[Instruction]:
    """Install the lock and the server into a virtual environment that holds no pip.

    The pip that does it lives in an environment of its own, which is gone in the end.
    """
    if plan.is_wheelhouse:
        mounts = NO_MOUNTS  # no index is asked
    has_config = PIP_CONF in mounts.secrets
    for name in () if plan.is_wheelhouse or has_config else INDEX_ARGS:
        yield dockerfile.arg(name)
    yield dockerfile.copy(LOCK_FILE, to=f"{BUNDLE_ROOT}/", note="what to install")
    yield dockerfile.copy(plan.runtime_wheel, to=_WHEELS)
    sources: list[str] = []
    if plan.has_wheels:
        yield dockerfile.copy(WHEELS_FOLDER, to=f"{_WHEELS}{WHEELS_FOLDER}/")
        sources = ["--find-links", f"{_WHEELS}{WHEELS_FOLDER}"]
    if plan.is_wheelhouse:
        sources.append("--no-index")
    python = f"python{plan.python}"
    pip = [f"{_PIP}/bin/pip", "--python", VENV_PYTHON, "--disable-pip-version-check"]
    pip_cache = ["--cache-dir", _PIP_CACHE] if mounts.has_cache else ["--no-cache-dir"]
    options = ["--no-deps", "--only-binary", ":all:"]
    fetch = [*_lent_environment(mounts), *pip, "install", *pip_cache, *options]
    install = [*pip, "install", "--no-cache-dir", *options]
    yield dockerfile.run(
        [python, "-m", "venv", "--without-pip", f"{BUNDLE_ROOT}/venv"],
        [python, "-m", "venv", _PIP],
        [*fetch, *sources, "--require-hashes", "--requirement", f"{BUNDLE_ROOT}/{LOCK_FILE}"],
        [*install, "--no-index", f"{_WHEELS}{plan.runtime_wheel}"],
        [*pip, "check"],
        # Shows that the server can start on this base, and leaves the bytecode of what it imports:
        # official images come without that of the standard library, and the user cannot write it.
        [VENV_PYTHON, "-I", "-c", _IMPORTS],
        ["rm", "-rf", _PIP, _WHEELS],
        mounts=_lent(mounts),
        note="Python packages",
    )


def _starter(plan: ImagePlan) -> Iterator[Instruction]:
    """See that a wrapped program can be started and checked on this base."""
    yield dockerfile.copy(LOCK_FILE, to=f"{BUNDLE_ROOT}/", note="what to install: nothing")
    yield dockerfile.run(
        [plan.entry_point[0], "-I", "-S", "-c", "import contextlib, os, signal, socket"],
        note="the base's own Python, which starts the program",
    )


def _lent(mounts: Mounts) -> Iterator[str]:
    if mounts.has_cache:
        yield dockerfile.cache_mount("modelpack-pip", to=_PIP_CACHE)
    for name in mounts.secrets:
        yield dockerfile.secret_mount(name, to=f"{_SECRETS}/{name}")


def _lent_environment(mounts: Mounts) -> list[str]:
    """Return the words before a command that is to read the secrets."""
    if not mounts.secrets:
        return []
    # Variables of the base would stand above the configuration that was given for this build.
    unset = [word for name in INDEX_ARGS for word in ("-u", name)]
    known = [f"{_SECRET_VARIABLES[name]}={_SECRETS}/{name}" for name in mounts.secrets]
    return ["env", *(unset if PIP_CONF in mounts.secrets else ()), *known]


def _files(plan: ImagePlan) -> Iterator[Instruction]:
    for model in plan.models:
        folder = f"models/{model}"
        yield dockerfile.copy(folder, to=f"{BUNDLE_ROOT}/{folder}/", note=f"model {model}")
    yield dockerfile.copy(BUNDLE_FILE, to=f"{BUNDLE_ROOT}/", note="code")
    if plan.has_doc:
        yield dockerfile.copy("doc", to=f"{BUNDLE_ROOT}/doc/")
    if plan.has_code:
        yield dockerfile.copy("code", to=f"{BUNDLE_ROOT}/code/")


def _settings(plan: ImagePlan) -> Iterator[Instruction]:
    yield dockerfile.label(plan.labels, note="settings")
    yield dockerfile.env(plan.env)
    yield dockerfile.workdir(plan.workdir)
    yield dockerfile.user(plan.user)
    yield dockerfile.expose(plan.port, *plan.other_ports.values())
    yield dockerfile.stop_signal(plan.stop_signal)
    yield dockerfile.health_check(
        plan.health_check, interval="5s", timeout="5s", start_period="120s", retries=3
    )
    yield dockerfile.entry_point(plan.entry_point)
