"""Makes the layers of an image that no bundle holds: its packages, their bytecode, the server.

    lock, wheels ──uv──► installed ──normalised──► dependencies ──┬──────────► (gzip)
                                                        └─compiled─► bytecode
    server's wheel, place of Python ──────────────────────────────► runtime

Each layer is made once and kept (``cache``): a change of code makes none of them again.  What decides
their bytes is what they are kept under, so the same inputs give the same digests, on any machine.
Nothing of a package is run, so the layers of any platform are made on any machine.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modelpack.archive.lockfile import LockedPackage, read_lock
from modelpack.archive.runtime_wheel import wheel_bytes
from modelpack.archive.wheelhouse import applying
from modelpack.image.direct.bytecode import (
    Source,
    compile_sources,
    is_compiled,
    module_sources,
)
from modelpack.image.direct.cache import LayerCache, LayerFile
from modelpack.image.direct.compressing import LEVEL, compress_file
from modelpack.image.direct.installing import Installer, unpack_wheels
from modelpack.image.direct.interpreters import Compiler, find_compiler
from modelpack.image.direct.layer import GZIP_LAYER_TYPE, LayerWriter, Part, write_parts
from modelpack.image.direct.normalising import installed_parts, site_packages
from modelpack.image.direct.requirements import check_installed, check_runtime
from modelpack.image.direct.runtime import PythonPlace, environment_parts, server_parts
from modelpack.image.plan import ImagePlan
from modelpack.image.sizes import remember_sizes
from modelpack.manifest import sha256_digest
from modelpack.progress import SILENT, Progress
from modelpack.store import Store
from modelpack.version import __version__

__all__ = ["LayerFile", "PythonPlace", "package_layers"]


def package_layers(
    plan: ImagePlan,
    store: Store,
    python: PythonPlace,
    *,
    compress: bool = False,
    progress: Progress = SILENT,
) -> tuple[LayerFile, ...]:
    """Return the layers of a plan between its base and its models, in their order.

    Dependencies, their bytecode, the server with its own.  A machine without a CPython of the plan's
    version makes no bytecode, and says so.
    ``compress`` stores them all as gzip, which is a third of the size and takes seconds.

    Raises BuildError when a package cannot be had or does not fit the others, RefusedError when one
    has what no image may hold, DigestMismatchError when the bundle is damaged.
    """
    cache = LayerCache()
    packages = tuple(applying(read_lock(store.lock_text(plan.entry)), plan.platform, plan.python))
    check_runtime(packages, plan.platform, plan.python)
    with ThreadPoolExecutor(1, thread_name_prefix="server-layer") as beside:
        # While uv installs: both take a third of a second the first time.
        finding = beside.submit(find_compiler, plan.python, python.version)
        server = beside.submit(lambda: _runtime(cache, plan.python, python, finding.result()))
        plain = _dependencies(cache, plan, store, packages, progress)
        compiler = finding.result()
        last = server.result()
    if compiler is None:
        progress.note(
            f"there is no Python {plan.python} here, so the image gets no bytecode and starts slower"
        )
    bytecode = [_bytecode(cache, plain, compiler, progress)] if compiler is not None else []
    made = (plain, *bytecode, last)
    return tuple(_compressed(cache, layer, progress) for layer in made) if compress else made


def _dependencies(
    cache: LayerCache,
    plan: ImagePlan,
    store: Store,
    packages: Sequence[LockedPackage],
    progress: Progress,
) -> LayerFile:
    installer = Installer(tuple(packages), plan.platform, plan.python)

    def fill(out: LayerWriter) -> None:
        with cache.scratch() as scratch:
            wheels = unpack_wheels(plan, store, scratch / "wheels")
            with progress.step(f"installing {len(packages)} packages for {plan.platform.name}"):
                prefix = installer.install(scratch / "prefix", wheels=wheels)
            check_installed(site_packages(prefix), plan.platform, plan.python)
            remember_sizes(site_packages(prefix), plan.platform, plan.python)

            def again(name: str) -> Path:
                return installer.install(scratch / f"only-{name}", wheels=wheels, only=name)

            parts = installed_parts(prefix, plan.python, again)
            with progress.step("writing the layer of the packages"):
                write_parts(out, parts)

    return cache.ensure(
        {"layer": "dependencies", **installer.facts()},
        what=f"Python packages ({len(packages)})",
        created_by=f"modelpack: {len(packages)} Python packages for {plan.platform.name}",
        fill=fill,
    )


def _bytecode(
    cache: LayerCache, plain: LayerFile, compiler: Compiler, progress: Progress
) -> LayerFile:
    def fill(out: LayerWriter) -> None:
        sources = module_sources(plain.path)
        with (
            progress.step(f"compiling {len(sources)} modules with Python {compiler.version}"),
            cache.scratch() as scratch,
        ):
            write_parts(out, compile_sources(compiler, plain.path, sources, scratch))

    return cache.ensure(
        {"layer": "bytecode", "of": plain.digest, "python": compiler.version},
        what="bytecode",
        created_by=f"modelpack: bytecode of the packages, by CPython {compiler.version}",
        fill=fill,
    )


def _compressed(cache: LayerCache, plain: LayerFile, progress: Progress) -> LayerFile:
    def fill(out: LayerWriter) -> str:
        with progress.step(f"compressing {plain.what}"):
            compress_file(plain.path, out)
        return plain.diff_id

    return cache.ensure(
        {"layer": "gzip", "of": plain.digest, "level": LEVEL, "zlib": zlib.ZLIB_RUNTIME_VERSION},
        what=plain.what,
        created_by=plain.created_by,
        fill=fill,
        media_type=GZIP_LAYER_TYPE,
    )


def _runtime(
    cache: LayerCache, version: str, python: PythonPlace, compiler: Compiler | None
) -> LayerFile:
    wheel = wheel_bytes()

    def fill(out: LayerWriter) -> None:
        server = server_parts(version, wheel)
        with cache.scratch() as scratch:
            compiled = _compiled_bytes(compiler, server, scratch) if compiler else []
            write_parts(out, [*environment_parts(python, version), *server, *compiled])

    return cache.ensure(
        {
            "layer": "runtime",
            "wheel": sha256_digest(wheel),
            "python": version,
            "path": python.path,
            "version": python.version,
            "compiler": compiler.version if compiler else None,
        },
        what="server",
        created_by=f"modelpack: server {__version__}, started with {python.path}",
        fill=fill,
    )


def _compiled_bytes(compiler: Compiler, parts: Sequence[Part], scratch: Path) -> list[Part]:
    """Return the bytecode of modules that are in memory."""
    file = scratch / "sources"
    sources = []
    with file.open("wb") as out:
        for part in parts:
            if isinstance(part.source, bytes) and is_compiled(part.path):
                sources.append(Source(part.path, out.tell(), part.size))
                out.write(part.source)
    return compile_sources(compiler, file, sources, scratch)
