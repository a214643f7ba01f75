from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import RegistryError, ToolMissingError
from modelpack.registry import credentials
from modelpack.registry.credentials import Credentials

HOST = "registry.example:5000"
HELPER = """#!/bin/sh
# A credential helper that keeps what it is told in a folder beside it.
store=$(dirname "$0")/kept; mkdir -p "$store"
input=$(cat)
case $1 in
    get) file="$store/$(echo "$input" | tr / _)"
         [ -f "$file" ] || { echo "credentials not found in native keychain"; exit 1; }
         cat "$file" ;;
    store) host=$(echo "$input" | sed 's/.*"ServerURL": "\\([^"]*\\)".*/\\1/' | tr / _)
           echo "$input" > "$store/$host" ;;
    erase) rm -f "$store/$(echo "$input" | tr / _)" ;;
esac
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "docker" / "config.json"


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A helper program called 'vault' in the search path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker-credential-vault"
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return "vault"


def write(config: Path, value: Any) -> None:
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps(value))


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_nothing_is_known_without_a_configuration() -> None:
    assert credentials.find(HOST) is None
    assert not credentials.remove(HOST)


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"https://{HOST}/v1/"])
def test_what_docker_wrote_is_found(config: Path, key: str) -> None:
    write(config, {"auths": {"other.example": auth("a:b"), key: auth("me:se:cret")}})
    assert credentials.find(HOST) == Credentials("me", "se:cret")


def test_the_public_registry_of_docker_has_a_key_of_its_own(config: Path) -> None:
    write(config, {"auths": {"https://index.docker.io/v1/": auth("me:secret")}})
    assert credentials.find("docker.io") == Credentials("me", "secret")
    assert credentials.remove("docker.io")
    assert credentials.find("docker.io") is None


def test_a_token_is_told_from_a_password(config: Path) -> None:
    write(config, {"auths": {HOST: {"auth": "", "identitytoken": "refresh"}}})
    found = credentials.find(HOST)
    assert found is not None
    assert (found.is_identity_token, found.secret) == (True, "refresh")


def test_a_login_keeps_what_else_stands_there(config: Path) -> None:
    write(config, {"auths": {"a.example": auth("x:y")}, "psFormat": "table"})
    assert credentials.save(HOST, Credentials("me", "secret")) == str(config)
    kept = json.loads(config.read_text())
    assert kept["psFormat"] == "table"
    assert set(kept["auths"]) == {"a.example", HOST}
    assert kept["auths"][HOST] == auth("me:secret")
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert [path.name for path in config.parent.iterdir()] == ["config.json"]
    assert credentials.remove(HOST)
    assert set(json.loads(config.read_text())["auths"]) == {"a.example"}


def test_a_link_to_the_configuration_stays_one(config: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    config.parent.mkdir()
    config.symlink_to(real)
    credentials.save(HOST, Credentials("me", "secret"))
    assert config.is_symlink()
    assert HOST in json.loads(real.read_text())["auths"]


@pytest.mark.parametrize("by", [{"credsStore": "vault"}, {"credHelpers": {HOST: "vault"}}])
def test_a_helper_keeps_what_the_file_then_does_not(
    config: Path, helper: str, by: dict[str, Any]
) -> None:
    write(config, by)
    assert credentials.find(HOST) is None
    assert credentials.save(HOST, Credentials("me", "secret")) == f"docker-credential-{helper}"
    assert credentials.find(HOST) == Credentials("me", "secret")
    assert "secret" not in config.read_text()
    assert json.loads(config.read_text()) == by
    assert credentials.remove(HOST)
    assert credentials.find(HOST) is None


def test_the_helper_of_a_host_goes_before_the_one_for_all(config: Path, helper: str) -> None:
    write(config, {"credsStore": "missing", "credHelpers": {HOST: helper}})
    assert credentials.find(HOST) is None
    with pytest.raises(ToolMissingError, match="docker-credential-missing"):
        credentials.find("other.example")


@pytest.mark.parametrize("name", ["../x", "a b", "", 7, "x;y"])
def test_a_helper_is_a_plain_name(config: Path, name: Any) -> None:
    write(config, {"credsStore": name or "/bin/x"})
    with pytest.raises(RegistryError, match="cannot be one"):
        credentials.find(HOST)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"auths": {"registry.example:5000": {"auth": "%"}}}']
)
def test_a_damaged_configuration_is_said(config: Path, text: str) -> None:
    config.parent.mkdir()
    config.write_text(text)
    with pytest.raises(RegistryError, match=r"config\.json"):
        credentials.find(HOST)


def test_a_secret_is_not_shown() -> None:
    assert "secret" not in repr(Credentials("me", "secret"))
