"""Turns whatever went wrong into at most four lines and an exit status.

    error[bundle-not-found]: no bundle 'digts' in the store
      help: did you mean 'digits:7c1f0b2e9a44'?

What was raised on purpose says it all; a mistake of ours is one line and a traceback in a file.
With ``-v`` the traceback is shown: of the user's own code only the user's frames.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

import modelpack
from modelpack import paths
from modelpack.cli import console
from modelpack.errors import ConfigError, ModelpackError, UserCodeError

MAX_LINES = 4
SEE_WHERE = "run again with -v to see where"
INTERRUPTED = 130

# Frames of ours, and of the import system, which stand between us and the user's module.
_OWN = (str(Path(modelpack.__file__).parent), importlib.__file__, "<frozen ")
# Frames of Python and of installed libraries: the user looks for a line of their own.
_OTHERS = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


def report(error: BaseException) -> int:
    """Write the lines about an error to standard error and return the exit status."""
    if isinstance(error, ModelpackError):
        if console.is_verbose():
            console.note(_traceback(error))
        lines, hint = _explained(error)
        _show(error.code, lines, hint)
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        console.note("interrupted")
        return INTERRUPTED
    if isinstance(error, OSError) and error.errno is not None:
        return _report_system(error)
    return _report_internal(error)


def _show(code: str, lines: Sequence[str], hint: str | None) -> None:
    label = console.coloured(f"error[{code}]", "red", sys.stderr)
    room = MAX_LINES - (1 if hint else 0)
    console.note(f"{label}: {_printable(lines[0])}")
    for line in lines[1:room]:
        console.note(f"  {_printable(line.strip())}")
    if hint:
        console.note(f"  {console.coloured('help', 'bold', sys.stderr)}: {_printable(hint)}")


def _explained(error: ModelpackError) -> tuple[list[str], str | None]:
    """Return the lines that say what happened, and the hint."""
    if isinstance(error, ConfigError):
        return _mistakes(error)
    lines = error.message.splitlines() or [error.code]
    if isinstance(error, UserCodeError) and (place := _users_place(error)):
        lines.append(place)
    is_moot = console.is_verbose() and error.hint == SEE_WHERE
    return lines, None if is_moot else error.hint


def _mistakes(error: ConfigError) -> tuple[list[str], str | None]:
    """Return one line a mistake; those that do not fit are counted, or shown with ``-v``."""
    lines = [str(mistake) for mistake in error.mistakes]
    if len(lines) + bool(error.hint) <= MAX_LINES:
        return lines, error.hint
    if console.is_verbose():
        for line in lines[:-1]:
            console.note(_printable(line))
        return lines[-1:], error.hint
    return lines, f"{len(lines) - MAX_LINES + 1} more mistakes, -v shows all {len(lines)}"


def _users_place(error: UserCodeError) -> str | None:
    """Return where in the user's own code it failed, if it did there."""
    if error.__cause__ is None:
        return None
    stack = traceback.extract_tb(error.__cause__.__traceback__)
    frames = [f for f in stack if not f.filename.startswith((*_OWN, *_OTHERS))]
    if not frames:
        return None
    last = frames[-1]
    line = f": {last.line}" if last.line else ""
    return f"in '{_short_path(last.filename)}', line {last.lineno}{line}"


def _short_path(text: str) -> str:
    path = Path(text)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else text


def _traceback(error: ModelpackError) -> str:
    cause = error.__cause__
    if isinstance(error, UserCodeError) and cause is not None:
        told = traceback.TracebackException.from_exception(cause)
        shown = [f for f in told.stack if not f.filename.startswith(_OWN)]
        told.stack = traceback.StackSummary.from_list(shown)
        return "".join(told.format()).rstrip()
    return "".join(traceback.format_exception(error)).rstrip()


def _report_system(error: OSError) -> int:
    """Report what the operating system refused: a full disk, a missing permission."""
    if console.is_verbose():
        console.note("".join(traceback.format_exception(error)).rstrip())
    what = (error.strerror or type(error).__name__).lower()
    place = f": '{error.filename}'" if error.filename else ""
    if error.errno == errno.ENOSPC:
        _show("no-space", [f"no space left on the disk{place}"], "free some, then run it again")
        return 1
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        _show("not-permitted", [f"{what}{place}"], "check who owns it, or set MODELPACK_HOME")
        return 4
    _show("system", [f"{what}{place}"], SEE_WHERE)
    return 1


def _report_internal(error: BaseException) -> int:
    """Report a mistake of ours, keeping its traceback for the report of the user."""
    text = "".join(traceback.format_exception(error))
    if console.is_verbose():
        console.note(text.rstrip())
        hint = "please report this, with the lines above"
    elif kept := _keep(text):
        hint = f"please report this, with '{kept}'"
    else:
        hint = "please report this, with what -v shows"
    first = (str(error).splitlines() or [""])[0]
    _show("internal", [f"{type(error).__name__}: {first}" if first else type(error).__name__], hint)
    return 1


def _keep(text: str) -> Path | None:
    """Write the traceback where only the user can read it; None when that fails too."""
    file = paths.cache_dir() / "last-traceback.txt"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError:
        return None
    return file


def _printable(text: str) -> str:
    """Return one line that cannot steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
