"""The commands as people type them."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import subprocess
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelpack.cli.main import main
from modelpack.store import Entry, Store

PROGRAM = Path(sysconfig.get_path("scripts")) / "modelpack"


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Cli = Callable[..., Done]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process: a new one for each would take most of the time."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, text: str = "", **env: str) -> Done:
        with monkeypatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            patch.setattr("sys.stdin", io.StringIO(text))
            status = main(words)
        out, err = capsys.readouterr()
        return Done(status, out, err)

    return run


@pytest.fixture
def store() -> Store:
    """The store that the commands of this test use."""
    return Store()


@pytest.fixture
def entry(workshop: Any) -> Entry:
    return workshop.bundle(model=workshop.model(b"w" * 500_000))


def failed(done: Done, status: int, code: str) -> str:
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"error[{code}]: ")
    assert len(lines) <= 4
    return done.stderr


def test_push_pull_and_copy(cli: Cli, entry: Entry, registry: str, tmp_path: Path) -> None:
    pushed = cli("push", "digits", f"{registry}/cmd/")
    assert pushed.stdout == f"{registry}/cmd/digits:1\n"
    assert re.search(r"\d+(\.\d)? kB sent", pushed.stderr)
    assert f"digest {entry.digest}" in pushed.stderr
    copied = cli("copy", f"{registry}/cmd/digits:1", f"{registry}/cmd/copy:2", "-o", "json")
    facts = json.loads(copied.stdout)
    assert facts["reference"] == f"{registry}/cmd/copy:2"
    assert facts["mounted_bytes"] > 500_000
    there = {"MODELPACK_HOME": str(tmp_path / "there")}
    pulled = cli("pull", f"{registry}/cmd/copy:2", **there)
    assert (pulled.returncode, pulled.stdout) == (0, "digits:1\n")
    again = json.loads(cli("pull", f"{registry}/cmd/copy:2", "-o", "json", **there).stdout)
    assert (again["tag"], again["kind"], again["digest"]) == ("digits:1", "bundle", entry.digest)
    assert again["saved_bytes"] > 500_000
    assert again["received_bytes"] < 10_000
    assert cli("verify", "digits", **there).returncode == 0


def test_the_place_can_be_set_once(cli: Cli, entry: Entry, registry: str, tmp_path: Path) -> None:
    place = {"MODELPACK_REGISTRY": f"{registry}/once"}
    assert cli("push", "digits", **place).stdout == f"{registry}/once/digits:1\n"
    there = {"MODELPACK_HOME": str(tmp_path / "there")}
    assert cli("pull", "digits:1", **place, **there).stdout == "digits:1\n"


def test_a_model_is_pushed_as_one(cli: Cli, entry: Entry, registry: str, tmp_path: Path) -> None:
    assert cli("push", "models/clf", f"{registry}/cmd/clf:x").returncode == 0
    there = {"MODELPACK_HOME": str(tmp_path / "there")}
    pulled = cli("pull", f"{registry}/cmd/clf:x", **there)
    assert pulled.stdout.startswith("models/clf:")


def test_what_fails_is_said_with_the_right_status(
    cli: Cli, entry: Entry, registry: str, guarded: str
) -> None:
    assert f"modelpack login {guarded}" in failed(
        cli("push", "digits", f"{guarded}/cmd"), 4, "login-needed"
    )
    failed(cli("pull", f"{registry}/nothing:1"), 3, "not-found")
    failed(cli("pull", "Registry/x:1"), 2, "bad-reference")
    failed(cli("pull", "registry.invalid/x:1"), 1, "unreachable")
    failed(cli("push", "digits"), 2, "bad-reference")
    failed(cli("push", "nothing", f"{registry}/x"), 3, "bundle-not-found")
    failed(cli("push", "clf", f"{registry}/x"), 3, "bundle-not-found")
    failed(cli("push", "digits", "http://127.0.0.1:1/x"), 4, "refused")


def test_a_login_is_read_from_standard_input_and_shown_nowhere(
    cli: Cli, entry: Entry, guarded: str, tmp_path: Path
) -> None:
    words = ("login", guarded, "--username", "me", "--password-stdin")
    refused = cli(*words, text="wrong\n")
    assert "wrong" not in failed(refused, 4, "login-needed")
    done = cli(*words, text="secret\n")
    assert (done.returncode, done.stdout) == (0, "")
    assert "secret" not in done.stderr
    assert "unencrypted" in done.stderr
    assert cli("push", "digits", f"{guarded}/cmd").returncode == 0
    assert cli("logout", guarded).returncode == 0
    failed(cli("push", "digits", f"{guarded}/cmd"), 4, "login-needed")


def test_nothing_is_asked_without_a_terminal(cli: Cli, guarded: str) -> None:
    assert "--password-stdin" in failed(cli("login", guarded), 2, "usage")


def test_a_login_is_at_a_host_and_nothing_else(cli: Cli) -> None:
    for command in ("login", "logout"):
        assert "a host is such as" in failed(cli(command, "r.example/x"), 2, "bad-reference")


def test_a_login_is_asked_for_on_a_terminal_and_the_password_not_echoed(guarded: str) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "login", guarded], stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = ""
    for question, answer in (("user for", "me\n"), ("password of", "secret\n")):
        deadline = time.monotonic() + 30
        while question not in seen and time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                seen += os.read(ours, 4096).decode()
        os.write(ours, answer.encode())
    while process.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                seen += os.read(ours, 4096).decode()
            except OSError:
                break
    os.close(ours)
    assert process.wait(30) == 0, seen
    assert "logged in" in seen
    assert "secret" not in seen


def test_a_policy_for_pulls_refuses_what_is_not_signed(
    cli: Cli, entry: Entry, registry: str, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    assert cli("sign", "--new-key", "release.pem", "--no-password").returncode == 0
    there.mkdir()
    (there / "trust.yaml").write_text(
        f"keys: {{release: {{file: {tmp_path}/release.pub}}}}\n"
        'rules: [{names: ["*"], require_signature: [pull]}]\n'
    )
    home = {"MODELPACK_HOME": str(there)}
    cli("push", "digits", f"{registry}/policy:1")
    failed(cli("pull", f"{registry}/policy:1", **home), 4, "untrusted")
    assert cli("list", "-o", "json", **home).stdout.strip() == "[]"
    assert not (there / "store" / ".incoming").exists()
    assert cli("sign", "digits", "--key", "release.pem").returncode == 0
    assert "1 statement" in cli("push", "digits", f"{registry}/policy:1").stderr
    assert cli("pull", f"{registry}/policy:1", **home).stdout == "digits:1\n"


def test_commands_that_need_no_network_do_not_load_the_client(cli: Cli) -> None:
    done = subprocess.run(
        [PROGRAM.with_name("python"), "-X", "importtime", "-m", "modelpack", "push", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "modelpack.cli.push" in loaded
    assert not {"httpx", "boto3", "cryptography", "modelpack.registry"} & loaded
