"""S1 and S12 to S19: what an attacker may try against a running server."""

from __future__ import annotations

import json
import os
import pickle
import re
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

JSON = "content-type: application/json"


@pytest.fixture(scope="module")
def plain(serve_once: Any) -> Any:
    return serve_once("plain")


def post(body: bytes, *headers: str, path: str = "/double", host: str = "host: x") -> bytes:
    lines = [f"POST {path} HTTP/1.1", host, "connection: close", *headers]
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def parsed(answer: bytes) -> tuple[int, dict[str, Any]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body else {}


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.file),)


CONTENT_TYPES = [
    "application/json", "application/octet-stream", "application/x-npy", "application/pickle",
    "application/x-pickle", "application/python-pickle", "application/x-python-serialize",
    "application/vnd.bentoml+pickle", "multipart/form-data; boundary=x", "text/plain", "",
]  # fmt: skip


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_s01_a_pickle_is_never_opened_whatever_it_is_called(
    plain: Any, tmp_path: Path, content_type: str
) -> None:
    canary = tmp_path / "sprung"
    body = pickle.dumps(Canary(canary))
    as_npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    as_npy += b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n" + body

    for data in (body, as_npy):
        for path in ("/double", "/echo", "/size"):
            headers = (f"content-type: {content_type}", "modelpack-dtype: object",
                       "modelpack-shape: 1")  # fmt: skip
            status, _ = parsed(plain.send(post(data, *headers, path=path)))
            takes_any_bytes = path == "/size" and content_type == "application/octet-stream"
            assert status in ((200,) if takes_any_bytes else (400, 415))

    assert not canary.exists()


def test_s01_a_pickle_on_the_private_socket_of_a_runner_does_nothing(
    serve: Any, tmp_path: Path
) -> None:
    served = serve("plain", runner="process")
    canary = tmp_path / "sprung"
    body = pickle.dumps(Canary(canary))
    sockets = [path for path in _unix_sockets(served.tree()) if path.exists()]
    assert sockets

    for path in sockets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(path))
            for data in (body, struct.pack("<I", len(body)) + body, b"\0" * 64, b"\xff" * 64):
                try:
                    connection.sendall(data)
                except OSError:
                    break

    assert served.post("/double", {"x": [[1, 2]]}).json() == [[2, 4]]
    assert not canary.exists()


def _unix_sockets(pids: list[int]) -> set[Path]:
    """Return the paths of the Unix sockets that these processes listen on."""
    inodes = set()
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(str(fd.readlink()))
            except OSError:
                continue
    found = set()
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        if len(words) == 8 and f"socket:[{words[6]}]" in inodes and words[7].startswith("/"):
            found.add(Path(words[7]))
    return found


@pytest.fixture
def canary_listener() -> Iterator[tuple[int, list[object]]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        seen: list[object] = []
        listener.settimeout(0.2)
        is_over = threading.Event()

        def accept() -> None:
            while not is_over.is_set():
                try:
                    seen.append(listener.accept())
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1], seen
        is_over.set()
        thread.join()


def test_s12_nothing_that_a_client_names_is_fetched(
    plain: Any, canary_listener: tuple[int, list[object]]
) -> None:
    port, seen = canary_listener
    url = f"http://127.0.0.1:{port}/x"

    answers = [
        plain.post("/fetch", {"url": url}).status_code,
        plain.post("/size", {"file": url}).status_code,
        plain.post("/double", {"x": url}).status_code,
        plain.post("/echo", {"value": {"$ref": url}}).status_code,
    ]

    assert answers == [200, 400, 400, 200]
    assert plain.client.get(f"/docs?url={url}").status_code == 200
    assert seen == []


@pytest.mark.parametrize("path", ["/double", "/age", "/echo"])
def test_s15_forms_are_refused_where_there_is_no_file(plain: Any, path: str) -> None:
    body = b'--x\r\ncontent-disposition: form-data; name="x"\r\n\r\n1\r\n--x--\r\n'

    status, _ = parsed(plain.send(post(body, "content-type: multipart/form-data; boundary=x",
                                       path=path)))  # fmt: skip

    assert status == 415


FORMS = {
    "many parts": b"".join(
        b'--x\r\ncontent-disposition: form-data; name="p%d"\r\n\r\n1\r\n' % n for n in range(1000)
    )
    + b"--x--\r\n",
    "long header": b'--x\r\ncontent-disposition: form-data; name="file"\r\nx: '
    + b"a" * 100_000
    + b"\r\n\r\n1\r\n--x--\r\n",
    "no end": b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\n1',
    "only dashes": b"-" * 100_000,
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS.keys())
def test_s15_a_hostile_form_is_a_400(plain: Any, body: bytes) -> None:
    headers = "content-type: multipart/form-data; boundary=x"

    assert parsed(plain.send(post(body, headers, path="/size")))[0] == 400


def test_s15_a_long_boundary_is_refused(plain: Any) -> None:
    headers = "content-type: multipart/form-data; boundary=" + "x" * 100

    assert parsed(plain.send(post(b"", headers, path="/size")))[0] in (400, 415)


ODD_JSON = [
    b'{"value": 01}', b'{"value": +1}', b'{"value": .5}', b'{"value": 1.}', b'{"value": 0x1}',
    b"{'value': 1}", b'{"value": 1,}', b'{"value": [1,]}', b'{"value": 1} {}', b'{"value": 1}x',
    b'{"value": "\xff"}', b'{"value": "\\ud800"}', b'{"value": "a\nb"}', b'{"value": nul}',
    b'{"value": NaN}', b'{"value": -Infinity}', b'{"value": 1e}', b'\xef\xbb\xbf{"value": 1}',
    b'{"value": 1', b'{"value"', b'{"value": {"a": 1, "a": 2}}', b"/**/{}", b"\x00",
    b'{"value": ' + b"[" * 65 + b"]" * 65 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("body", ODD_JSON)
def test_s16_odd_json_is_a_400(plain: Any, body: bytes) -> None:
    assert parsed(plain.send(post(body, JSON, path="/echo")))[0] == 400


LIES = [
    ("float32", "1,2", 4), ("float32", "1,2", 12), ("float32", "-1,2", 8), ("float32", "1,-2", 8),
    ("float32", "4611686018427387904,4", 0), ("float32", "9223372036854775807,2", 8),
    ("float32", "99999999999999999999,2", 8), ("float32", "0,2", 8), ("float32", "", 8),
    ("float32", "1;2", 8), ("float32", "1.0,2", 8), ("float32", "1,2," + "1," * 60 + "1", 8),
    ("float64", "1,2", 16), ("object", "1,2", 16), ("O", "1,2", 16), ("V8", "1", 8),
    ("float32\x0b", "1,2", 8), ("<f4,(1000000,)", "1,2", 8), ("", "1,2", 8), ("str", "1,2", 8),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "shape", "size"), LIES)
def test_s17_headers_that_lie_about_a_tensor_are_a_400(
    plain: Any, dtype: str, shape: str, size: int
) -> None:
    headers = ("content-type: application/octet-stream", f"modelpack-dtype: {dtype}",
               f"modelpack-shape: {shape}")  # fmt: skip

    status, problem = parsed(plain.send(post(b"\0" * size, *headers)))

    assert status == 400, problem


def test_s17_an_honest_tensor_is_answered(plain: Any) -> None:
    body = np.array([[1, 2]], dtype=np.float32).tobytes()
    headers = ("content-type: application/octet-stream", "modelpack-dtype: float32",
               "modelpack-shape: 1,2")  # fmt: skip

    answer = plain.send(post(body, *headers))

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"[[2.0,4.0]]")


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/hostname", "sub/../../x", "link.bin"])
def test_s18_external_data_of_a_model_stays_beside_it(tmp_path: Path, location: str) -> None:
    from onnx import TensorProto, helper, save

    outside = tmp_path / "outside.bin"
    outside.write_bytes(np.ones(2, dtype=np.float32).tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(outside)
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save(model, str(folder / "model.onnx"))

    import subprocess
    import sys

    command = [sys.executable, "-m", "modelpack", "serve", "model.onnx", "--port", "0"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode in (2, 4)
    assert done.stderr.startswith("error[")
    assert len(done.stderr.splitlines()) <= 4
    assert location in done.stderr


PROBLEM = re.compile(
    r'\{"type":"urn:modelpack:error:[a-z-]+","title":"[^"]+","status":\d{3}(,"detail":"[^"]*")?,'
    r'"code":"[a-z-]+","request_id":"[!-~]{1,128}"(,"errors":\[.*\])?\}'
)


@pytest.mark.parametrize(
    "data",
    [
        post(b"{", JSON),
        post(b'{"x": [[1, "/etc/passwd"]]}', JSON),
        post(b"{}", JSON, path="/nowhere/../../etc/passwd"),
        post(b"{}", "content-type: text/x-\x7f"),
        post(b'{"years": 1000}', JSON, path="/age"),
        post(b"{}", JSON, "x-request-id: \x01\x02", path="/double"),
        b"NONSENSE\r\n\r\n",
    ],
    ids=["syntax", "value", "path", "type", "range", "request-id", "words"],
)
def test_s19_an_error_says_what_it_must_and_no_more(plain: Any, data: bytes) -> None:
    body = plain.send(data).partition(b"\r\n\r\n")[2].decode()

    assert PROBLEM.fullmatch(body), body
    for secret in ("Traceback", str(plain.folder), os.environ.get("HOME", "/root"), ".py"):
        assert secret not in body


def test_s19_a_model_that_raises_keeps_its_words_to_the_log(serve: Any) -> None:
    served = serve("batched")

    answer = served.post("/double", {"x": [[13, 1]]})

    assert PROBLEM.fullmatch(answer.text)
    assert "passwd" not in answer.text
    assert "passwd" in served.text()


def test_s19_log_lines_are_json_escaped_and_bounded(serve: Any) -> None:
    served = serve("plain", access_log="true")
    served.send(post(b'{"value": 1}', JSON, "x-request-id: " + "a" * 128, path="/echo"))
    long = b"/\x1b[31m" + b"x" * 5000
    served.send(b"GET " + long + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")

    served.wait_until(lambda: "a" * 128 in served.text())
    lines = [line for line in served.text().splitlines() if line.startswith("{")]
    assert all(isinstance(json.loads(line), dict) for line in lines)
    assert all(len(line) <= 2048 for line in lines)
    assert "\x1b[31m" not in served.text()
