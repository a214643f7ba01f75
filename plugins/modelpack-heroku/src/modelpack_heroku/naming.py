"""The names that things have on Heroku.

    deployment ``words`` ──app_name──► ``modelpack-words``, and ``modelpack-words-trial`` beside it

An app has a name of 3 to 30 small letters, digits and dashes that begins with a letter and ends with
none of the dashes, and no other app of Heroku has it.  Source: Heroku Platform API reference, "App".
"""

from __future__ import annotations

import hashlib
import re

from modelpack.errors import UsageError

PREFIX = "modelpack"
TRIAL = "-trial"

_MOST_LETTERS = 30 - len(TRIAL)
_APP = re.compile(rf"[a-z][a-z0-9-]{{1,{_MOST_LETTERS - 2}}}[a-z0-9]")


def app_name(deployment: str, given: str | None = None) -> str:
    """Return the name of a deployment's app; ``given`` is what the option says.

    Where a name has to be changed, six digits of its hash keep two deployments apart.
    """
    if given is not None:
        return given
    plain = re.sub(r"[^a-z0-9]+", "-", deployment).strip("-")
    if plain != deployment or len(PREFIX) + 1 + len(plain) > _MOST_LETTERS:
        hashed = hashlib.sha256(deployment.encode()).hexdigest()[:6]
        plain = f"{plain[: _MOST_LETTERS - len(PREFIX) - 8].strip('-')}-{hashed}"
    return f"{PREFIX}-{plain}"


def check_app(given: str) -> None:
    """Raise UsageError for what cannot be the name of an app that has a trial beside it."""
    if not _APP.fullmatch(given):
        raise UsageError(
            f"option 'app': '{given[:60]}' cannot be the name of an app",
            hint=f"3 to {_MOST_LETTERS} small letters, digits and dashes, a letter first",
        )


def is_ours(app: str) -> bool:
    """Return whether an app is named as those of deployments are, and is no trial."""
    return app.startswith(f"{PREFIX}-") and not app.endswith(TRIAL)
