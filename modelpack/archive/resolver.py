"""Runs uv, and turns what it says into one line that a person can use.

    run_uv([...]) ──► text     or BuildError: what failed, and what to do

uv is a program of its own, found in the environment of modelpack; it is called with an argument
list, never through a shell.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelpack.archive.indexes import IndexSettings, index_settings
from modelpack.errors import BuildError, ToolMissingError

_TIMEOUT_S = 1800.0
_QUIET = ("--no-progress", "--color=never", "--no-python-downloads")
_NO_NETWORK = re.compile(
    r"dns error|Failed to fetch|error sending request|network was disabled|Could not connect|"
    r"timed out|Connection (?:refused|reset)",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")


def run_uv(
    arguments: Sequence[str],
    *,
    goal: str,
    stdin: str = "",
    folder: Path | None = None,
    uses_index: bool = False,
    environ: Mapping[str, str] | None = None,
) -> str:
    """Run uv and return its standard output.

    ``goal`` is what is done, for the message, such as "lock the requirements"; ``environ`` is added
    to the variables.  Raises BuildError when it fails, ToolMissingError when there is no uv.
    """
    settings = index_settings() if uses_index else IndexSettings()
    command = [_program(), *arguments, *_QUIET, *settings.arguments]
    environment = {**os.environ, **dict(settings.environment), **(environ or {})}
    environment.pop("VIRTUAL_ENV", None)  # never the environment that modelpack itself is in
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            cwd=folder,
            env=environment,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as cause:
        raise BuildError(
            f"cannot {goal}: uv did not end within {_TIMEOUT_S / 60:.0f} minutes",
            hint="see whether the package index answers, then run it again",
        ) from cause
    except OSError as cause:
        raise ToolMissingError(f"cannot run uv: {cause.strerror}", hint=_INSTALL) from cause
    if done.returncode:
        raise _failure(goal, done.stderr)
    return done.stdout


_INSTALL = "install it again together with modelpack: pip install uv"


def _program() -> str:
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError) as cause:
        raise ToolMissingError("the program uv is not there", hint=_INSTALL) from cause


def _failure(goal: str, stderr: str) -> BuildError:
    text = _LOGIN.sub("***@", stderr)
    if _NO_NETWORK.search(text):
        hosts = sorted(set(re.findall(r"https?://[^/\s)]+", text)))
        where = f" at {', '.join(hosts[:2])}" if hosts else ""
        return BuildError(
            f"cannot {goal}: the package index{where} cannot be reached",
            hint="this step needs the network; what was locked and installed before does not",
        )
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]
    causes = [line.removeprefix("cause: ") for line in lines if line.startswith("cause: ")]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    said = (causes or errors or [line for line in lines if line] or ["no reason given"])[0]
    said = said.split(", we can conclude that your requirements are unsatisfiable")[0]
    return BuildError(f"cannot {goal}: {_shortened(said)}", hint=_hint(text))


def _hint(text: str) -> str:
    if "no usable wheels" in text or "--no-build" in text:
        return "only packages with wheels are used: choose a version that has one for the target"
    if re.search(r"was not found in the (?:package registry|provided package locations)", text):
        return "see whether the name is right and the index that has it is set up for pip or uv"
    if "hash" in text.lower():
        return "the lock names other bytes than the index has: build again with --relock"
    return "change the requirements so that they fit together"


def _shortened(text: str, limit: int = 500) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
