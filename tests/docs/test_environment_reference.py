"""The page about the environment names every variable that the code reads, and no other."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from modelpack.config.settings import ServerSettings

ROOT = Path(__file__).parents[2]
VARIABLE = re.compile(r"\bMODELPACK_[A-Z]+(?:_[A-Z]+)*\b")


def test_every_variable_has_its_line() -> None:
    page = (ROOT / "docs/reference/environment.md").read_text()
    read = {
        name
        for path in (ROOT / "modelpack").rglob("*.py")
        for name in VARIABLE.findall(path.read_text())
    } | {f"MODELPACK_{field.name.upper()}" for field in fields(ServerSettings)}
    assert set(VARIABLE.findall(page)) == read
