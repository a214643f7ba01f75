"""The keeper as one text, which needs a Python and nothing else.

    modules of PARTS ──program──► text: each of them under its own name, then the keeper as the program

So the keeper runs below any Python that an image has: ``python -I -S -c TEXT serve``.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

PARTS = (
    "modelpack.deploy.autoscale.policy",
    "modelpack.deploy.keeping.members",
    "modelpack.deploy.keeping.parked",
    "modelpack.deploy.keeping.scaling",
    "modelpack.deploy.keeping.sleepers",
    "modelpack.deploy.keeping.keeper",
)
"""What the keeper is made of; each needs the standard library and those before it."""

MAIN = "modelpack.deploy.port_keeper"

_HEAD = '''\
"""Keeps the port of a deployment: modules of modelpack, of the standard library alone.

    python3 -I -S THIS serve        keep $MODELPACK_HOST:$MODELPACK_PORT until SIGTERM
    python3 -I -S THIS ask status   how it stands, JSON
"""

import sys
import types


def _module(name, text):
    made = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), made.__dict__)


'''


ASKER = """\
import os, socket, sys

try:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.connect(os.environ["MODELPACK_PORT_KEEPER"])
        line.send(" ".join(sys.argv[2:]).encode())
        print(line.recv(65536).decode())
except OSError as error:
    sys.exit(f"the keeper of the port does not answer: {error}")
"""
"""Only what gives an order: ``python -I -S -c ASKER ask WORD …``, without the time to read all."""


@cache
def program() -> str:
    """Return the text; the same modelpack gives the same one."""
    modules = [f"_module({name!r}, r'''{_text_of(name)}''')\n" for name in PARTS]
    return _HEAD + "\n".join(modules) + "\n" + _main(_text_of(MAIN))


def _main(text: str) -> str:
    """Return the last module without the import that has to stand first in a file."""
    return text.replace("from __future__ import annotations\n", "", 1)


def _text_of(name: str) -> str:
    found = find_spec(name)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(name)
    text = Path(found.origin).read_text(encoding="utf-8")
    if "'''" in text:  # it would end the text around it
        raise ValueError(f"{name} has three quotes in a row")
    return text
