"""Whose key asks Heroku, and where it is kept.

    --option token_file=FILE ─┐
    HEROKU_API_KEY ───────────┼──first──► the key
    ~/.netrc, api.heroku.com ─┘

The places of Heroku's own command line.  Sources: Heroku Dev Center, "Heroku CLI Authentication" and
"Platform API Quickstart".
"""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping
from pathlib import Path

from modelpack.errors import CredentialsError, UsageError
from modelpack_heroku.refusals import NO_KEY

VARIABLE = "HEROKU_API_KEY"
MACHINE = "api.heroku.com"
_MOST_BYTES = 4096


def key_of(token_file: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Return the key; raises CredentialsError when there is none, UsageError for a file without one."""
    found = _of_a_file(token_file) if token_file else environ.get(VARIABLE) or _of_netrc(environ)
    if not found:
        raise CredentialsError("there is no key for Heroku", hint=NO_KEY)
    if not (found.isascii() and found.isprintable() and " " not in found):
        raise CredentialsError(
            "the key for Heroku is no key: it has other characters in it", hint=NO_KEY
        )
    return found


def check_file(token_file: str) -> None:
    """Raise UsageError when the file cannot be read, or holds nothing."""
    _of_a_file(token_file)


def _of_a_file(path: str) -> str:
    try:
        with Path(path).expanduser().open("rb") as file:
            text = file.read(_MOST_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as cause:
        why = cause.strerror if isinstance(cause, OSError) else "it is not text"
        raise UsageError(
            f"option 'token_file': '{path[:100]}' cannot be read: {(why or 'failed').lower()}",
            hint="name a file that holds the key and nothing else",
        ) from cause
    if not text:
        raise UsageError(
            f"option 'token_file': '{path[:100]}' is empty",
            hint="name a file that holds the key and nothing else",
        )
    return text


def _of_netrc(environ: Mapping[str, str]) -> str | None:
    file = environ.get("NETRC") or str(Path("~/.netrc").expanduser())
    try:
        found = netrc.netrc(file).authenticators(MACHINE)
    except OSError:
        return None
    except netrc.NetrcParseError as cause:
        raise CredentialsError(
            f"'{file}' cannot be read: {cause.msg}", hint="mend it, or set HEROKU_API_KEY"
        ) from cause
    return None if found is None else found[2]
