"""The same calls over gRPC: what travels, what is refused, what is sent again."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

import modelpack
from modelpack.client.errors import (
    CallLostError,
    CallRefusedError,
    CallTimeoutError,
    CallUnknownError,
)
from modelpack.errors import UsageError
from tests.client.conftest import SERVICE, Certificate, serving

pytest.importorskip("grpc")

Asks = Any
ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


@contextmanager
def both_ports(folder: Path, *words: str) -> Iterator[tuple[str, str]]:
    """Serve; yields the URL for HTTP and the address for gRPC."""
    (folder / "service.py").write_text(SERVICE)
    with serving(folder, *words, "--grpc-port", "0") as url:
        found = re.search(r'"grpc":"([^"]+)"', (folder / "log").read_text())
        assert found is not None
        yield url, found[1]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URLs of one server, for HTTP and for gRPC."""
    with both_ports(tmp_path_factory.mktemp("garden")) as (url, address):
        yield url, f"grpc://{address}"


@pytest.fixture
def url(places: tuple[str, str]) -> str:
    return places[1]


def test_arrays_and_scalars_travel_as_tensors(asks: Asks, url: str) -> None:
    client = asks(url)

    value = client.value("predict", x=ROWS, scale=2)

    assert value.dtype == np.float32
    assert value.tolist() == [12.0, 44.0]
    assert client.value("pair", a=[1, 2], b=np.array([0.5, 0.25])).tolist() == [1.5, 2.25]
    assert client.value("size", file=b"abc") == 3


def test_an_answer_to_nothing_comes_too(asks: Asks, url: str) -> None:
    """There is no tensor in the request that could say in which form the answer is wanted."""
    value = asks(url).value("nan")

    assert value.dtype == np.float32
    assert value[0] == 1
    assert np.isnan(value[1])


def test_texts_come_back_as_texts_and_other_bytes_as_bytes(asks: Asks, url: str) -> None:
    client = asks(url)

    assert client.value("words", x=["a", "ü"]) == ["A", "Ü"]
    assert client.value("words", x=np.array(["a"])) == ["A"]
    assert client.value("copy", file=b"\xff\0") == b"\xff\0"


def test_an_object_has_a_tensor_for_each_key(asks: Asks, url: str) -> None:
    value = asks(url).value("both", a=[1, 2], b=[0.5, 0.5])

    assert value["sum"].tolist() == [1.5, 2.5]
    assert asks(url).value("flower", flower={"kind": "rose"})["kind"] == ["rose"]


def test_both_ways_give_the_same(asks: Asks, places: tuple[str, str]) -> None:
    x = np.random.default_rng(1).random((5, 4), dtype=np.float32)

    answers = [asks(place).value("predict", x=x, scale=0.5) for place in places]

    assert np.array_equal(*answers)


def test_a_stream_comes_piece_by_piece(asks: Asks, url: str) -> None:
    client = asks(url)

    assert client.pieces("count", word="a") == ["a 0", "a 1", "a 2"]
    assert client.pieces("count", word="a", times=1_000_000, most=2) == ["a 0", "a 1"]
    assert client.value("predict", x=ROWS).tolist() == [6.0, 22.0]


def test_a_stream_that_fails_gives_its_pieces_first_and_the_error_then(
    asks: Asks, url: str
) -> None:
    client = asks(url)

    with pytest.raises(modelpack.CallError, match="the model failed"):
        client.pieces("count", word="a", times=2, fails=True)
    assert client.read == ["a 0", "a 1"]


def test_a_refusal_says_what_the_server_says(asks: Asks, url: str) -> None:
    with pytest.raises(CallRefusedError, match=r"/x: .*got shape \[1, 2\]") as caught:
        asks(url).call("predict", {"x": [[1, 2]]}, request_id="mine-7")

    assert (caught.value.code, caught.value.request_id) == ("bad-input", "mine-7")


@pytest.mark.parametrize("x", ["text", [[1], [2, 3]], [[1j]], np.full((1, 4), 1e300), object()])
def test_what_no_tensor_can_hold_is_refused_before_it_is_sent(asks: Asks, url: str, x: Any) -> None:
    with pytest.raises(CallRefusedError) as caught:
        asks(url).value("predict", x=x)

    assert caught.value.issues[0].pointer == "/x"
    assert caught.value.status is None


def test_failures_have_the_codes_of_the_server(asks: Asks, url: str) -> None:
    with pytest.raises(modelpack.CallError) as caught:
        asks(url).value("broken")
    assert (caught.value.code, caught.value.status) == ("model-error", 500)

    with pytest.raises(CallUnknownError):
        asks(url).call("nothing")


def test_a_call_that_takes_too_long_is_given_up(asks: Asks, url: str) -> None:
    with pytest.raises(CallTimeoutError):
        asks(url).call("wait", {"seconds": 2}, timeout_s=0.2)


def test_an_answer_has_the_facts_of_the_call(asks: Asks, url: str) -> None:
    answer = asks(url).call("predict", {"x": ROWS}, request_id="it-1", priority="high")

    assert (answer.status, answer.request_id, answer.attempts) == (200, "it-1", 1)


def test_a_server_that_is_not_there_is_tried_again(asks: Asks) -> None:
    retry = modelpack.Retry(attempts=3, first_s=0.01)

    with pytest.raises(CallLostError) as caught:
        asks("grpc://127.0.0.1:1", retry=retry).call("predict", {})

    assert caught.value.attempts == 3
    assert not caught.value.may_have_run


@pytest.fixture
def http_alone() -> Iterator[int]:
    """The port of somebody who speaks HTTP/1.1 and nothing else."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_port_that_speaks_http_is_said_to_speak_something_else(
    asks: Asks, http_alone: int
) -> None:
    with pytest.raises(CallLostError, match="does not speak gRPC") as caught:
        asks(f"grpc://127.0.0.1:{http_alone}", retry=modelpack.Retry(attempts=1)).call(
            "predict", {}
        )

    assert caught.value.hint == "is the server running, and is that its port for gRPC?"


def test_why_nobody_is_there_is_said_without_the_address_once_more(asks: Asks) -> None:
    with pytest.raises(CallLostError) as caught:
        asks("grpc://127.0.0.1:1", retry=modelpack.Retry(attempts=1)).call("predict", {})

    said = caught.value.message.removeprefix("no answer from 'grpc://127.0.0.1:1': ")
    assert "connection refused" in said
    assert "127.0.0.1" not in said


def test_a_certificate_is_checked_always(asks: Asks, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without a check of the certificate"):
        asks("grpcs://127.0.0.1:1", verify=False)
    with pytest.raises(UsageError, match="TLS: "):
        asks("grpcs://127.0.0.1:1", ca=tmp_path / "nothing.pem")


@pytest.fixture(scope="module")
def secure(
    tmp_path_factory: pytest.TempPathFactory, certificate: Certificate
) -> Iterator[tuple[str, str]]:
    """The URLs of one server that speaks TLS on both ports."""
    words = ("--tls-cert", str(certificate.file), "--tls-key", str(certificate.key))
    with both_ports(tmp_path_factory.mktemp("garden"), *words) as (url, address):
        yield url, f"grpcs://{address}"


def test_tls_of_the_server_is_spoken_on_both_ports(
    asks: Asks, secure: tuple[str, str], certificate: Certificate
) -> None:
    for url in secure:
        assert asks(url, ca=certificate.file).value("predict", x=ROWS).tolist() == [6.0, 22.0]
        with pytest.raises(CallLostError):
            asks(url, retry=modelpack.Retry(attempts=1)).value("predict", x=ROWS)


def test_without_its_packages_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['grpc'] = None\n"
        "import modelpack\n"
        "try: modelpack.Client('grpc://127.0.0.1:1')\n"
        "except modelpack.ModelpackError as error: print(error.code, error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "tool-missing pip install 'modelpack-cli[grpc]'\n"


def test_the_page_shows_a_call_that_works(url: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "call-a-service.md"
    (code,) = re.findall(
        r'^with modelpack.Client\("grpc://.*?(?=^```)', page.read_text(), re.M | re.S
    )
    names = {"modelpack": modelpack, "rows": ROWS}

    exec(code.replace("grpc://127.0.0.1:3001", url), names)

    assert names["sums"].tolist() == [6.0, 22.0]
