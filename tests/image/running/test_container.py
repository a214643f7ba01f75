"""Containers of a real engine: a small HTTP server on the base image."""

from __future__ import annotations

import io
import json
import os
import socket
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import (
    EngineError,
    NotFoundError,
    PortInUseError,
    ToolMissingError,
    UsageError,
)
from modelpack.image import connect
from modelpack.image import instructions as dockerfile
from modelpack.image.running import NotReadyError, RunOptions, run_image
from modelpack.image.running.settings import RUN_LABEL

SERVER = """
import http.server, json, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            open("/written", "w")
            is_read_only = False
        except OSError:
            is_read_only = True
        open("/tmp/written", "w").close()
        status = dict(line.split(":\\t", 1) for line in open("/proc/self/status"))
        limits = "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"
        memory = next(open(one).read() for one in limits if os.path.exists(one))
        body = json.dumps({
            "is_read_only": is_read_only,
            "capabilities": status["CapEff"].strip(),
            "no_new_privileges": status["NoNewPrivs"].strip(),
            "memory": memory.strip(),
            "said": os.environ.get("SAID"),
        }).encode()
        self.send_response(404 if self.path == "/readyz" else 200)
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""

pytestmark = pytest.mark.engine


class Recorder:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        yield


def build(program: str, labels: Mapping[str, str] | None = None, **env: str) -> str:
    reference = f"modelpack-test/run-{uuid.uuid4().hex[:12]}:1"
    line = f"exec(bytes.fromhex('{program.encode().hex()}'))"  # no newline is allowed there
    text = dockerfile.render(
        [
            dockerfile.from_image(os.environ["ENGINE_BASE_IMAGE"]),
            *([dockerfile.env(env)] if env else []),
            *([dockerfile.label(labels)] if labels else []),
            dockerfile.user("65532:65532"),
            dockerfile.expose(8080),
            dockerfile.entry_point(["python3", "-c", line]),
        ],
        ["a test"],
    )
    with connect() as engine:
        said = engine.build(
            fileobj=io.BytesIO(text.encode()), tag=reference, rm=True, forcerm=True, decode=True
        )
        assert not [event for event in said if "error" in event]
    return reference


@contextmanager
def built(program: str, labels: Mapping[str, str] | None = None, **env: str) -> Iterator[str]:
    reference = build(program, labels, **env)
    try:
        yield reference
    finally:
        with connect() as engine, suppress(Exception):
            engine.remove_image(reference, force=True)


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    with built(SERVER) as reference:
        yield reference


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield
    monkeypatch.undo()
    with connect() as engine:
        left = engine.containers(all=True, filters={"label": RUN_LABEL})
    assert [one for one in left if one["Image"].startswith("modelpack-test/run-")] == []


def ask(url: str) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_it_answers_with_few_rights_and_its_limits(image: str) -> None:
    options = RunOptions.of_words(port=0, memory="64MiB", cpus=0.5, env=["SAID=a b=$c"])
    running = run_image(image, options)
    try:
        answer = ask(running.url)
        with connect() as engine:
            host = engine.inspect_container(running.id)["HostConfig"]
    finally:
        running.remove()

    assert answer == {
        "is_read_only": True,
        "capabilities": "0" * 16,
        "no_new_privileges": "1",
        "memory": str(64 * 1024 * 1024),
        "said": "a b=$c",
    }
    assert host["NanoCpus"] == 500_000_000
    assert running.url.startswith("http://127.0.0.1:")
    with pytest.raises(OSError, match="refused"):
        ask(running.url)


def test_a_program_that_knows_no_readiness_is_ready_when_it_answers(image: str) -> None:
    """It says 404 to /readyz, which is an answer."""
    running = run_image(f"engine:{image}", RunOptions(port=0, name="modelpack-test-run"))
    try:
        assert running.name == "modelpack-test-run"
        assert running.seconds < 60
    finally:
        running.remove()


def test_what_it_says_comes_through_until_it_ends() -> None:
    program = SERVER.replace("serve_forever()", "handle_request()") + "\nprint('bye')"
    with built(program + "; sys.exit(7)") as reference:
        running = run_image(reference, RunOptions(port=0))
        try:
            assert b"bye" in b"".join(running.logs())
            assert running.end() == (7, False)
        finally:
            running.remove()


def test_a_container_that_ends_at_once_shows_its_last_words() -> None:
    with (
        built("print('one'); print('no model here'); raise SystemExit(3)") as reference,
        pytest.raises(NotReadyError, match="ended with status 3 before") as caught,
    ):
        run_image(reference, RunOptions(port=0))

    assert caught.value.log_lines == ("one", "no model here")
    assert caught.value.hint == "it said at last: no model here"


def test_out_of_memory_is_said() -> None:
    with (
        built("x = bytearray(10**9)") as reference,
        pytest.raises(NotReadyError, match="out of memory") as caught,
    ):
        run_image(reference, RunOptions(port=0, memory_bytes=16_000_000))

    assert "--memory" in (caught.value.hint or "")


def test_a_container_that_never_answers_is_given_up() -> None:
    with (
        built("print('thinking', flush=True); import time; time.sleep(600)") as reference,
        pytest.raises(NotReadyError, match=r"did not answer within 0\.5 s") as caught,
    ):
        run_image(reference, RunOptions(port=0), ready_within_s=0.5)

    assert caught.value.log_lines == ("thinking",)


def test_a_port_that_is_taken_is_replaced_unless_it_was_asked_for(image: str) -> None:
    progress = Recorder()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # somebody else has it: as good
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        with pytest.raises(PortInUseError, match="port 8080 is in use"):
            run_image(image, RunOptions(port=8080))
        running = run_image(image, progress=progress)
        running.remove()

    assert progress.notes == ["port 8080 is in use here: another one is taken"]
    assert running.url != "http://127.0.0.1:8080"


def test_a_port_that_a_label_names_is_published_and_makes_way_for_others() -> None:
    progress = Recorder()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with built(SERVER, {"dev.modelpack.port.grpc": str(port)}) as reference:
            running = run_image(reference, RunOptions(port=0), progress=progress)
            try:
                with connect() as engine:
                    ports = engine.inspect_container(running.id)["NetworkSettings"]["Ports"]
            finally:
                running.remove()

    assert progress.notes == [f"port {port} is in use here: another one is taken"]
    (published,) = ports[f"{port}/tcp"]
    assert running.addresses == {"grpc": f"127.0.0.1:{published['HostPort']}"}
    assert published["HostIp"] == "127.0.0.1"


def test_a_gpu_that_is_not_there_is_said_and_only_fatal_when_asked_for() -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU")
    progress = Recorder()
    with built(SERVER, NVIDIA_VISIBLE_DEVICES="all") as reference:
        with pytest.raises(EngineError, match="the engine offers no GPU"):
            run_image(reference, RunOptions(port=0, gpus="all"))
        running = run_image(reference, RunOptions(port=0), progress=progress)
        running.remove()

    assert progress.notes == [
        "the image can use a GPU, and the engine offers none: it runs without"
    ]


def test_an_image_that_is_nowhere_is_named() -> None:
    for reference in ("modelpack-test/none:1", "engine:modelpack-test/none:1"):
        with pytest.raises(NotFoundError, match="no image 'modelpack-test/none:1'"):
            run_image(reference)
    registry = os.environ["ENGINE_REGISTRY"]
    with pytest.raises(NotFoundError, match=f"no image '{registry}/modelpack-test/none:1'"):
        run_image(f"registry:{registry}/modelpack-test/none:1")
    with pytest.raises(EngineError, match="connection refused"):
        run_image("registry:127.0.0.1:1/none:1")


def test_an_image_of_a_folder_has_to_be_loaded_first(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not in the engine") as caught:
        run_image(f"oci:{tmp_path}")

    assert f"skopeo copy oci:{tmp_path} docker-daemon:" in (caught.value.hint or "")


def test_without_an_engine_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")

    with pytest.raises(ToolMissingError, match="no container engine answers"):
        run_image("digits:1")
