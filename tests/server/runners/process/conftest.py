"""A service in a file of its own, so that other processes can load it, and a server that has it.

write(text)                a folder with that service.py
serve(text, **settings)    a server over runner processes of it: as ``start``, and ``.runners()``
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelpack.frameworks.source import Source

Write = Callable[[str], Source]
Serve = Callable[..., Any]

HEAD = """
import asyncio, os, signal, time
from dataclasses import dataclass
import numpy as np
import modelpack
from modelpack import Tensor
"""


@pytest.fixture
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Write a service; returns how it is opened."""

    def begin(text: str) -> Source:
        folder = tmp_path_factory.mktemp("service")
        (folder / "service.py").write_text(HEAD + textwrap.dedent(text))
        return Source("code", "", str(folder))

    return begin


@pytest.fixture
def serve(write: Write, start: Any) -> Serve:
    """Serve a service in runner processes."""

    def begin(text: str, **settings: Any) -> Any:
        source = write(text)
        return start(source.open(), source=source, **{"runner": "process", **settings})

    return begin


@pytest.fixture
def pids() -> Callable[[Any], list[int]]:
    """Pids of the runners that a server's calls go to now."""

    def read(server: Any) -> list[int]:
        links = server.server.place._links
        found: list[int] = server.on_loop(
            lambda: [link.info.pid for link in links.values() if link.is_ready]
        )
        return found

    return read


@pytest.fixture
def descriptors() -> Callable[[], int]:
    """Open descriptors of this process."""
    return lambda: len(list(Path("/proc/self/fd").iterdir()))
