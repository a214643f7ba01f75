"""The lines that a service wrote, out of Heroku's log.

    log session ──► URL ──► "2026-01-01T00:00:00.1+00:00 app[web.1]: LINE" ──► LINE

Heroku keeps the last 1,500 lines of an app, and no longer than a week.  Source: Heroku Dev Center,
"Logging" ("Log format", "Log history limits"), Platform API reference, "Log Session".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelpack_heroku.calls import Heroku

MOST_LINES = 1500

_LINE = re.compile(r"\S+ (?:app|heroku)\[[^\]]*\]: ?(.*)")


def log_lines(heroku: Heroku, app: str, *, follow: bool, tail: int | None) -> Iterator[str]:
    """Yield what the processes of an app wrote; with ``follow``, until Heroku ends the session."""
    lines = MOST_LINES if tail is None else min(max(tail, 0), MOST_LINES)
    if lines == 0 and not follow:
        return
    asked = {"source": "app", "lines": max(lines, 1), "tail": follow}
    session = heroku.call("POST", f"/apps/{app}/log-sessions", f"read the log of '{app}'", asked)
    for line in heroku.stream(str(session["logplex_url"])):
        if line:
            yield text_of(line)


def text_of(line: str) -> str:
    """Return what the process wrote of a line; another one as it is."""
    found = _LINE.fullmatch(line)
    return found[1] if found else line
