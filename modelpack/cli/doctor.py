"""``modelpack doctor``: what of this machine works, and what to do about the rest.

    checks ──► Finding(name, ok | warn | fail, what, help) ──► a line each, or JSON

A failed check is of something that no command can do without; what only some commands need is a
warning.  Nothing is changed, and nothing outside this machine is asked.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption

Verdict = Literal["ok", "warn", "fail"]
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_LOW_DISK_BYTES = 2 * 10**9
_PROGRAM_S = 20.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found."""

    name: str
    verdict: Verdict
    what: str
    help: str = ""


def doctor(form: FormatOption = Format.TEXT) -> None:
    """
    $ modelpack doctor

    Check that this machine has what modelpack needs.

    Exits with 1 when something is missing that no command can do without. Nothing is changed and
    nothing outside this machine is asked.
    """
    findings = [_safely(check) for check in CHECKS]
    if form is Format.JSON:
        console.out_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.name) for finding in findings)
        for one in findings:
            verdict = console.coloured(f"{one.verdict:<4}", _COLOURS[one.verdict], sys.stdout)
            console.out(f"{verdict}  {one.name:<{width}}  {one.what}")
            if one.help:
                console.out(f"{'':<{width + 6}}  help: {one.help}")
    if any(finding.verdict == "fail" for finding in findings):
        raise typer.Exit(1)


def _safely(check: Callable[[], Finding]) -> Finding:
    """Run a check; one that breaks is a finding as well and stops nothing else."""
    try:
        return check()
    except Exception as error:  # a broken machine is what this command is for
        name = check.__name__.removeprefix("check_")
        return Finding(name, "fail", f"{type(error).__name__}: {error}", "please report this")


def check_modelpack() -> Finding:
    """Which modelpack this is, and where it keeps things."""
    from modelpack.version import __version__

    where = Path(__file__).parents[1]
    return Finding("modelpack", "ok", f"{__version__} in {where}")


def check_python() -> Finding:
    """The interpreter."""
    what = f"{platform.python_version()} ({sys.executable})"
    return Finding("python", "ok", what)


def check_libraries() -> Finding:
    """What serving on this machine needs."""
    names = ("numpy", "onnxruntime", "starlette", "uvicorn", "uvloop", "httptools", "orjson")
    found, missing = [], []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        what = f"missing: {', '.join(missing)}"
        return Finding("libraries", "fail", what, "install modelpack-cli again")
    return Finding("libraries", "ok", ", ".join(found))


def check_uv() -> Finding:
    """The program that locks and installs dependencies."""
    import uv

    try:
        program = uv.find_uv_bin()
    except FileNotFoundError:
        return Finding("uv", "fail", "the program is missing", "install the package 'uv' again")
    done = _output(program, "--version")
    if done is None:
        return Finding("uv", "fail", f"'{program}' does not run", "install the package 'uv' again")
    return Finding("uv", "ok", f"{done} ({program})")


def check_home() -> Finding:
    """The folder for models, bundles and deployments."""
    from modelpack import paths

    home = paths.home_dir()
    place = home
    while not place.exists():
        place = place.parent
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        hint = "make it writable, or set MODELPACK_HOME to another folder"
        return Finding("home", "fail", f"'{home}' cannot be written", hint)
    free = shutil.disk_usage(place).free
    what = f"{home}, {_size(free)} free"
    if free < _LOW_DISK_BYTES:
        return Finding(
            "home", "warn", what, "delete bundles, or set MODELPACK_HOME to a larger disk"
        )
    return Finding("home", "ok", what)


def check_cache() -> Finding:
    """The folder for what can be made again."""
    from modelpack import paths

    cache = paths.cache_dir()
    if not cache.exists():
        return Finding("cache", "ok", f"{cache}, empty")
    size = sum(_bytes_of(file) for file in cache.rglob("*"))
    return Finding("cache", "ok", f"{cache}, {_size(size)}, safe to delete")


def check_store() -> Finding:
    """Whether what is in the store can be read."""
    from modelpack.store import Kind, Store

    store = Store()
    if not store.root.exists():
        return Finding("store", "ok", "empty")
    entries = store.list()
    damaged = [str(entry.tag) for entry in entries if entry.damage]
    if damaged:
        what = f"damaged: {', '.join(damaged[:3])}"
        return Finding("store", "fail", what, "delete it, and build or import it again")
    bundles = sum(entry.kind is Kind.BUNDLE for entry in entries)
    size = sum(_bytes_of(file) for file in store.root.rglob("*"))
    what = f"bundles: {bundles}, models: {len(entries) - bundles}, {_size(size)}"
    return Finding("store", "ok", what)


def check_engine() -> Finding:
    """The container engine."""
    from modelpack.errors import ToolMissingError
    from modelpack.image import connect

    needed = "needed by 'containerize' and by the target 'docker' alone"
    try:
        with connect() as engine:
            said = engine.version()
    except ToolMissingError as error:
        return Finding("engine", "warn", f"{error.message} ({needed})", "start or install Docker")
    name = next((part["Name"] for part in said.get("Components") or ()), "Engine")
    what = f"{'Docker' if name == 'Engine' else name} {said.get('Version')}, "
    what += f"{said.get('Os')}/{said.get('Arch')}"
    return Finding("engine", "ok", " ".join(what.split()))


def check_targets() -> Finding:
    """The targets that deployments can go to."""
    from modelpack.deploy.catalog import installed
    from modelpack.errors import ModelpackError

    catalog = installed()
    broken = list(catalog.problems)
    for name in catalog.names:
        try:
            catalog.load(name)
        except ModelpackError as error:
            broken.append(error.message)
    what = ", ".join(catalog.names)
    if broken:
        return Finding("targets", "warn", f"{what}; {'; '.join(broken)}", "update that plugin")
    return Finding("targets", "ok", what)


def check_gpu() -> Finding:
    """The GPU, if there is one, and whether onnxruntime can use it."""
    program = shutil.which("nvidia-smi")
    query = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    seen = _output(program, *query) if program else None
    if not seen:
        return Finding("gpu", "ok", "none: models run on the processor")
    what = "; ".join(seen.splitlines())
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        hint = "install 'onnxruntime-gpu[cuda,cudnn]' in place of onnxruntime to use it for ONNX"
        return Finding("gpu", "warn", f"{what}, not usable by onnxruntime", hint)
    return Finding("gpu", "ok", what)


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_modelpack,
    check_python,
    check_libraries,
    check_uv,
    check_home,
    check_cache,
    check_store,
    check_engine,
    check_targets,
    check_gpu,
)


def _output(program: str, *arguments: str) -> str | None:
    """Return what a program prints, or None when it fails."""
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=_PROGRAM_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _bytes_of(file: Path) -> int:
    try:
        return file.lstat().st_size if file.is_file() and not file.is_symlink() else 0
    except OSError:
        return 0


def _size(size_bytes: int) -> str:
    from modelpack.config.units import format_size

    return format_size(size_bytes)
