"""An engine of another machine: a stand-in for ssh that forwards the socket to this one's engine."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelpack.errors import ToolMissingError
from modelpack.image.engines import tunnel as tunnels
from modelpack.image.engines.docker import connect
from modelpack.image.engines.tunnel import host_of, tunnel

FORWARDING = """\
import os, socket, sys, threading
words = sys.argv[1:]
with open(os.environ["SSH_SAID"], "a") as file:
    file.write(" ".join(words) + "\\n")
ours, _, theirs = words[words.index("-L") + 1].partition(":")
server = socket.socket(socket.AF_UNIX)
server.bind(ours)
server.listen()

def copy(source, sink):
    while data := source.recv(65536):
        sink.sendall(data)
    sink.shutdown(socket.SHUT_WR)

while True:
    near, _ = server.accept()
    far = socket.socket(socket.AF_UNIX)
    far.connect(theirs)
    for pair in ((near, far), (far, near)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""

REFUSING = """\
import sys
sys.exit("deploy@gpu-box: Permission denied (publickey).")
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Put a program in the place of ssh; returns the file of what it was told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    said = tmp_path / "said"
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SSH_SAID", str(said))
    ended: list[Callable[[], None]] = []
    monkeypatch.setattr(
        tunnels.atexit, "register", lambda end, *args: ended.append(lambda: end(*args))
    )

    def put(program: str) -> Path:
        file = folder / "ssh"
        file.write_text(f"#!{sys.executable}\n{program}")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return said

    tunnel.cache_clear()
    yield put
    for end in ended:
        end()
    tunnel.cache_clear()


@pytest.mark.engine
def test_an_engine_is_asked_through_one_ssh(ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ssh(FORWARDING)
    socket = os.environ["DOCKER_HOST"].removeprefix("unix://")
    monkeypatch.setenv("DOCKER_HOST", f"ssh://deploy@gpu-box:2222{socket}")

    for _ in range(2):
        with connect() as engine:
            assert engine.version()["ApiVersion"]

    [line] = said.read_text().splitlines()
    assert line.endswith("-p 2222 -l deploy -- gpu-box")
    assert "BatchMode=yes" in line, "nobody is asked anything"


def test_what_ssh_says_is_told(ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    ssh(REFUSING)
    monkeypatch.setenv("DOCKER_HOST", "ssh://deploy@gpu-box")

    with (
        pytest.raises(ToolMissingError, match=r"ssh says: .*Permission denied") as caught,
        connect(),
    ):
        pass

    assert caught.value.exit_code == 6


def test_without_ssh_that_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="through ssh, which is not here"):
        tunnel("ssh://nowhere")


def test_a_host_cannot_be_an_option_of_ssh(ssh) -> None:
    said = ssh(FORWARDING + "\n")
    with pytest.raises(ToolMissingError, match="ssh says"):
        ssh(REFUSING)
        tunnel("ssh://-oProxyCommand=touch")
    assert not said.exists()


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("unix:///var/run/docker.sock", None),
        ("tcp://10.0.0.5:2376", "10.0.0.5"),
        ("ssh://deploy@gpu-box:22", "gpu-box"),
    ],
)
def test_the_machine_of_an_engine_is_that_of_its_address(address, host) -> None:
    assert host_of(address) == host
