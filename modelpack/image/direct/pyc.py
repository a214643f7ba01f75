"""Compiles sources into bytecode; a program of its own, for any CPython that modelpack serves with.

    python -S -P pyc.py FILE OUT < [[path in the image, offset, size] …]
        OUT     the bytecode, one after the other
        stdout  [[path in the image, size] …] in that order

``FILE`` holds the sources at those offsets.  The bytecode is of the kind that is never compared with
its source (PEP 552, unchecked hash): image layers do not change, and times would make them differ.
What cannot be compiled is left out, as Python itself would find out.  Imports the standard library
alone, and runs nothing of what it compiles.
"""

import importlib.util
import json
import marshal
import sys
from importlib.machinery import SourceFileLoader
from types import CodeType

_UNCHECKED_HASH = 0b01


def main(file: str, out: str) -> None:
    """Compile what standard input asks for."""
    done = []
    with open(file, "rb") as sources, open(out, "wb") as made:  # noqa: PTH123
        for path, offset, size in json.load(sys.stdin):
            sources.seek(offset)
            source = sources.read(size)
            code = _compiled(source, f"/{path}")
            if code is not None:
                cached = importlib.util.cache_from_source(path, optimization="")
                done.append([cached, made.write(_pyc(source, code))])
    json.dump(done, sys.stdout)


def _compiled(source: bytes, path: str) -> CodeType | None:
    try:
        return SourceFileLoader("module", path).source_to_code(source, path)
    except (SyntaxError, ValueError, RecursionError, OverflowError, MemoryError):
        return None


def _pyc(source: bytes, code: CodeType) -> bytes:
    head = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH.to_bytes(4, "little")
    return head + importlib.util.source_hash(source) + marshal.dumps(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
