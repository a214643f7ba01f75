"""Options of a target as numbers and choices, and names of things that AWS keeps short.

    {"timeout": "90"} ──number("timeout", 60, least=1, most=900)──► 90

Options are words of the command line (``--option timeout=90``) or of ``deploy.options``; what
cannot be is refused before anything is asked of AWS.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from modelpack.errors import UsageError, did_you_mean

OPTIONS: Mapping[str, str] = {
    "alarm_topic": "ARN of a topic of SNS that is told of alarms",
    "base": "base of the image, where one is built",
    "endpoint_url": "one address for all services, such as that of an emulator",
    "profile": "profile of the AWS configuration",
    "region": "region; 'deploy.region' stands above it",
}
"""Options of every target here; a mode may have more."""

CERTIFICATE: Mapping[str, str] = {
    "certificate": "ARN of the certificate that a load balancer shows",
}
"""Of the modes that have a load balancer."""

# What CloudWatch Logs knows (``PutRetentionPolicy``), up to two years; the default first.
_RETENTIONS = ("30", "1", "3", "5", "7", "14", "60", "90", "120", "150", "180", "365", "400", "731")

_YES = ("yes", "true", "on", "1")
_NO = ("no", "false", "off", "0")
_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([A-Za-z0-9!_.*'()/=+-]*))?")


def number(
    options: Mapping[str, str], key: str, default: int, *, least: int, most: int, unit: str = ""
) -> int:
    """Return an option as a whole number; raises UsageError for one that is not within bounds."""
    text = options.get(key)
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,9}", text) or not least <= int(text) <= most:
        bounds = f"{least} to {most}{' ' + unit if unit else ''}"
        raise UsageError(
            f"option '{key}': must be {bounds}, got '{text[:40]}'",
            hint=f"leave it out for {default if least <= default <= most else 'none'}",
        )
    return int(text)


def is_on(options: Mapping[str, str], key: str, *, default: bool = False) -> bool:
    """Return an option that says yes or no; raises UsageError for anything else."""
    text = options.get(key)
    if text is None:
        return default
    if text.lower() not in _YES + _NO:
        raise UsageError(
            f"option '{key}': must be yes or no, got '{text[:40]}'",
            hint=f"leave it out for {'yes' if default else 'no'}",
        )
    return text.lower() in _YES


def one_of(options: Mapping[str, str], key: str, choices: Sequence[str]) -> str:
    """Return an option that is one of some words, the first by default; raises UsageError."""
    text = options.get(key, choices[0])
    if text not in choices:
        near = did_you_mean(text, choices)
        raise UsageError(
            f"option '{key}': must be {', '.join(choices[:-1])} or {choices[-1]}, "
            f"got '{text[:40]}'",
            hint=f"did you mean '{near}'?" if near else f"leave it out for {choices[0]}",
        )
    return text


def address_of(options: Mapping[str, str], key: str, default: str | None = None) -> str | None:
    """Return an option that is an address over HTTP, None for none; raises UsageError."""
    text = options.get(key) or default
    if text is None:
        return None
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"option '{key}': '{text[:80]}' is no address",
            hint="write one such as http://127.0.0.1:4566, or leave it out for AWS itself",
        )
    return text


def retention_of(options: Mapping[str, str]) -> int:
    """Return how many days log lines are kept, 30 unless told; raises UsageError."""
    return int(one_of(options, "retention", _RETENTIONS))


def bucket_and_prefix(key: str, text: str) -> tuple[str, str]:
    """Return bucket and prefix, without slashes around it, of ``s3://BUCKET/PREFIX``.

    Raises UsageError.  Rules of names: Amazon S3 user guide, "General purpose bucket naming rules".
    """
    match = _S3.fullmatch(text)
    if match is None or ".." in text:
        raise UsageError(
            f"option '{key}': '{text[:60]}' is no place in S3", hint="write s3://BUCKET/PREFIX"
        )
    return match[1], (match[2] or "").strip("/")


def shortened(name: str, most: int) -> str:
    """Return a name of at most ``most`` characters; six digits of a hash stand for what is cut off."""
    if len(name) <= most:
        return name
    digits = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{name[: most - 7].rstrip('-')}-{digits}"
