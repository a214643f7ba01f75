"""The port for HTTP answers gRPC, too: the same calls, errors, sizes, the same end."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

INFER = "/inference.GRPCInferenceService/ModelInfer"
SLOW = {"model_name": "demo.slow"}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def address_of(served: Any) -> str:
    """Return the address of the port for HTTP."""
    return str(served.url.partition("://")[2])


def infer(channel: grpc.Channel, make: Any, rows: int = 1, **more: Any) -> Any:
    x = np.ones((rows, 4), np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 4]}
    request = make("inference.ModelInferRequest")(
        model_name="demo", inputs=[tensor], raw_input_contents=[x.tobytes()]
    )
    answer = channel.unary_unary(INFER)(request.SerializeToString(), timeout=30, **more)
    return make("inference.ModelInferResponse").FromString(answer)


@pytest.fixture
def channel(served: Any) -> Any:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address_of(served), options=options) as found:
        yield found


def test_a_call_at_the_port_for_http_is_answered(channel: Any, make: Any) -> None:
    said = infer(channel, make)
    assert np.frombuffer(said.raw_output_contents[0], "<f4").tolist() == [2.0] * 4


def test_long_messages_pass_in_both_directions(channel: Any, make: Any) -> None:
    rows = 500_000  # eight megabytes: many times what the kernel holds of a connection
    said = infer(channel, make, rows)
    assert len(said.raw_output_contents[0]) == rows * 16


def test_a_stream_goes_on_in_both_directions(channel: Any, make: Any) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4]}
    body = make("inference.ModelInferRequest")(
        model_name="demo", inputs=[tensor], raw_input_contents=[np.ones(4, "<f4").tobytes()]
    ).SerializeToString()
    asked = threading.Semaphore(0)

    def requests() -> Any:
        for _ in range(3):
            yield body
            assert asked.acquire(timeout=30), "the one before was not answered"

    answers = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(requests())
    for _ in range(3):
        next(answers)
        asked.release()
    assert list(answers) == []


def test_a_refusal_comes_back_as_it_is(channel: Any, make: Any, why: Any) -> None:
    request = make("inference.ModelInferRequest")(model_name="nobody").SerializeToString()
    code, said = why(lambda: channel.unary_unary(INFER)(request, timeout=30))
    assert (code, "nobody" in said) == ("NOT_FOUND", True), said


def test_http_is_answered_beside_it(served: Any, channel: Any, make: Any) -> None:
    infer(channel, make)
    with urllib.request.urlopen(f"{served.url}/readyz", timeout=30) as answer:
        assert answer.status == 200


def test_who_begins_like_http2_and_goes_on_otherwise_is_let_go(served: Any, make: Any) -> None:
    host, _, port = address_of(served).rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as one:
        one.sendall(PREFACE + b"\xff" * 100)
        while one.recv(4096):
            pass


def test_many_connections_that_end_leave_nothing_open(served: Any, make: Any) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{served.process.pid}/fd").iterdir()))

    with grpc.insecure_channel(address_of(served)) as warm:
        infer(warm, make)
    before = descriptors()
    with ExitStack() as stack:
        for number in range(20):
            own = [("grpc.use_local_subchannel_pool", 1), ("n", number)]
            channel = stack.enter_context(grpc.insecure_channel(address_of(served), options=own))
            infer(channel, make)
        assert descriptors() >= before + 20
    until = time.monotonic() + 60
    while descriptors() > before + 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert descriptors() <= before + 2


def test_its_connections_are_counted_by_what_they_take(
    serve_grpc: Callable[..., Any], make: Any
) -> None:
    server = serve_grpc()

    def open_now() -> float:
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return float(re.search(r"^modelpack_connections (\S+)", text, re.M)[1])

    wait_for(lambda: open_now() == 1)
    with grpc.insecure_channel(address_of(server)) as one:
        infer(one, make)
        wait_for(lambda: open_now() == 1 + 3)
        own = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(address_of(server), options=own) as two:
            infer(two, make)
            wait_for(lambda: open_now() == 1 + 6)
    wait_for(lambda: open_now() == 1)


def wait_for(comes: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not comes():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


def test_behind_tls_it_is_for_who_wants_nothing_else(
    serve_grpc: Callable[..., Any], certificates: Any, make: Any
) -> None:
    server = serve_grpc(
        "--tls-cert", certificates / "server.crt", "--tls-key", certificates / "server.key"
    )  # fmt: skip
    trusted = grpc.ssl_channel_credentials((certificates / "server.crt").read_bytes())
    with grpc.secure_channel(address_of(server), trusted) as channel:
        assert len(infer(channel, make).raw_output_contents[0]) == 16
    context = ssl.create_default_context(cafile=certificates / "server.crt")
    context.check_hostname = False
    context.set_alpn_protocols(["h2", "http/1.1"])  # as browsers and curl have it
    host, _, port = address_of(server).rpartition(":")
    plain = socket.create_connection((host, int(port)), timeout=30)
    with plain, context.wrap_socket(plain) as one:
        assert one.selected_alpn_protocol() == "http/1.1"


def test_a_call_that_runs_is_answered_after_the_signal(
    serve_grpc: Callable[..., Any], make: Any
) -> None:
    server = serve_grpc()
    contents = {"fp64_contents": [1.0]}
    tensor = {"name": "seconds", "datatype": "FP64", "shape": [1], "contents": contents}
    request = make("inference.ModelInferRequest")(**SLOW, inputs=[tensor]).SerializeToString()
    with grpc.insecure_channel(address_of(server)) as channel:
        infer(channel, make)
        running = channel.unary_unary(INFER).future(request, timeout=30)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)

        said = make("inference.ModelInferResponse").FromString(running.result())

    assert list(said.outputs[0].contents.fp64_contents) == [1.0]
    assert server.stop() == 0
