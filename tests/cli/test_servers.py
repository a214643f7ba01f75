"""``modelpack servers``: what runs is found, changed while it runs, and forgotten when it is gone."""

from __future__ import annotations

import json
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelpack import paths

PROGRAM = Path(sysconfig.get_path("scripts")) / "modelpack"
WITHIN_S = 60.0

SERVICE = """
import modelpack

@modelpack.service
class Adder:
    @modelpack.api
    def add(self, n: int) -> int:
        return n + {more}
"""

Cli = Callable[..., Any]
Start = Callable[..., subprocess.Popen[str]]


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("MODELPACK_HOME", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    project = tmp_path / "adder"
    project.mkdir()
    (project / "service.py").write_text(SERVICE.format(more=1))
    return project


@pytest.fixture
def start(home: Path, folder: Path) -> Iterator[Start]:
    """``modelpack serve`` beside the test; returns when it is ready."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [PROGRAM, "serve", "--port", "0", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        process.url = process.stdout.readline().strip()  # type: ignore[attr-defined]
        assert process.url.startswith("http://")  # type: ignore[attr-defined]
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_server_is_listed_while_it_runs(start: Start, cli: Cli) -> None:
    process = start()
    listed = json.loads(cli("servers", "list", "-o", "json").out)

    assert [one["service"] for one in listed] == ["adder"]
    assert listed[0]["pid"] == process.pid
    assert listed[0]["url"] == process.url  # type: ignore[attr-defined]
    note = paths.run_dir() / f"{process.pid}.json"
    assert note.stat().st_mode & 0o777 == 0o600
    assert Path(listed[0]["socket"]).stat().st_mode & 0o777 == 0o600
    assert paths.run_dir().stat().st_mode & 0o777 == 0o700

    process.send_signal(signal.SIGTERM)
    assert process.wait(WITHIN_S) == 0
    assert list(paths.run_dir().iterdir()) == []
    assert json.loads(cli("servers", "list", "-o", "json").out) == []


def test_where_grpc_is_spoken_is_shown(start: Start, cli: Cli) -> None:
    start("--grpc-port", "0", "--face", "kserve,oip")

    (listed,) = json.loads(cli("servers", "list", "-o", "json").out)
    status = json.loads(cli("servers", "status", "adder", "-o", "json").out)

    host, _, port = listed["grpc"].rpartition(":")
    assert host == "127.0.0.1"
    assert httpx.URL(listed["url"]).port != int(port)
    assert status["grpc"] == listed["grpc"]
    head, row = (line.split() for line in cli("servers", "list").out.splitlines())
    assert (head[-1], row[-1]) == ("GRPC", listed["grpc"])
    shown = dict(line.split(maxsplit=1) for line in cli("servers", "status", port).out.splitlines())
    assert (shown["grpc"], shown["faces"]) == (listed["grpc"], "oip,kserve")


def test_a_socket_of_ones_own_choice_is_noted(start: Start, cli: Cli, tmp_path: Path) -> None:
    start("--admin-socket", str(tmp_path / "mine.sock"))

    listed = json.loads(cli("servers", "list", "-o", "json").out)

    assert listed[0]["socket"] == str(tmp_path / "mine.sock")
    assert cli("servers", "status", "adder").status == 0


def test_what_a_killed_server_left_is_removed(start: Start, cli: Cli) -> None:
    process = start()
    process.kill()
    process.wait()
    assert len(list(paths.run_dir().iterdir())) == 2

    assert json.loads(cli("servers", "list", "-o", "json").out) == []
    assert list(paths.run_dir().iterdir()) == []


def test_a_server_is_found_by_service_port_and_pid(start: Start, cli: Cli) -> None:
    process = start()
    url: str = process.url  # type: ignore[attr-defined]
    for name in ("adder", url.rpartition(":")[2], str(process.pid)):
        facts = json.loads(cli("servers", "status", name, "-o", "json").out)
        assert (facts["state"], facts["url"], facts["replicas"]) == ("ready", url, 1)
    assert "adder" in cli("servers", "status", "adder").out


def test_one_that_does_not_run_or_is_there_twice_is_said(start: Start, cli: Cli) -> None:
    start()
    missing = cli("servers", "status", "ader")
    start()
    twice = cli("servers", "status", "adder")

    assert missing.status == 3
    assert "did you mean 'adder'?" in missing.err
    assert twice.status == 2
    assert "served 2 times" in twice.err


def test_the_code_is_loaded_anew(start: Start, cli: Cli, folder: Path) -> None:
    url: str = start().url  # type: ignore[attr-defined]
    assert httpx.post(f"{url}/add", json={"n": 1}).json() == 2
    (folder / "service.py").write_text(SERVICE.format(more=10))

    done = cli("servers", "swap", "adder")

    assert done.status == 0
    assert httpx.post(f"{url}/add", json={"n": 1}).json() == 11


def test_code_that_does_not_load_is_said_and_the_old_goes_on(
    start: Start, cli: Cli, folder: Path
) -> None:
    url: str = start().url  # type: ignore[attr-defined]
    (folder / "service.py").write_text("def half(:\n")

    failed = cli("servers", "swap", "adder")

    assert failed.status == 1
    assert "SyntaxError" in failed.err
    assert "service.py, line 1" in failed.err
    assert len(failed.err.splitlines()) <= 4
    assert httpx.post(f"{url}/add", json={"n": 1}).json() == 2


def test_replicas_and_workers_are_changed(start: Start, cli: Cli) -> None:
    start("--workers", "2")

    more = json.loads(cli("servers", "scale", "adder", "--workers", "3", "-o", "json").out)
    copies = json.loads(cli("servers", "scale", "adder", "--replicas", "2", "-o", "json").out)

    assert len([one for one in more["workers"] if one["state"] == "ready"]) == 3
    assert copies["replicas"] == 2
    assert cli("servers", "scale", "adder").status == 2


def test_one_process_cannot_become_several(start: Start, cli: Cli) -> None:
    start()

    refused = cli("servers", "scale", "adder", "--workers", "2")

    assert refused.status == 2
    assert "start it with --workers 2 or more" in refused.err


def test_a_project_is_not_swapped_for_something_else(
    start: Start, cli: Cli, tmp_path: Path
) -> None:
    start()

    refused = cli("servers", "swap", "adder", str(tmp_path))

    assert refused.status == 2
    assert "is a project" in refused.err
