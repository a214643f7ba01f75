"""F40, F41: files far larger than memory may be used for, and no network at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive import LockedPackage
from modelpack.archive.builder import lock_inputs
from modelpack.archive.lockfile import lock_text
from modelpack.config.load import load_project
from modelpack.store import Store

MAX_RESIDENT_KIB = 200 * 1024

BIG = textwrap.dedent(
    """
    import hashlib, os, re, sys, time
    from pathlib import Path
    from modelpack.manifest import FileRecord, ModelRecord
    from modelpack.store import Store

    place, mebibytes = Path(sys.argv[1]), int(sys.argv[2])
    source = place / "source"
    source.mkdir()
    digest, block = hashlib.sha256(), bytearray(os.urandom(2**20))
    with (source / "w.bin").open("wb") as out:
        for number in range(mebibytes):
            block[:8] = number.to_bytes(8, "big")  # random bytes, and no two blocks alike
            digest.update(block)
            out.write(block)
    file = FileRecord(path="w.bin", mode=0o644, size=mebibytes << 20, sha256=digest.hexdigest())
    record = ModelRecord(name="big", framework="onnx", files=(file,))

    def step(name, work):
        begin = time.perf_counter()
        result = work()
        peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
        print(f"{name} {time.perf_counter() - begin:.1f} s", file=sys.stderr)
        print(name, peak, flush=True)
        return result

    here, there = Store(place / "here"), Store(place / "there")
    entry = step("build", lambda: here.add_model(record, source, version="1").entry)
    step("build-again", lambda: here.add_model(record, source, version="2"))
    (source / "w.bin").unlink()
    step("verify", lambda: here.verify(entry))
    archive = step("export", lambda: here.export(entry, place))
    here.delete(entry)
    here.delete(here.list()[0])
    step("gc", lambda: here.gc())
    assert not list((place / "here" / "blobs" / "sha256").iterdir())
    brought = step("import", lambda: there.import_(archive))
    archive.unlink()
    assert brought.digest == entry.digest
    folder = step("unpack", lambda: there.unpack(brought, place / "out"))
    found = hashlib.file_digest((folder / "models/big/w.bin").open("rb"), "sha256").hexdigest()
    assert found == digest.hexdigest()
    """
)


def peaks(place: Path, mebibytes: int) -> dict[str, int]:
    """Do everything with a file of that size; return the peak of memory after each step, in KiB."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", BIG, str(place), str(mebibytes)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    print(done.stderr, done.stdout)
    return {name: int(peak) for name, peak in (line.split() for line in done.stdout.splitlines())}


def test_f40_a_big_file_takes_constant_memory(memory: Path) -> None:
    """A file of 192 MiB with far less than that; the next test does it with 4 GB."""
    found = peaks(memory, 192)
    assert set(found) == {"build", "build-again", "verify", "export", "gc", "import", "unpack"}
    assert max(found.values()) < 80 * 1024


@pytest.mark.long
def test_f40_four_gigabytes_take_less_than_200_megabytes(tmp_path: Path) -> None:
    wanted = 4_000_000_000 // 2**20 + 1
    if shutil.disk_usage(tmp_path).free < 4 * wanted * 2**20:
        pytest.skip("there is no room for four copies of four gigabytes")
    assert max(peaks(tmp_path, wanted).values()) < MAX_RESIDENT_KIB


# --- no network ----------------------------------------------------------------------------------


@pytest.fixture
def without_network() -> list[str]:
    """The start of a command line that runs in a network of its own, with nothing in it."""
    command = ["unshare", "--net", "--map-root-user", "--"]
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a network of its own is not to be had here")
    return command


def run(
    prefix: list[str], home: Path, words: list[str], *, status: int = 0
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "modelpack", *words],
        capture_output=True,
        text=True,
        cwd=home / "project",
        env={
            **os.environ,
            "MODELPACK_HOME": str(home),
            "MODELPACK_CACHE": str(home / "cache"),
            "UV_CACHE_DIR": str(home / "uv"),
        },
        check=False,
        timeout=120,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


SERVICE = """
import modelpack

@modelpack.service
class Hello:
    @modelpack.api
    def greet(self, name: str) -> str:
        return "hello " + name
"""


def test_f41_what_needs_no_network_works_without_one(
    without_network: list[str], shelf: Any, memory: Path
) -> None:
    (memory / "project").mkdir()
    shelf.bundle(models=[shelf.model()])
    commands = [
        ["verify", "digits:1"],
        ["export", "digits:1", "digits.modelpack"],
        ["delete", "digits:1"],
        ["gc"],
        ["import", "digits.modelpack"],
        ["list"],
        ["inspect", "digits:1"],
        ["containerize", "digits:1", "--base", "python:3.11", "--dockerfile", "context"],
    ]
    for words in commands:
        run(without_network, memory, words)


SERVE = textwrap.dedent(
    """
    import fcntl, json, signal, socket, struct, subprocess, sys, time, urllib.request

    with socket.socket() as any_socket:  # the loopback of a new network is down at first
        flags = struct.pack("16sh14x", b"lo", 0x1)
        fcntl.ioctl(any_socket, 0x8914, flags)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    server = subprocess.Popen([sys.executable, "-m", "modelpack", "serve", "--port", port])
    call = urllib.request.Request(
        f"http://127.0.0.1:{port}/greet",
        data=json.dumps({"name": "you"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    for attempt in range(300):
        try:
            print(urllib.request.urlopen(call, timeout=10).read().decode())
            break
        except OSError:
            assert server.poll() is None
            time.sleep(0.1)
    server.send_signal(signal.SIGTERM)
    sys.exit(server.wait(30))
    """
)


@pytest.fixture
def project(memory: Path) -> Path:
    """A project of a service, not locked yet."""
    folder = memory / "project"
    folder.mkdir()
    (folder / "service.py").write_text(SERVICE)
    (folder / "modelpack.yaml").write_text("name: hello\nservice: service:Hello\n")
    return folder


def test_f41_a_build_that_needs_the_network_says_so_by_name(
    without_network: list[str], project: Path, memory: Path
) -> None:
    said = run(without_network, memory, ["build"], status=1).stderr
    assert "error[" in said
    assert "index" in said or "network" in said
    assert run(without_network, memory, ["list"]).stdout == ""


def test_f41_a_locked_project_is_built_and_served_without_a_network(
    without_network: list[str], project: Path, memory: Path
) -> None:
    inputs = lock_inputs(load_project(project), [], Store(memory / "store"))
    package = LockedPackage("numpy", "2.0.0", None, ("sha256:" + "0" * 64,))
    (project / "requirements.lock").write_text(lock_text(inputs.first_line, [package]))
    tag = run(without_network, memory, ["build"]).stdout.strip()
    run(without_network, memory, ["verify", tag])
    served = subprocess.run(
        [*without_network, sys.executable, "-c", SERVE],
        capture_output=True,
        text=True,
        cwd=project,
        check=False,
        timeout=120,
    )
    assert served.returncode == 0, served.stderr
    assert "hello you" in served.stdout
