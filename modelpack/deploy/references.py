"""Values of secrets, read at the last moment from where their references point.

    TOKEN: env:TOKEN          a variable of whoever deploys
    TOKEN: file:/run/token    the content of a file of this machine, without its last newline
        ──resolve──► {"TOKEN": "…"}

Values go to the engine and nowhere else: no plan, record, journal, label or message holds one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from modelpack.errors import UsageError

SCHEMES = ("env", "file")
MOST_BYTES = 64 * 1024


def resolve(
    references: Mapping[str, str], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the value of each secret, by variable; ``environ`` is what ``env:`` speaks of.

    Raises UsageError for one that is not there or cannot be a variable; it names no value.
    """
    found = {}
    for variable, reference in references.items():
        scheme, _, rest = reference.partition(":")
        is_file = scheme == "file"
        value = _from_file(variable, rest) if is_file else _from_env(variable, rest, environ)
        if "\0" in value:
            raise UsageError(f"deploy.secrets.{variable}: its value has a zero byte in it")
        found[variable] = value
    return found


def _from_env(variable: str, name: str, env: Mapping[str, str]) -> str:
    if name not in env:
        raise UsageError(
            f"deploy.secrets.{variable}: the variable '{name}' is not set here",
            hint="set it for this command; it is read when the deployment is applied",
        )
    return env[name]


def _from_file(variable: str, path: str) -> str:
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise UsageError(
                f"deploy.secrets.{variable}: its file has more than {MOST_BYTES} bytes"
            )
        return data.decode().removesuffix("\n")
    except (OSError, UnicodeDecodeError) as cause:
        why = cause.strerror if isinstance(cause, OSError) else "it is not UTF-8 text"
        raise UsageError(
            f"deploy.secrets.{variable}: its file cannot be read: {(why or 'failed').lower()}",
            hint="name a file that whoever deploys may read",
        ) from cause
