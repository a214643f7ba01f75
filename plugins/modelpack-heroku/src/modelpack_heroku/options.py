"""The options of the target: what each means, and what it cannot be.

    --option app=vision --option preboot=no ──check_options──► taken, or UsageError

A wrong one is said before anything is planned.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from modelpack.deploy import refuse_unknown
from modelpack.errors import UsageError
from modelpack_heroku.credentials import check_file
from modelpack_heroku.naming import check_app

OPTIONS: Mapping[str, str] = {
    "app": "name of the app; default: 'modelpack-' and the name of the deployment",
    "base": "base of the image",
    "endpoint": "another address of the Platform API, such as that of a stand-in",
    "preboot": "no: old dynos end before new ones start, also where Heroku has it otherwise",
    "registry": "another host of the container registry",
    "team": "team that a new app belongs to",
    "token_file": "file with the key; default: HEROKU_API_KEY, then ~/.netrc",
}
"""Every option, and what it means."""


def check_options(target: str, options: Mapping[str, str]) -> None:
    """Raise UsageError for an option that there is not, and for a value that it cannot have."""
    refuse_unknown(target, options, OPTIONS)
    for key, value in options.items():
        if not value or not value.isprintable() or value != value.strip():
            raise UsageError(f"option '{key}': '{value[:40]!a}' is no value for it")
    if options.get("preboot", "yes") not in ("yes", "no"):
        raise UsageError(
            f"option 'preboot': must be yes or no, got '{options['preboot'][:40]}'",
            hint="write --option preboot=no",
        )
    if "app" in options:
        check_app(options["app"])
    endpoint = options.get("endpoint")
    if endpoint is not None and not _is_safe(endpoint):
        raise UsageError(
            f"option 'endpoint': '{endpoint[:60]}' is no URL that a key may go to",
            hint="write it with 'https://' in front, or name this machine itself",
        )
    if "/" in options.get("registry", "") or "/" in options.get("team", ""):
        key = "registry" if "/" in options.get("registry", "") else "team"
        raise UsageError(
            f"option '{key}': must be a name without a slash",
            hint=f"write --option {key}=NAME",
        )
    if "token_file" in options:
        check_file(options["token_file"])


def _is_safe(endpoint: str) -> bool:
    """Return whether a key may go to an address: encrypted, or to this machine itself."""
    parts = urlsplit(endpoint)
    is_here = parts.hostname in ("127.0.0.1", "localhost", "::1")
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_here)
    )
