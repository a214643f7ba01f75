"""Credentials of registries, where Docker keeps them and nowhere else.

    $DOCKER_CONFIG/config.json (~/.docker/config.json)
        credHelpers: {HOST: NAME} ──► docker-credential-NAME ┐
        credsStore: NAME          ──► docker-credential-NAME ├──► Credentials
        auths: {HOST: {auth}}     ──────────────────────────┘

modelpack has no file of its own for them: what ``login`` is told goes to the helper that Docker is
set up with, else into Docker's file as ``docker login`` writes it, so that every tool sees the
same and ``docker logout`` removes it.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelpack.errors import ModelpackError, RegistryError, ToolMissingError
from modelpack.registry.names import DOCKER_HUB

_HUB_KEY = "https://index.docker.io/v1/"
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HELPER_TIMEOUT_S = 60
_TOKEN_USER = "<token>"  # noqa: S105 - Docker's word for "the secret is a token"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a secret; the secret is never shown."""

    username: str
    secret: str = field(repr=False)

    @property
    def is_identity_token(self) -> bool:
        """True when the secret is a refresh token and not a password."""
        return self.username == _TOKEN_USER

    @property
    def basic(self) -> str:
        """Value of an ``Authorization`` header."""
        text = f"{self.username}:{self.secret}".encode()
        return f"Basic {base64.b64encode(text).decode()}"


def config_file() -> Path:
    """Return the path of Docker's configuration file."""
    folder = os.environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


def find(host: str) -> Credentials | None:
    """Return what Docker knows for a host; raises RegistryError, ToolMissingError."""
    config = _read()
    if (helper := _helper_for(host, config)) is not None:
        found = _ask_helper(helper, host)
        if found is not None:
            return found
    auths = config.get("auths")
    for key, value in (auths if isinstance(auths, dict) else {}).items():
        if _host_of(key) == host and isinstance(value, dict):
            return _decoded(value, host)
    return None


def save(host: str, credentials: Credentials) -> str:
    """Keep credentials as ``docker login`` does and return where; raises as ``find``."""
    config = _read()
    if (helper := _helper_for(host, config)) is not None:
        account = {
            "ServerURL": _key(host),
            "Username": credentials.username,
            "Secret": credentials.secret,
        }
        _run_helper(helper, "store", json.dumps(account))
        return f"docker-credential-{helper}"
    auths = config.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise _unreadable("its 'auths' are of another form")
    text = f"{credentials.username}:{credentials.secret}".encode()
    auths[_key(host)] = {"auth": base64.b64encode(text).decode()}
    _write(config)
    return str(config_file())


def remove(host: str) -> bool:
    """Forget the credentials of a host and say whether there were any; raises as ``find``."""
    config = _read()
    had_some = False
    if (helper := _helper_for(host, config)) is not None:
        had_some = _ask_helper(helper, host) is not None
        if had_some:
            _run_helper(helper, "erase", _key(host))
    auths = config.get("auths")
    keys = [key for key in auths if _host_of(key) == host] if isinstance(auths, dict) else []
    if isinstance(auths, dict) and keys:
        for key in keys:
            del auths[key]
        _write(config)
    return had_some or bool(keys)


def _key(host: str) -> str:
    return _HUB_KEY if host == DOCKER_HUB else host


def _host_of(key: str) -> str:
    """Return the host that a key of ``auths`` stands for: some tools write URLs."""
    host = key.partition("://")[2] or key
    host = host.partition("/")[0]
    return DOCKER_HUB if host in ("index.docker.io", "registry-1.docker.io") else host


def _helper_for(host: str, config: dict[str, Any]) -> str | None:
    helpers = config.get("credHelpers")
    by_host = helpers if isinstance(helpers, dict) else {}
    name = by_host.get(_key(host), by_host.get(host, config.get("credsStore")))
    if not name:
        return None
    if not isinstance(name, str) or not _HELPER.fullmatch(name):
        raise _unreadable("it names a credential helper that cannot be one")
    return name


def _ask_helper(helper: str, host: str) -> Credentials | None:
    answer = _run_helper(helper, "get", _key(host), may_be_missing=True)
    if answer is None:
        return None
    try:
        found = json.loads(answer)
        return Credentials(str(found["Username"]), str(found["Secret"]))
    except (ValueError, KeyError, TypeError) as cause:
        raise RegistryError(
            f"'docker-credential-{helper}' gave an answer that cannot be read"
        ) from cause


def _run_helper(helper: str, action: str, text: str, *, may_be_missing: bool = False) -> str | None:
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, action],
            input=text,
            capture_output=True,
            text=True,
            timeout=_HELPER_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as cause:
        raise ToolMissingError(
            f"Docker's configuration names '{program}', which is not there",
            hint=f"install it, or take it out of '{config_file()}'",
        ) from cause
    except subprocess.TimeoutExpired as cause:
        raise RegistryError(f"'{program} {action}' did not end") from cause
    if done.returncode == 0:
        return done.stdout
    said = (done.stdout.strip() or done.stderr.strip() or "it said nothing").splitlines()[0]
    if may_be_missing and "not found" in said:
        return None
    raise RegistryError(
        f"'{program} {action}' failed: {said[:200]}", hint=f"see what '{config_file()}' names"
    )


def _decoded(value: dict[str, Any], host: str) -> Credentials | None:
    if token := value.get("identitytoken"):
        return Credentials(_TOKEN_USER, str(token))
    if "username" in value and "password" in value:
        return Credentials(str(value["username"]), str(value["password"]))
    if not value.get("auth"):
        return None
    try:
        user, colon, secret = base64.b64decode(value["auth"], validate=True).decode().partition(":")
    except (binascii.Error, ValueError, TypeError) as cause:
        raise _unreadable(f"what it keeps for '{host}' is damaged") from cause
    if not colon:
        raise _unreadable(f"what it keeps for '{host}' is damaged")
    return Credentials(user, secret.rstrip("\0"))


def _read() -> dict[str, Any]:
    try:
        found = json.loads(config_file().read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as cause:
        raise _unreadable((cause.strerror or "it cannot be opened").lower()) from cause
    except ValueError as cause:
        raise _unreadable("it is not JSON") from cause
    if not isinstance(found, dict):
        raise _unreadable("it is not a JSON object")
    return found


def _write(config: dict[str, Any]) -> None:
    """Replace the file whole, readable by its owner alone; a link goes on being one."""
    file = config_file().resolve()
    fresh = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(config, out, indent="\t")
            out.write("\n")
            out.flush()
            os.fsync(handle)
        fresh.replace(file)
    except OSError as cause:
        fresh.unlink(missing_ok=True)
        raise RegistryError(f"cannot write '{file}': {(cause.strerror or '').lower()}") from cause


def _unreadable(why: str) -> ModelpackError:
    return RegistryError(
        f"Docker's configuration '{config_file()}' cannot be used: {why}",
        hint="mend it, or name another folder in DOCKER_CONFIG",
    )
