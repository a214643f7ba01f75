"""From start to end: ports, several processes, other versions, TLS, the last call."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

INFER = "/inference.GRPCInferenceService/ModelInfer"
CHECK = "/grpc.health.v1.Health/Check"
X = np.ones((1, 4), np.float32)
Start = Callable[..., Any]
Why = Callable[..., tuple[str, str]]


def request() -> dict[str, Any]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4]}
    return {"model_name": "demo", "inputs": [tensor], "raw_input_contents": [X.tobytes()]}


def slow(seconds: float) -> dict[str, Any]:
    contents = {"fp64_contents": [seconds]}
    tensor = {"name": "seconds", "datatype": "FP64", "shape": [1], "contents": contents}
    return {"model_name": "demo.slow", "inputs": [tensor]}


class Load(threading.Thread):
    """Asks without a pause on a connection of its own, until told to stop."""

    def __init__(self, served: Any, make: Any) -> None:
        super().__init__(daemon=True)
        self.served, self.make = served, make
        self.factors: list[float] = []
        self.failures: list[str] = []
        self.cancelled = 0
        """Calls that crossed the end of the connection; asked again."""
        self.is_over = threading.Event()
        self.start()

    def run(self) -> None:
        body = self.make("inference.ModelInferRequest")(**request()).SerializeToString()
        read = self.make("inference.ModelInferResponse").FromString
        with self.served.connect() as channel:
            method = channel.unary_unary(INFER)
            while not self.is_over.is_set():
                try:
                    answer = read(method(body, timeout=20))
                except grpc.RpcError as error:
                    if error.code() is grpc.StatusCode.CANCELLED:
                        self.cancelled += 1
                        continue
                    self.failures.append(f"{error.code()} {error.details()}")
                    continue
                self.factors.append(float(np.frombuffer(answer.raw_output_contents[0], "<f4")[0]))

    def stop(self) -> list[float]:
        self.is_over.set()
        self.join(20)
        assert self.failures == []
        return self.factors


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def order(path: Path, method: str, target: str, body: object = None) -> Any:
    """Speak to the admin socket."""
    text = "" if body is None else json.dumps(body)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text)}\r\n"
        connection.sendall(f"{head}Connection: close\r\n\r\n{text}".encode())
        data = b""
        while piece := connection.recv(65536):
            data += piece
    return json.loads(data.partition(b"\r\n\r\n")[2])


def test_a_call_that_runs_is_answered_after_the_signal_and_new_ones_are_not(
    serve_grpc: Start, make: Any
) -> None:
    server = serve_grpc()
    body = make("inference.ModelInferRequest")(**slow(1.5)).SerializeToString()
    call = server.channel.unary_unary(INFER).future(body, timeout=20)
    until(lambda: "slow" in _in_flight(server))

    server.process.send_signal(signal.SIGTERM)

    answer = make("inference.ModelInferResponse").FromString(call.result())
    assert list(answer.outputs[0].contents.fp64_contents) == [1.5]
    assert server.process.wait(20) == 0
    assert server.events("stopped")[0]["clean"] is True


def _in_flight(server: Any) -> str:
    import httpx

    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    name = "modelpack_in_flight_requests"
    return " ".join(line for line in lines if line.startswith(name) and not line.endswith(" 0.0"))


def test_an_idle_stream_and_a_watch_end_with_the_server(serve_grpc: Start, make: Any) -> None:
    server = serve_grpc()
    release = threading.Event()

    def nothing() -> Any:
        release.wait(20)
        yield from ()

    stream = server.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    idle = stream(nothing())
    watch = server.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
    assert next(watch) == b"\x08\x01"  # SERVING

    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)

    assert list(watch) == [b"\x08\x02"]  # NOT_SERVING
    assert idle.code() is grpc.StatusCode.UNAVAILABLE
    release.set()
    assert server.process.wait(20) == 0
    assert time.monotonic() - began < 10  # the grace period is thirty seconds


def test_a_version_is_swapped_in_without_losing_a_call(
    serve_grpc: Start, make: Any, tmp_path: Path
) -> None:
    admin = tmp_path / "admin.sock"
    server = serve_grpc("--admin-socket", admin)
    load = Load(server, make)
    until(lambda: len(load.factors) > 20)
    service = tmp_path / "project-0" / "service.py"
    service.write_text(service.read_text().replace("FACTOR = 2", "FACTOR = 3"))

    order(admin, "POST", "/swap", {})
    until(lambda: load.factors[-1] == 3.0)

    factors = load.stop()
    assert load.cancelled == 0
    assert set(factors) == {2.0, 3.0}
    assert factors == sorted(factors)
    status = make("tensorflow.serving.GetModelStatusRequest")(model_spec={"name": "demo"})
    found = server.call(
        "/tensorflow.serving.ModelService/GetModelStatus",
        status,
        "tensorflow.serving.GetModelStatusResponse",
    )
    assert [one.version for one in found.model_version_status] == [2]


@pytest.mark.parametrize("runner", ["auto", "process"])
def test_several_workers_share_the_port_and_one_that_goes_answers_what_it_has(
    serve_grpc: Start, make: Any, tmp_path: Path, runner: str
) -> None:
    """A client that waits for answers meets neither a refusal nor a call that is cancelled."""
    admin = tmp_path / "admin.sock"
    server = serve_grpc("--workers", 2, "--runner", runner, "--admin-socket", admin)
    assert server.target in str(order(admin, "GET", "/status")["grpc"])

    def workers() -> set[int]:
        found = order(admin, "GET", "/status")["workers"]
        return {one["pid"] for one in found if one["state"] == "ready"}

    until(lambda: len(workers()) == 2)
    before = workers()
    loads = [Load(server, make) for _ in range(6)]
    until(lambda: all(len(load.factors) > 10 for load in loads))
    if runner == "auto":
        assert _answering(server, make) == before

    leaving = min(before)
    subprocess.run(["kill", "-TERM", str(leaving)], check=True)
    until(lambda: leaving not in workers() and len(workers()) == 2)
    counts = [len(load.factors) for load in loads]
    until(lambda: all(len(load.factors) > n + 10 for load, n in zip(loads, counts, strict=True)))

    for load in loads:
        assert set(load.stop()) == {2.0}
        assert load.cancelled == 0


def _answering(server: Any, make: Any) -> set[int]:
    """Return the processes that answer, as many connections being opened as it takes."""
    body = make("inference.ModelInferRequest")(model_name="demo.pid").SerializeToString()
    pids: set[int] = set()
    for attempt in range(40):
        # Channels with equal options share a connection.
        with server.connect(use_local_subchannel_pool=1) as channel:
            answer = channel.unary_unary(INFER)(body, timeout=20)
        found = make("inference.ModelInferResponse").FromString(answer)
        pids.add(found.outputs[0].contents.int64_contents[0])
        if len(pids) == 2 and attempt > 5:
            break
    return pids


def test_a_port_that_is_taken_is_said(serve_grpc: Start, tmp_path: Path) -> None:
    """Two servers of one user would else share it."""
    port = serve_grpc().target.rpartition(":")[2]
    program = Path(sys.executable).with_name("modelpack")
    folder = tmp_path / "project-0"

    done = subprocess.run(
        [program, "serve", "--port", "0", "--grpc-port", port],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert f"error[port-in-use]: 127.0.0.1:{port} is in use" in done.stderr
    assert "--grpc-port" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["grpc"] = None
from modelpack.errors import UsageError
from modelpack.server.grpc.listener import reserve
try:
    reserve("127.0.0.1", 0)
except UsageError as error:
    print(error.message, "|", error.hint)
"""

    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert "needs the extra 'grpc'" in said
    assert "modelpack-cli[grpc]" in said


def test_nothing_of_grpc_is_imported_without_its_port() -> None:
    program = """
import sys
import modelpack.server.life.lifecycle, modelpack.server.life.starting
print([name for name in sys.modules if name.startswith(("grpc", "google.protobuf", "modelpack.server.grpc"))])
"""

    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert said.strip() == "[]"


def test_connections_are_secured_as_those_of_http_are(
    serve_grpc: Start, make: Any, certificates: Path, why: Why
) -> None:
    server = serve_grpc(
        "--tls-cert", certificates / "server.crt", "--tls-key", certificates / "server.key",
        "--tls-client-ca", certificates / "ca.crt",
    )  # fmt: skip
    authority = (certificates / "server.crt").read_bytes()
    own = [(certificates / f"client.{kind}").read_bytes() for kind in ("key", "crt")]
    known = grpc.ssl_channel_credentials(authority, *own)
    stranger = grpc.ssl_channel_credentials(authority)

    with grpc.secure_channel(server.target, known) as channel:
        assert channel.unary_unary(CHECK)(b"", timeout=20) == b"\x08\x01"
    with grpc.secure_channel(server.target, stranger) as channel:
        code, _ = why(lambda: channel.unary_unary(CHECK)(b"", timeout=5))
    assert code == "UNAVAILABLE"
    assert why(lambda: server.channel.unary_unary(CHECK)(b"", timeout=5))[0] == "UNAVAILABLE"
    assert "andshake" not in server.log.read_text()  # all lines are those of our own log


def test_a_call_that_outlasts_the_grace_period_is_cut_off(
    serve_grpc: Start, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELPACK_GRACE_S", "1")
    server = serve_grpc()
    body = make("inference.ModelInferRequest")(**slow(60.0)).SerializeToString()
    call = server.channel.unary_unary(INFER).future(body, timeout=60)
    until(lambda: "slow" in _in_flight(server))

    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)

    assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert server.process.wait(20) == 1
    assert time.monotonic() - began < 10
    server.process.returncode = 0  # for the fixture, which asks that all end well
    assert server.events("stopped")[0]["clean"] is False


@pytest.mark.parametrize("kind", ["a call", "a request of a stream", "an idle stream"])
def test_without_a_grace_period_what_runs_is_cut_off_and_said(
    serve_grpc: Start, make: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("MODELPACK_GRACE_S", "0")
    server = serve_grpc()
    body = make("inference.ModelInferRequest")(**slow(60.0)).SerializeToString()
    release = threading.Event()

    def requests() -> Any:
        if kind == "a request of a stream":
            yield body
        release.wait(20)

    if kind == "a call":
        call = server.channel.unary_unary(INFER).future(body, timeout=60)
    else:
        path = "/inference.GRPCInferenceService/ModelStreamInfer"
        call = server.channel.stream_stream(path)(requests(), timeout=60)
    if kind == "an idle stream":
        server.infer(**request())  # the stream has come before
    else:
        until(lambda: "slow" in _in_flight(server))

    server.process.send_signal(signal.SIGTERM)

    is_clean = kind == "an idle stream"
    assert server.process.wait(20) == (0 if is_clean else 1)
    server.process.returncode = 0
    assert server.events("stopped")[0]["clean"] is is_clean
    with suppress(grpc.RpcError, TypeError):  # only streams have several answers
        list(call)
    release.set()
    assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_a_second_interrupt_ends_at_once(serve_grpc: Start, make: Any) -> None:
    server = serve_grpc()
    body = make("inference.ModelInferRequest")(**slow(60.0)).SerializeToString()
    call = server.channel.unary_unary(INFER).future(body, timeout=60)
    until(lambda: "slow" in _in_flight(server))

    server.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    server.process.send_signal(signal.SIGINT)

    assert server.process.wait(20) == 130
    server.process.returncode = 0
    assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_models_are_loaded_only_where_the_operator_lets_them(
    serve_grpc: Start, make: Any, why: Why, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/inference.GRPCInferenceService/RepositoryModel"
    load = make("inference.RepositoryModelLoadRequest")(model_name="demo").SerializeToString()
    code, text = why(lambda: serve_grpc().send(f"{path}Load", load))
    assert (code, "MODELPACK_REPOSITORY_CONTROL" in text) == ("PERMISSION_DENIED", True)
    monkeypatch.setenv("MODELPACK_REPOSITORY_CONTROL", "true")
    server = serve_grpc()
    process = server.infer(model_name="demo.pid").outputs[0].contents.int64_contents[0]

    assert server.send(f"{path}Load", load) == b""

    assert [one["service"] for one in server.events("swapped")] == ["demo"]
    assert server.infer(model_name="demo.pid").outputs[0].contents.int64_contents[0] == process
    code, text = why(lambda: server.send(f"{path}Unload", load))
    assert (code, "stop the server" in text) == ("INVALID_ARGUMENT", True)
    other = make("inference.RepositoryModelLoadRequest")(model_name="other").SerializeToString()
    assert why(lambda: server.send(f"{path}Load", other))[0] == "NOT_FOUND"


SLOW_START = """
import time
import modelpack

@modelpack.service
class Demo:
    def __init__(self) -> None:
        time.sleep(1.5)

    @modelpack.api
    def predict(self, x: float) -> float:
        return x
"""


def test_a_server_that_is_told_to_stop_while_it_loads_ends_quietly(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(SLOW_START)
    words = [sys.executable, "-m", "modelpack", "serve", "--port", "0", "--grpc-port", "0"]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        words[5] = str(probe.getsockname()[1])
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                opener.open(f"http://127.0.0.1:{words[5]}/livez", timeout=5).close()
                break
            except OSError:
                time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()

    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert "cut-off" not in said
