"""What is fetched, and who asks for it.

HOST[:PORT]/REPOSITORY@sha256:HEX ──parse──► Reference(host, repository, digest)
{"auths": {HOST: {"auth": …}}}          ──login_for──► Login, or None

A reference has a digest, always: a pod that starts next year gets what the one of today got.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelpack.errors import UsageError

_REFERENCE = re.compile(
    r"(?=[^/]*[.:]|localhost/)(?P<host>[A-Za-z0-9.-]+(?::\d{1,5})?|\[[0-9a-f:]+\](?::\d{1,5})?)"
    r"/(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)@(?P<digest>sha256:[0-9a-f]{64})"
)
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class Reference:
    """One manifest in one repository."""

    host: str
    repository: str
    digest: str

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}@{self.digest}"

    @property
    def origin(self) -> str:
        """Scheme and host: in the clear with this machine alone."""
        host = "registry-1.docker.io" if self.host in _HUB else self.host
        return f"{'http' if is_loopback(host) else 'https'}://{host}"


@dataclass(frozen=True, slots=True)
class Login:
    """A user and a secret; the secret is never shown."""

    username: str
    secret: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The header of it."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.secret}".encode()).decode()


def parse(text: str) -> Reference:
    """Return a reference; raises UsageError for any that may mean something else tomorrow."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"'{text[:200]}' names no bundle in a registry by its digest",
            hint="write HOST/REPOSITORY@sha256:DIGEST; 'modelpack push' says the digest",
        )
    return Reference(match["host"], match["repository"], match["digest"])


def is_loopback(host: str) -> bool:
    """Return whether a host, with or without a port, is this machine."""
    name = re.sub(r":\d+$", "", host).strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def login_for(host: str, file: Path | None) -> Login | None:
    """Return who asks a host, by a file as Docker writes it; None: nobody in particular.

    Raises UsageError for a file that cannot be read; what is in it is not repeated.
    """
    if file is None:
        return None
    try:
        auths = json.loads(file.read_bytes()).get("auths") or {}
        found = next((one for key, one in auths.items() if _host_of(key) == _plain(host)), None)
        return None if found is None else _decoded(found)
    except (OSError, ValueError, AttributeError, KeyError, TypeError, binascii.Error) as cause:
        raise UsageError(
            f"'{file}' holds no logins that can be read",
            hint="make the Secret with 'kubectl create secret docker-registry'",
        ) from cause


def _decoded(value: dict[str, Any]) -> Login | None:
    if value.get("identitytoken"):
        return Login("<token>", str(value["identitytoken"]))
    if "username" in value and "password" in value:
        return Login(str(value["username"]), str(value["password"]))
    if not value.get("auth"):
        return None
    user, _, secret = base64.b64decode(value["auth"], validate=True).decode().partition(":")
    return Login(user, secret.rstrip("\0"))


def _host_of(key: str) -> str:
    """Return the host that a key stands for: some tools write URLs."""
    return _plain((key.partition("://")[2] or key).partition("/")[0])


def _plain(host: str) -> str:
    return _HUB[0] if host in _HUB else host
