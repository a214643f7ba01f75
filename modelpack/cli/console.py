"""All that the command line writes.

    result ──out, out_json, table──► stdout     nothing but the result, never wrapped
    notes, progress ──note, Steps──► stderr     with durations; drawn anew only on a terminal

Colour is used on a terminal alone, and never with ``NO_COLOR`` or ``TERM=dumb``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

_COLOURS = {"red": "31;1", "yellow": "33", "green": "32", "dim": "2", "bold": "1"}
_TICK_S = 0.5

_is_verbose = False


class OutputClosedError(Exception):
    """Whoever read our output has gone, as ``head`` does."""


def set_verbose(value: bool) -> None:
    """Turn tracebacks on or off for this process."""
    global _is_verbose  # noqa: PLW0603 - one switch for one process, set while parsing
    _is_verbose = value


def is_verbose() -> bool:
    """Return whether ``-v`` was given."""
    return _is_verbose


def out(text: object) -> None:
    """Write a line of the result to standard output."""
    _write(sys.stdout, f"{text}\n")


def out_part(text: str) -> None:
    """Write a part of a line of the result to standard output, and have it seen at once."""
    _write(sys.stdout, text)


def out_json(value: object) -> None:
    """Write the result as JSON for programs."""
    out(json.dumps(value, indent=2, ensure_ascii=False))


def harmless(text: str) -> str:
    """Return somebody else's text so that it cannot steer a terminal: control characters spelled."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in text)


def note(text: str) -> None:
    """Write a line for people to standard error."""
    with _screen:
        _clear_line()
        _write(sys.stderr, f"{text}\n")
        _redraw()


def warn(text: str) -> None:
    """Write a warning to standard error."""
    note(f"{coloured('warning', 'yellow', sys.stderr)}: {text}")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write columns to standard output, as wide as they need to be."""
    lines = [[cell.upper() for cell in head], *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for number, line in enumerate(lines):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        out(coloured(text.rstrip(), "bold", sys.stdout) if number == 0 else text.rstrip())


def facts(pairs: Mapping[str, object]) -> None:
    """Write one ``key  value`` line each, aligned; a list has a line an entry."""
    width = max((len(key) for key in pairs), default=0)
    for key, value in pairs.items():
        values = list(value) if isinstance(value, list | tuple) else [value]
        for number, one in enumerate(values):
            out(f"{key if number == 0 else '':<{width}}  {one}".rstrip())


def section(title: str, lines: Iterable[str]) -> None:
    """Write an empty line, a title and lines below it, indented; nothing in them steers a terminal."""
    out("")
    out(coloured(title, "bold", sys.stdout))
    for line in lines:
        out(f"  {harmless(line)}".rstrip())


def coloured(text: str, colour: str, stream: TextIO) -> str:
    """Return the text in a colour if the stream is a terminal that wants one."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if has_colour(stream) else text


def has_colour(stream: TextIO) -> bool:
    """Return whether colour may be written to the stream."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def is_terminal(stream: TextIO) -> bool:
    """Return whether the stream is a terminal that can draw a line anew."""
    return stream.isatty() and os.environ.get("TERM", "") != "dumb"


def ask(question: str, *, flag: str, what: str) -> bool:
    """Ask for consent; raises UsageError that names ``flag`` when there is nobody to ask."""
    from modelpack.errors import UsageError

    if not has_somebody():
        raise UsageError(
            f"{what} needs consent, and there is no terminal to ask on",
            hint=f"look at it with '--plan', then give '{flag}'",
        )
    _write(sys.stderr, f"{question} [y/N] ")
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        _write(sys.stderr, "\n")
    return answer.strip().lower() in ("y", "yes")


def ask_for(word: str, question: str, *, what: str) -> bool:
    """Ask for a word to be typed; raises UsageError when there is nobody to ask."""
    from modelpack.errors import UsageError

    if not has_somebody():
        raise UsageError(
            f"{what} needs consent, and there is no terminal to ask on", hint="give '--yes'"
        )
    _write(sys.stderr, f"{question} ")
    return sys.stdin.readline().strip() == word


def has_somebody() -> bool:
    """Return whether somebody sits there who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask_secret(question: str) -> bytes:
    """Ask for a secret, which is not shown as it is typed; see ``has_somebody``."""
    import getpass

    return getpass.getpass(question, sys.stderr).encode()


class Steps:
    """Progress of long work, as the lower layers report it.

    On a terminal the running step is drawn with its seconds; elsewhere a step is one line, written
    as it ends.  Steps may stand in each other; the outer one goes on being drawn.
    """

    def note(self, text: str) -> None:
        """Say one fact."""
        note(f"  {text}")

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say what is being done and, at its end, how long it took."""
        started = time.monotonic()
        _begin(text, started)
        try:
            yield
        except BaseException:
            _end(f"  {text} {coloured('failed', 'red', sys.stderr)}")
            raise
        took = f"({duration(time.monotonic() - started)})"
        _end(f"  {text} {coloured(took, 'dim', sys.stderr)}")


def duration(seconds: float) -> str:
    """Return a time for people: ``12 ms``, ``0.3 s``, ``12 s``, ``2 min 5 s``."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


# What is drawn on the last line of the terminal at the moment; guarded by ``_screen``.
_screen = threading.RLock()
_running: list[tuple[str, float]] = []
_ticker: threading.Thread | None = None


def _begin(text: str, started: float) -> None:
    global _ticker  # noqa: PLW0603 - the terminal is one for the process, too
    with _screen:
        _running.append((text, started))
        if is_terminal(sys.stderr):
            _redraw()
            if _ticker is None or not _ticker.is_alive():
                _ticker = threading.Thread(target=_tick, name="progress", daemon=True)
                _ticker.start()


def _end(line: str) -> None:
    with _screen:
        _clear_line()
        _running.pop()
        _write(sys.stderr, f"{line}\n")
        _redraw()


def _tick() -> None:
    while True:
        time.sleep(_TICK_S)
        with _screen:
            if not _running:
                return
            _redraw()


def _clear_line() -> None:
    if _running and is_terminal(sys.stderr):
        _write(sys.stderr, "\r\x1b[2K")


def _redraw() -> None:
    if _running and is_terminal(sys.stderr):
        text, started = _running[-1]
        seconds = int(time.monotonic() - started)
        _write(sys.stderr, f"\r\x1b[2K  {text} …" + (f" {seconds} s" if seconds else ""))


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError as cause:
        raise OutputClosedError from cause
    except UnicodeEncodeError:
        # A terminal in another encoding still gets the line, with what it cannot show replaced.
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()
