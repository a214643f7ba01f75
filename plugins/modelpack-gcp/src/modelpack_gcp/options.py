"""The options of the targets here: what each of them may say.

    {"region": "europe-west1", …} ──check──► nothing, or UsageError with a hint

Options come as text, from a command line or a file.  All of it is looked at when a target is made, before
anything is planned, so that no wrong word is found half way through a deploy.  What is right in form may
still be wrong: whether there is a project of that name, only Google knows.

Sources: Resource Manager, "Creating and managing projects" (ids of projects); Compute Engine, "Regions
and zones"; IAM, "Service account overview" (addresses) and "Principal identifiers"; google-auth's
documentation, ``load_credentials_from_file`` (``type``); Kubernetes Engine API, ``Cluster.name``.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from modelpack.errors import UsageError, did_you_mean

COMMON: Mapping[str, str] = {
    "base": "base of the image",
    "credentials": "file with credentials; none: nobody in particular asks",
    "endpoint": "one address for all services of Google, such as that of a stand-in",
    "project": "id of the project; default: GOOGLE_CLOUD_PROJECT, or that of the credentials",
    "region": "region; 'deploy.region' stands above it",
}
"""Options of every target that deploys to a service of Google; a mode may have more."""

NOBODY = "none"
"""Of ``credentials``: nobody in particular asks."""

_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]{1,20}")
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")
_ZONE = re.compile(rf"({_REGION.pattern})-[a-z]")
_ACCOUNT = re.compile(r"[a-z0-9-]+@[a-z0-9.-]+\.[a-z]+")
_CLUSTER = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_MEMBER = re.compile(
    r"(?:user|group|serviceAccount):[^\s,:@]+@[^\s,:@]+|domain:[^\s,:@]+|allUsers"
    r"|allAuthenticatedUsers|principal(?:Set)?://\S+"
)
_MOST_SHOWN = 60
_YES, _NO = "yes", "no"


def check(options: Mapping[str, str], *, may_be_zone: bool = False) -> None:
    """Raise UsageError for the first option that says what it may not.

    may_be_zone  ``region`` is that of a cluster, and a cluster may be in one zone
    """
    for option, said in options.items():
        is_zone = option == "region" and may_be_zone and _ZONE.fullmatch(said)
        if option in _CHECKS and not is_zone:
            _CHECKS[option](option, said)


def settled(options: Mapping[str, str]) -> dict[str, str]:
    """Return options as they are remembered: a file by its whole name, wherever somebody is later."""
    found = dict(options)
    if found.get("credentials", NOBODY) != NOBODY:
        found["credentials"] = str(_file(found["credentials"]))
    return found


def flag(option: str, said: str) -> bool:
    """Return whether an option says yes; raises UsageError for what is neither yes nor no."""
    return choice(option, said, (_YES, _NO)) == _YES


def choice(option: str, said: str, words: tuple[str, ...]) -> str:
    """Return what an option says; raises UsageError for what is none of its words."""
    if said not in words:
        near = did_you_mean(said, words)
        raise UsageError(
            f"option '{option}': must be {' or '.join(words)}, got '{_short(said)}'",
            hint=f"write --option {option}={near or words[0]}",
        )
    return said


def whole(option: str, said: str, least: int, most: int) -> int:
    """Return an option that is a whole number; raises UsageError."""
    number = int(said[:10]) if said.isascii() and said.isdigit() else None
    if number is None or not least <= number <= most or len(said) > len(str(most)):
        near = most if number is not None and number > most else least
        raise UsageError(
            f"option '{option}': must be a whole number from {least} to {most}, "
            f"got '{_short(said)}'",
            hint=f"write --option {option}={near}",
        )
    return number


def members(option: str, said: str) -> tuple[str, ...]:
    """Return the principals that an option names, in order; raises UsageError."""
    found = said.replace(",", " ").split()
    for member in found or [said]:
        if not _MEMBER.fullmatch(member):
            raise UsageError(
                f"option '{option}': '{_short(member)}' is nobody that Google knows by that form",
                hint="write user:NAME, group:NAME or serviceAccount:NAME, with a space between two",
            )
    return tuple(sorted(set(found)))


def region(where: str, said: str) -> str:
    """Return the name of a region; raises UsageError for a zone, and for what is neither."""
    zone = _ZONE.fullmatch(said)
    if zone is not None:
        raise UsageError(
            f"{where}: '{said}' is a zone, and a region is asked for", hint=f"write '{zone[1]}'"
        )
    if not _REGION.fullmatch(said):
        raise UsageError(
            f"{where}: no region of Google is called '{_short(said)}'",
            hint="they are called like 'europe-west1'; see 'gcloud run regions list'",
        )
    return said


def _region(option: str, said: str) -> None:
    region(f"option '{option}'", said)


def _project(option: str, said: str) -> None:
    if not _PROJECT.fullmatch(said):
        raise UsageError(
            f"option '{option}': '{_short(said)}' is not the id of a project",
            hint="ids have 6 to 30 small letters, digits and dashes; see 'gcloud projects list'",
        )


def _endpoint(option: str, said: str) -> None:
    """The token of the caller goes there: unprotected to this machine alone."""
    try:
        parts = urlsplit(said)
        host, is_whole = parts.hostname or "", parts.port != 0
    except ValueError:  # a port that is none, half an address
        parts, host, is_whole = urlsplit(""), "", False
    if "@" in parts.netloc:
        raise UsageError(
            f"option '{option}': an address with a password in it is not taken",
            hint="who asks is said by '--option credentials=FILE'",
        )
    if parts.scheme not in ("http", "https") or not host or not is_whole:
        raise UsageError(
            f"option '{option}': must be the address of a server, got '{_short(said)}'",
            hint="write http://127.0.0.1:PORT or https://HOST",
        )
    if parts.scheme == "http" and not _is_here(host):
        raise UsageError(
            f"option '{option}': '{_short(host)}' would get the token without encryption",
            hint="write https://; http:// is for this machine alone",
        )


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _credentials(option: str, said: str) -> None:
    if said == NOBODY:
        return
    try:
        value = json.loads(_file(said).read_bytes())
    except OSError as cause:
        raise UsageError(
            f"option '{option}': cannot read '{_short(said)}': {cause.strerror}",
            hint="name a file with credentials, or leave it out for those of this machine",
        ) from cause
    except ValueError:
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise UsageError(
            f"option '{option}': '{_short(said)}' has no credentials of Google in it",
            hint="'gcloud auth application-default login' makes such a file",
        )


def _file(said: str) -> Path:
    return Path(said).expanduser().absolute()


def _fits(form: re.Pattern[str], is_not: str, hint: str, option: str, said: str) -> None:
    if not form.fullmatch(said):
        raise UsageError(f"option '{option}': '{_short(said)}' is not {is_not}", hint=hint)


def _short(said: str) -> str:
    return said if len(said) <= _MOST_SHOWN else f"{said[: _MOST_SHOWN - 1]}…"


_CHECKS: Mapping[str, Callable[[str, str], object]] = {
    "access_logs": flag,
    "base": partial(
        _fits, re.compile(r"[^\s-]\S*"), "the name of an image", "write HOST/NAME:TAG or NAME:TAG"
    ),
    "billing": partial(choice, words=("request", "instance")),
    "cluster": partial(
        _fits,
        _CLUSTER,
        "the name of a cluster",
        "its project and region go into options of their own",
    ),
    "credentials": _credentials,
    "egress": partial(choice, words=("private", "all")),
    "endpoint": _endpoint,
    "grpc": flag,
    "ingress": partial(choice, words=("internal", "balancer", "all")),
    "inside": flag,
    "invokers": members,
    "project": _project,
    "region": _region,
    "service_account": partial(
        _fits,
        _ACCOUNT,
        "the address of a service account",
        "write NAME@PROJECT.iam.gserviceaccount.com",
    ),
    "spot": flag,
    "target_percent": partial(whole, least=1, most=100),
    "timeout": partial(whole, least=1, most=3600),
    "zonal_redundancy": flag,
}
"""Of every option that anything can be said of."""
