"""A bundle whose service is a program: anything executable that speaks HTTP.

    program ──looked at, never run──► bundle/code/bin/PROGRAM ─┐
    server.life.init ───────────────► bundle/code/init.py ─────┴──► bundle in the store

    compiled   64-bit ELF for Linux; what it needs of a base is noted
    a script   its first line names the interpreter, which the base must have

Nothing is installed: the lock is empty.  The same program, arguments and port give the same bundle.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from modelpack.archive.denied import find_secret
from modelpack.archive.sbom import sbom_bytes
from modelpack.errors import NotFoundError, SecretFoundError, UsageError
from modelpack.image.instructions import check_text
from modelpack.image.wrap.elf import MAGIC, Elf, read_elf
from modelpack.image.wrap.planned import INIT_FILE
from modelpack.manifest import SBOM_FILE, BundleManifest, FileRecord, ProgramRecord
from modelpack.progress import SILENT, Progress
from modelpack.provenance import record_build
from modelpack.server.life import init
from modelpack.store import Entry, Store
from modelpack.store.names import path_fault
from modelpack.tag import check_name, name_from

_LOCK = "# nothing is installed: the program is served as it is\n"
_SCRIPT = b"#!"
_SCRIPT_SUFFIXES = {".cjs", ".js", ".mjs", ".pl", ".py", ".rb", ".sh", ".ts"}
_LONGEST_FIRST_LINE = 256  # as far as the kernel reads it (BINPRM_BUF_SIZE)
_LOOKED_THROUGH = 4 * 1024 * 1024
"""Bytes of a script that are searched for secrets: longer ones carry data."""

# Parts of glibc and of the compiler's runtime, which every slim base has.
_IN_EVERY_BASE = (
    "ld-linux", "libc.so", "libdl.so", "libgcc_s.so", "libm.so", "libpthread.so", "libresolv.so",
    "librt.so", "libstdc++.so", "libutil.so",
)  # fmt: skip


def bundle_of_program(
    program: Path,
    store: Store,
    *,
    port: int,
    arguments: Sequence[str] = (),
    name: str | None = None,
    progress: Progress = SILENT,
) -> Entry:
    """Put a bundle around an executable into the store, and return it.

    port       TCP port on which the program answers HTTP requests, 1 to 65535
    arguments  what it is started with
    name       of the bundle; default: the file's, without the suffix of a script

    What it needs of a base is noted.  Raises NotFoundError, UsageError for what cannot run on Linux
    in an image or for a port that there is not, SecretFoundError for a script that holds a key.
    """
    if not 0 < port < 65536:
        raise UsageError(f"{port} is not a port", hint="give --port a number from 1 to 65535")
    checked = tuple(check_text(word, "an argument of the program") for word in arguments)
    file = _checked_file(program)
    platform = _platform_of(file, progress)
    plain = file.stem if file.suffix in _SCRIPT_SUFFIXES else file.name
    called = check_name(name) if name is not None else name_from(plain)
    record = ProgramRecord(path=f"bin/{file.name}", arguments=checked, port=port, platform=platform)
    with tempfile.TemporaryDirectory(prefix="modelpack-wrap-") as scratch:
        root = Path(scratch)
        (root / "bin").mkdir()
        (root / record.path).symlink_to(file)  # it may be large: it is read once, into its layer
        shutil.copyfile(init.__file__, root / INIT_FILE)
        packed = _record(root, record.path, 0o755)
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        sbom = sbom_bytes(file.name, python, (), (), (packed,))
        manifest = BundleManifest(
            service=None,
            model=None,
            program=record,
            python=python,
            files=(packed, _record(root, INIT_FILE, 0o644)),
            models=(),
            lock_sha256=hashlib.sha256(_LOCK.encode()).hexdigest(),
            apis=(),
            docs=(_of_bytes(SBOM_FILE, sbom),),
        )
        with progress.step("writing the bundle"):
            entry = store.add_bundle(called, manifest, root=root, lock=_LOCK, sbom=sbom).entry
    record_build(store, entry, manifest, source=None)
    return entry


def _checked_file(program: Path) -> Path:
    """Return the file itself; raises unless it is one that can be executed and packed."""
    if not program.exists():
        raise NotFoundError(f"no program '{program}'", hint="give the path of an executable")
    file = program.resolve()
    if not file.is_file():
        raise UsageError(f"'{program}' is not a file", hint="give the path of an executable")
    if not os.access(file, os.X_OK):
        raise UsageError(
            f"'{program}' is not executable",
            hint=f"is it the right file? if so: chmod +x {program}",
        )
    check_text(file.name, "the name of the program")
    if fault := path_fault(file.name):
        raise UsageError(f"the name '{file.name}' {fault}", hint="rename the program")
    return file


def _platform_of(file: Path, progress: Progress) -> str | None:
    """Return what the program was compiled for; None for a script.  Notes what it needs."""
    with file.open("rb") as stream:
        start = stream.read(_LONGEST_FIRST_LINE)
    if start.startswith(MAGIC):
        found = read_elf(file)
        for note in _needs(found):
            progress.note(note)
        return found.platform
    if start.startswith(_SCRIPT):
        progress.note(_interpreter_note(file, start))
        _check_script(file)
        return None
    raise UsageError(
        f"'{file}' is neither a compiled Linux program nor a script that names its interpreter",
        hint="compile it for Linux, or let its first line be such as #!/usr/bin/env python3",
    )


def _needs(found: Elf) -> list[str]:
    if found.loader is None:
        return [f"compiled for {found.platform}, linked statically: it needs nothing of the base"]
    notes = [f"compiled for {found.platform}"]
    if "musl" in found.loader:
        notes.append(
            "it is linked against musl, which a base with glibc has not: link it statically"
        )
    if found.glibc is not None:
        notes.append(f"the base must have glibc {found.glibc[0]}.{found.glibc[1]} or newer")
    if others := [one for one in found.libraries if not one.startswith(_IN_EVERY_BASE)]:
        notes.append(f"the base must have {', '.join(others)} (image.system_packages, or --base)")
    return notes


def _interpreter_note(file: Path, start: bytes) -> str:
    line = start.partition(b"\n")[0]
    if line.endswith(b"\r"):
        raise UsageError(
            f"the first line of '{file}' ends as on Windows, and Linux would look for another program",
            hint="save it with the line ends of Linux",
        )
    words = line.removeprefix(_SCRIPT).decode("utf-8", "replace").split()
    if not words:
        raise UsageError(
            f"the first line of '{file}' names no interpreter",
            hint="such as #!/usr/bin/env python3",
        )
    named = [word for word in words[1:] if not word.startswith("-")]
    interpreter = named[0] if words[0].endswith("/env") and named else words[0]
    return f"a script: the base must have '{check_text(interpreter, 'the first line')}'"


def _check_script(file: Path) -> None:
    with file.open("rb") as stream:
        found = find_secret(stream.read(_LOOKED_THROUGH))
    if found is not None:
        raise SecretFoundError(
            f"{file}:{found[1]} holds what looks like {found[0]}",
            hint="give it to the running container as an environment variable instead",
        )


def _record(root: Path, path: str, mode: int) -> FileRecord:
    with (root / path).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = stream.tell()
    return FileRecord(path=path, mode=mode, size=size, sha256=digest)


def _of_bytes(path: str, data: bytes) -> FileRecord:
    return FileRecord(
        path=path, mode=0o644, size=len(data), sha256=hashlib.sha256(data).hexdigest()
    )
