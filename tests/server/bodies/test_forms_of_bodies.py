"""Every form of body and answer over real sockets, through both lanes."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

import modelpack

Start = Callable[..., Any]
NPY, BINARY = "application/x-npy", "application/octet-stream"


@modelpack.service
class Arrays:
    @modelpack.api(batch=True)
    def double(
        self, x: modelpack.Tensor["float32", "batch", 3]
    ) -> modelpack.Tensor["float32", "batch", 3]:
        x *= 2  # in place: what comes in may be written to, alone in its batch or not
        return x

    @modelpack.api(batch=True)
    def scale(
        self, x: modelpack.Tensor["int64", "batch"], factor: int = 3
    ) -> dict[str, modelpack.Tensor["int64", "batch"]]:
        return {"scaled": x * factor}

    @modelpack.api
    def two(
        self, x: modelpack.Tensor["float32", "n"], y: modelpack.Tensor["float32", "n"]
    ) -> list[float]:
        return (x + y).tolist()

    @modelpack.api
    def roots(self, x: modelpack.Tensor["float64", "n"]) -> modelpack.Tensor["float64", "n"]:
        return np.array([v**0.5 if v >= 0 else np.nan for v in x])

    @modelpack.api(nan="error")
    def strict(self, x: modelpack.Tensor["float64", "n"]) -> modelpack.Tensor["float64", "n"]:
        return self.roots(x)

    @modelpack.api(nan="error")
    def pieces(self, n: int) -> list[float]:
        for at in range(n):
            yield [float(at), float("inf") if at == 2 else 0.0]

    @modelpack.api
    def text(self, word: str) -> str:
        return word


@pytest.fixture(scope="module", params=["fast", "asgi"])
def server(request: pytest.FixtureRequest, start_once: Start) -> Any:
    return start_once(Arrays, request.param, accept_encoding=True, max_inflated_bytes=100_000)


def post(server: Any, path: str, body: bytes, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.client.post(path, content=body, headers=named)


def binary(array: np.ndarray[Any, Any], **more: str) -> dict[str, Any]:
    shape = ",".join(map(str, array.shape))
    return {"content_type": BINARY, "modelpack_dtype": array.dtype.name,
            "modelpack_shape": shape, **more}  # fmt: skip


def array_of(answer: Any) -> np.ndarray[Any, Any]:
    shape = [int(n) for n in answer.headers["modelpack-shape"].split(",")]
    return np.frombuffer(answer.content, answer.headers["modelpack-dtype"]).reshape(shape)


def npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


ROWS = np.array([[1.5, 2, 3], [4, 5, 1e-40]], "float32")


def test_all_forms_of_an_array_mean_the_same(server: Any) -> None:
    bodies = [
        (json.dumps({"x": ROWS.tolist()}).encode(), {"content_type": "application/json"}),
        (ROWS.tobytes(), binary(ROWS)),
        (npy(ROWS), {"content_type": NPY}),
        (npy(np.asfortranarray(ROWS)), {"content_type": NPY}),
        (npy(ROWS.astype(">f4")), {"content_type": NPY}),
    ]

    for body, headers in bodies:
        as_json = post(server, "/double", body, **headers)
        as_bytes = post(server, "/double", body, **headers, accept=BINARY)
        as_npy = post(server, "/double", body, **headers, accept=NPY)

        assert as_json.headers["content-type"] == "application/json"
        assert np.array_equal(np.array(as_json.json(), "float32"), ROWS * 2)
        assert as_bytes.headers["content-type"] == BINARY
        assert np.array_equal(array_of(as_bytes), ROWS * 2)
        assert as_npy.headers["content-type"] == NPY
        assert np.array_equal(np.load(io.BytesIO(as_npy.content)), ROWS * 2)


def test_other_parameters_keep_their_defaults_and_one_named_array_is_an_array(server: Any) -> None:
    array = np.array([1, 2, 3])

    answer = post(server, "/scale", array.tobytes(), **binary(array, accept=BINARY))

    assert array_of(answer).tolist() == [3, 6, 9]
    assert server.post("/scale", {"x": [1, 2, 3]}).json() == {"scaled": [3, 6, 9]}


def test_the_same_head_again_has_the_same_answer(server: Any) -> None:
    """The fast lane remembers heads: each body is still looked at."""
    for _ in range(3):
        good = post(server, "/double", ROWS.tobytes(), **binary(ROWS, accept=BINARY))
        short = post(server, "/double", ROWS.tobytes()[:20], **binary(ROWS, accept=BINARY))

        assert np.array_equal(array_of(good), ROWS * 2)
        assert short.status_code == 400


@pytest.mark.parametrize("accept", ["text/html", "image/png", "application/json;q=0", "*/*", "x"])
def test_who_asks_for_nothing_that_we_have_gets_json(server: Any, accept: str) -> None:
    answer = post(server, "/double", ROWS.tobytes(), **binary(ROWS, accept=accept))

    assert answer.headers["content-type"] == "application/json"


def test_an_answer_that_is_no_array_is_json_whatever_is_asked_for(server: Any) -> None:
    for path, body in (("/text", {"word": "a"}), ("/two", {"x": [1], "y": [2]})):
        answer = server.post(path, body, headers={"accept": f"{NPY}, {BINARY}"})
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/two", BINARY),
        ("/two", NPY),
        ("/text", BINARY),
        ("/text", NPY),
        ("/double", "application/x-npz"),
        ("/double", "application/python-pickle"),
        ("/double", "application/x-pickle"),
        ("/double", "application/vnd.bentoml+pickle"),
        ("/double", "multipart/form-data; boundary=b"),
        ("/double", ""),
    ],
)
def test_forms_that_an_api_does_not_read_are_refused(server: Any, path: str, kind: str) -> None:
    answer = post(server, path, b"\x80\x04K\x01.", content_type=kind)

    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported-media-type"


LIES: dict[str, tuple[bytes, dict[str, str], str]] = {
    "no headers": (b"", {"modelpack_dtype": "", "modelpack_shape": ""}, "dtype float32"),
    "dtype": (ROWS.tobytes(), {"modelpack_dtype": "float64"}, "dtype float32"),
    "object": (ROWS.tobytes(), {"modelpack_dtype": "object"}, "dtype float32"),
    "long": (ROWS.tobytes() + b"\0", {}, "24 bytes"),
    "short": (ROWS.tobytes()[:-1], {}, "24 bytes"),
    "negative": (ROWS.tobytes(), {"modelpack_shape": "-2,-3"}, "a Modelpack-Shape"),
    "overflow": (b"", {"modelpack_shape": "6148914691236517206,3"}, "a Modelpack-Shape"),
    "product": (b"", {"modelpack_shape": f"{10**18 - 1},3"}, "a shape that fits into memory"),
    "huge": (b"", {"modelpack_shape": f"{2**40},3"}, f"{2**40 * 12} bytes"),
    "no rows": (b"", {"modelpack_shape": "0,3"}, "at least one row"),
    "axes": (ROWS.tobytes(), {"modelpack_shape": "1,2,3"}, "an array float32[batch, 3]"),
    "many axes": (b"", {"modelpack_shape": ",".join("1" * 40)}, "a Modelpack-Shape"),
    "width": (ROWS.tobytes(), {"modelpack_shape": "3,2"}, "an array float32[batch, 3]"),
    "npy pickle": (b"\x80\x04K\x01.", {"content_type": NPY}, "an .npy file"),
    "npy object": (
        npy(ROWS).replace(b"'<f4'", b"'|O' "), {"content_type": NPY}, "one of the dtypes"
    ),
    "npy length": (npy(ROWS) + b"\0", {"content_type": NPY}, "24 bytes"),
    "npy header": (b"\x93NUMPY\x02\0\xff\xff\xff\xff", {"content_type": NPY}, "a header of up to"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_lying_heads_are_refused_with_pointer_expected_and_got(server: Any, lie: str) -> None:
    body, headers, expected = LIES[lie]

    answer = post(server, "/double", body, **{**binary(ROWS), **headers})
    problem = answer.json()

    assert answer.status_code == 400
    assert problem["code"] == "bad-input"
    assert problem["errors"][0]["pointer"] == "/x"
    assert problem["errors"][0]["expected"].startswith(expected)
    assert problem["errors"][0]["got"]


def test_nan_is_null_in_json_and_itself_in_bytes(server: Any) -> None:
    array = np.array([4, -1, np.nan, np.inf])

    as_json = post(server, "/roots", array.tobytes(), **binary(array))
    as_bytes = post(server, "/roots", array.tobytes(), **binary(array, accept=BINARY))

    assert as_json.json() == [2.0, None, None, None]
    assert np.isnan(array_of(as_bytes)[1:3]).all()


@pytest.mark.parametrize("accept", ["application/json", BINARY, NPY])
def test_an_api_may_refuse_nan_on_both_ways(server: Any, accept: str) -> None:
    odd, negative = np.array([4.0, np.nan]), np.array([4.0, -1.0])

    incoming = post(server, "/strict", odd.tobytes(), **binary(odd, accept=accept))
    outgoing = post(server, "/strict", negative.tobytes(), **binary(negative, accept=accept))
    fine = post(server, "/strict", b"\0" * 8, **binary(np.zeros(1), accept=accept))

    assert incoming.status_code == 400
    assert incoming.json()["errors"] == [
        {"pointer": "/x/1", "expected": "a finite float64", "got": "nan"}
    ]
    assert outgoing.status_code == 500
    assert outgoing.json()["code"] == "bad-output"
    assert fine.status_code == 200


def test_a_stream_that_may_not_yield_nan_ends_with_the_problem(server: Any) -> None:
    lines: list[str] = []
    with (
        pytest.raises(httpx.RemoteProtocolError),
        server.client.stream("POST", "/pieces", json={"n": 4}) as answer,
    ):
        lines.extend(answer.iter_lines())

    assert lines[:2] == ["[0.0,0.0]", "[1.0,0.0]"]
    assert json.loads(lines[2])["error"]["code"] == "bad-output"


@pytest.mark.parametrize(
    ("coding", "pack"), [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress)]
)  # fmt: skip
def test_compressed_bodies_are_read_when_they_are_turned_on(
    server: Any, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    plain = json.dumps({"x": ROWS.tolist()}).encode()

    as_json = post(server, "/double", pack(plain), content_type="application/json",
                   content_encoding=coding)  # fmt: skip
    as_bytes = post(
        server, "/double", pack(ROWS.tobytes()), **binary(ROWS), content_encoding=coding
    )

    assert np.array_equal(np.array(as_json.json(), "float32"), ROWS * 2)
    assert as_bytes.json() == as_json.json()


def test_a_bomb_is_stopped_at_the_limit_and_the_server_goes_on(server: Any) -> None:
    bomb = gzip.compress(b" " * 100_000_000)

    answer = post(server, "/double", bomb, content_type="application/json", content_encoding="gzip")

    assert answer.status_code == 413
    assert answer.json()["code"] == "body-too-large"
    assert server.post("/double", {"x": [[1, 2, 3]]}).json() == [[2, 4, 6]]


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "gzip, deflate", "compress"])
def test_other_codings_are_refused_unread(server: Any, coding: str) -> None:
    answer = post(server, "/double", b"x", content_type="application/json", content_encoding=coding)

    assert answer.status_code == 415
    assert "a body in gzip or a body in deflate" in answer.json()["detail"]


def test_broken_compression_is_a_bad_body(server: Any) -> None:
    answer = post(server, "/double", b"no gzip", content_type="application/json",
                  content_encoding="gzip")  # fmt: skip

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["expected"] == "a body in gzip"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_compressed_bodies_are_refused_by_default(start: Start, lane: str, coding: str) -> None:
    server = start(Arrays, lane)
    body = gzip.compress(b'{"x":[[1,2,3]]}')

    answer = post(server, "/double", body, content_type="application/json", content_encoding=coding)

    assert answer.status_code == 415
    assert "an uncompressed body" in answer.json()["detail"]
