"""How the pages are read: fenced blocks with their language and words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

FENCE = re.compile(r"^```(\w+)?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block: ``language words``, and the line where it begins."""

    language: str
    words: str
    text: str
    line: int


def read_blocks(page: Path, language: str, words: str | None = None) -> list[Block]:
    text = page.read_text()
    blocks = [
        Block(m[1] or "", m[2].strip(), m[3], text.count("\n", 0, m.start()) + 1)
        for m in FENCE.finditer(text)
    ]
    return [b for b in blocks if b.language == language and words in (None, b.words)]


@pytest.fixture(scope="session")
def blocks_of() -> Callable[..., list[Block]]:
    """Return the blocks of a page in one language, and with exactly those words if given."""
    return read_blocks
