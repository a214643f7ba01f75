"""Compiles the modules of a layer, so that a container does not do it at each start.

    layer (tar) ──Source: path, offset, size──► one Python for each processor ──► Part …

The file of the layer itself is read, so what is compiled is what is in the image.  Which CPython does
it is said in ``interpreters``.

Modules of tests are left out: nobody imports them where a service runs.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from modelpack.errors import BuildError
from modelpack.frameworks.machine import processors
from modelpack.image.direct.interpreters import Compiler
from modelpack.image.direct.layer import Part

_COMPILER = Path(__file__).with_name("pyc.py")
_TIMEOUT_S = 900.0
_MAX_PROCESSES = 8


@dataclass(frozen=True, slots=True)
class Source:
    """A module in a file that holds many."""

    path: str
    """In the image, without a slash in front."""
    offset: int
    size: int


def module_sources(layer: Path) -> list[Source]:
    """Return the modules in a layer that is not compressed."""
    with tarfile.open(layer, "r:") as tar:
        return [
            Source(one.name, one.offset_data, one.size)
            for one in tar
            if one.isreg() and is_compiled(one.name)
        ]


def is_compiled(path: str) -> bool:
    """Say whether bytecode is made of a file."""
    return path.endswith(".py") and "tests" not in path.split("/")[:-1]


def compile_sources(
    compiler: Compiler, file: Path, sources: Sequence[Source], scratch: Path
) -> list[Part]:
    """Return the bytecode of modules in ``file``, as parts that lie in the folder ``scratch``.

    Raises BuildError when the compiler does not end well.
    """
    count = max(1, min(_MAX_PROCESSES, processors(), len(sources) // 20))
    ranked = sorted(sources, key=lambda one: (-one.size, one.path))
    shares = [ranked[number::count] for number in range(count)]
    with ExitStack() as stack:
        running = [
            stack.enter_context(_Run(compiler, file, share, scratch / f"bytecode-{number}"))
            for number, share in enumerate(shares)
        ]
        return [part for run in running for part in run.parts()]


class _Run:
    """One process that compiles its share; it is gone when the block ends."""

    def __init__(
        self, compiler: Compiler, file: Path, sources: Sequence[Source], out: Path
    ) -> None:
        self._out = out
        self._said: IO[bytes] = out.with_suffix(".json").open("w+b")
        self._asked: IO[bytes] = out.with_suffix(".in").open("w+b")
        self._asked.write(json.dumps([[s.path, s.offset, s.size] for s in sources]).encode())
        self._asked.seek(0)
        # Nothing of the surroundings may change the bytes: no site folder, no variables.
        self._process = subprocess.Popen(
            [compiler.program, "-S", "-P", "-W", "ignore", _COMPILER, file, out],
            stdin=self._asked,
            stdout=self._said,
            stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._said.close()
        self._asked.close()

    def parts(self) -> list[Part]:
        """Wait for the end and return what was compiled."""
        try:
            status = self._process.wait(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired as cause:
            raise _failed(f"it did not end within {_TIMEOUT_S / 60:.0f} minutes") from cause
        if status:
            raise _failed(f"it ended with status {status}")
        self._said.seek(0)
        parts = []
        offset = 0
        for path, size in json.load(self._said):
            parts.append(Part(path, size, self._out, offset=offset))
            offset += size
        return parts


def _failed(how: str) -> BuildError:
    return BuildError(
        f"the dependencies could not be compiled: {how}",
        hint="see whether the machine has run out of memory, then try again",
    )
