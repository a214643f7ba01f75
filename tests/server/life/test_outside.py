"""What other programs of the machine see of a server: sockets, notes, the service manager."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from modelpack.errors import ConflictError, RefusedError, UsageError
from modelpack.frameworks.source import Source
from modelpack.manifest import BUNDLE_FILE, BundleManifest, canonical_json
from modelpack.server.life.notify import Notifier
from modelpack.server.life.record import RunRecord
from modelpack.server.life.sockets import connect, private_socket
from modelpack.server.life.swapping import check_swap, tag_for


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_socket_is_its_owners_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "admin.sock"
    before = os.umask(umask)
    try:
        with private_socket(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert not path.exists()


def test_a_path_of_any_length_will_do(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / ("longer" * 20)
    folder.mkdir(parents=True)
    with private_socket(folder / "admin.sock") as listener:
        with connect(folder / "admin.sock", 5.0) as client:
            client.sendall(b"x")
        listener.setblocking(True)
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.recv(1) == b"x"


def test_what_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(UsageError, match="is no socket"), private_socket(path):
        pass
    assert path.read_text() == "data"


def test_a_socket_that_answers_is_somebodys(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with private_socket(path):
        with pytest.raises(ConflictError), private_socket(path):
            pass
        assert path.exists()


def test_a_socket_that_was_put_in_its_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with private_socket(path):
        path.unlink()
        path.write_text("another")
    assert path.read_text() == "another"


def test_a_folder_has_to_be_there_and_to_be_ones_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"), private_socket(tmp_path / "no" / "a.sock"):
        pass
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o770)
    with pytest.raises(RefusedError), private_socket(shared / "a.sock"):
        pass
    shared.chmod(0o1777)  # as /tmp is: nobody can replace what is another's
    with private_socket(shared / "a.sock"):
        pass


def test_a_note_names_the_process_for_sure(tmp_path: Path) -> None:
    record = RunRecord.at(tmp_path / "1.json")
    record.write(url="http://127.0.0.1:1", service="s", tag="")

    value = json.loads(record.file.read_bytes())
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    assert (value["pid"], value["started"]) == (os.getpid(), int(started))
    assert value["socket"] == str(tmp_path / "1.sock")
    assert stat.S_IMODE(record.file.stat().st_mode) == 0o600
    record.write(url="http://127.0.0.1:2", service="s", tag="")
    assert [file.name for file in tmp_path.iterdir()] == ["1.json"]
    record.remove()
    record.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_abstract", [False, True])
def test_the_service_manager_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_abstract: bool
) -> None:
    name = f"modelpack-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if is_abstract else name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if is_abstract else name)
        notifier = Notifier()
        notifier.tell("READY=1")

        assert manager.recv(100) == b"READY=1"
        assert "NOTIFY_SOCKET" not in os.environ, "what the service starts is not the server"


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify", "relative"])
def test_without_a_manager_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    Notifier().tell("READY=1")


ORPHAN = """
import ctypes, os, subprocess, sys, time
from modelpack.server.life.orphans import Undertaker

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # orphans come to this process, as to process 1
undertaker = Undertaker()
# A child that leaves one behind, and one that this process waits for itself.
parent = subprocess.Popen([sys.executable, "-c", "import subprocess; subprocess.Popen(['sleep', '0.1'])"])
parent.wait()
own = subprocess.Popen(["true"])
time.sleep(0.5)
first = undertaker.sweep()
status = own.wait()
second = undertaker.sweep()
print(len(first), status, len(second))
"""


def test_orphans_are_buried_and_ones_own_children_left_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == ["0", "0", "1"]


TIED = """
import os, sys, time
from modelpack.server.life.orphans import tie_to
tie_to(int(sys.argv[1]))
print("tied", flush=True)
time.sleep(60)
"""


def test_a_child_whose_parent_is_gone_already_ends() -> None:
    done = subprocess.run([sys.executable, "-c", TIED, "1"], timeout=30, check=False)
    assert done.returncode == 1


def bundle(folder: Path, lock: str) -> Source:
    folder.mkdir()
    manifest = BundleManifest(
        service="service:S",
        model=None,
        python="3.11",
        files=(),
        models=(),
        lock_sha256=lock * 64,
        apis=(),
        settings={},
    )
    (folder / BUNDLE_FILE).write_bytes(canonical_json(manifest.to_json()))
    return Source("bundle", "", str(folder))


def test_a_bundle_takes_the_place_of_one_with_the_same_packages(tmp_path: Path) -> None:
    first, same = bundle(tmp_path / "a", "0"), bundle(tmp_path / "b", "0")
    other = bundle(tmp_path / "c", "1")

    check_swap(first, same)
    check_swap(first, first)
    with pytest.raises(ConflictError, match="locked with other packages"):
        check_swap(first, other)
    with pytest.raises(UsageError, match="serves a bundle, not a project"):
        check_swap(first, Source("code", "", str(tmp_path)))
    with pytest.raises(UsageError, match="cannot open its service again"):
        check_swap(None, first)


def test_the_same_service_keeps_its_tag(tmp_path: Path) -> None:
    one, two = Source("bundle", "", "/a"), Source("bundle", "", "/b")

    assert tag_for(one, "x:1", one, "") == "x:1"
    assert tag_for(one, "x:1", two, "") == ""
    assert tag_for(one, "x:1", two, "x:2") == "x:2"
