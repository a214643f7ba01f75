"""Triton's own client, as it is: binary by default, JSON when told so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module")
def client(models: Any) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(models.url.removeprefix("http://")) as one:
        yield one


def tensor(name: str, data: Any, datatype: str, *, binary: bool = True) -> triton.InferInput:
    one = triton.InferInput(name, list(data.shape), datatype)
    one.set_data_from_numpy(data, binary_data=binary)
    return one


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("kinds")
    assert client.is_model_ready("kinds", "1")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata()["name"] == "modelpack"
    assert client.get_model_metadata("kinds")["inputs"][0]["datatype"] == "FP32"
    assert client.get_model_config("kinds")["max_batch_size"] == 32
    assert client.get_model_repository_index()[0]["state"] == "READY"


@pytest.mark.parametrize("binary_in", [True, False], ids=["bytes-in", "json-in"])
@pytest.mark.parametrize("binary_out", [True, False, None], ids=["bytes", "json", "default"])
def test_numbers_go_both_ways_in_both_forms(
    client: Any, binary_in: bool, binary_out: bool | None
) -> None:
    x = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    wanted = None
    if binary_out is not None:
        wanted = [triton.InferRequestedOutput("output", binary_data=binary_out)]

    answer = client.infer(
        "kinds", [tensor("x", x, "FP32", binary=binary_in)], outputs=wanted, request_id="7"
    )

    found = answer.as_numpy("output")
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 2, 4], [8, 10, 12]]
    assert answer.get_response()["id"] == "7"


@pytest.mark.parametrize("binary", [True, False], ids=["bytes", "json"])
def test_integers_and_booleans(client: Any, binary: bool) -> None:
    inputs = [
        tensor("a", np.array([1, 2], np.int64), "INT64", binary=binary),
        tensor("b", np.array([True, False]), "BOOL", binary=binary),
    ]
    wanted = [triton.InferRequestedOutput(one, binary_data=binary) for one in ("total", "is_even")]

    answer = client.infer("kinds.both", inputs, outputs=wanted)

    assert answer.as_numpy("total").tolist() == [2, 2]
    assert answer.as_numpy("is_even").tolist() == [False, True]
    assert answer.as_numpy("is_even").dtype == bool


@pytest.mark.parametrize("binary", [True, False], ids=["bytes", "json"])
def test_texts(client: Any, binary: bool) -> None:
    words = np.array(["a]", "é", '"'], object)
    wanted = [triton.InferRequestedOutput("output", binary_data=binary)]

    answer = client.infer(
        "kinds.upper", [tensor("words", words, "BYTES", binary=binary)], outputs=wanted
    )

    found = [one if isinstance(one, str) else one.decode() for one in answer.as_numpy("output")]
    assert found == ["A]", "É", '"']


def test_numbers_of_16_bits_go_as_bytes(client: Any) -> None:
    x = np.array([0.5, 2, -1], np.float16)

    answer = client.infer("kinds.half", [tensor("x", x, "FP16")])

    assert answer.as_numpy("output").dtype == np.float16
    assert answer.as_numpy("output").tolist() == [1, 4, -2]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_bodies_and_answers_may_be_compressed(client: Any, coding: str) -> None:
    x = np.ones(4000, np.float32)

    answer = client.infer(
        "kinds.echo",
        [tensor("x", x, "FP32")],
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )

    assert np.array_equal(answer.as_numpy("output"), x)


def test_the_best_classes_of_each_row(client: Any) -> None:
    x = np.array([[1, 9, 5, 0], [7, 2, 2, 0]], np.float32)
    wanted = [triton.InferRequestedOutput("output", class_count=2)]

    answer = client.infer("kinds", [tensor("x", x, "FP32")], outputs=wanted)

    assert answer.as_numpy("output").tolist() == [
        [b"16.000000:1", b"8.000000:2"],
        [b"12.000000:0", b"2.000000:1"],
    ]


def test_priority_timeout_and_parameters_are_taken(client: Any) -> None:
    x = np.ones((1, 4), np.float32)

    answer = client.infer(
        "kinds",
        [tensor("x", x, "FP32")],
        priority=1,
        timeout=5_000_000,
        parameters={"note": "kept", "share": 0.5},
    )

    assert answer.as_numpy("output").tolist() == [[0, 0, 0]]


def test_statistics_show_what_was_asked(client: Any) -> None:
    x = np.ones((3, 4), np.float32)
    before = client.get_inference_statistics("kinds")["model_stats"][0]["inference_count"]

    client.infer("kinds", [tensor("x", x, "FP32")])

    after = client.get_inference_statistics("kinds")["model_stats"][0]["inference_count"]
    assert after == before + 3


def test_calls_that_do_not_wait(client: Any) -> None:
    x = np.ones((1, 4), np.float32)

    asked = [client.async_infer("kinds", [tensor("x", x * n, "FP32")]) for n in range(1, 6)]

    found = [one.get_result().as_numpy("output")[0, 0] for one in asked]
    assert found == [0, 2, 4, 6, 8]


def test_errors_come_with_their_words(client: Any) -> None:
    x = np.ones((1, 3), np.float32)
    sequence = [tensor("x", np.ones((1, 4), np.float32), "FP32")]

    with pytest.raises(InferenceServerException, match="3 instead of 4 on axis 1"):
        client.infer("kinds", [tensor("x", x, "FP32")])
    with pytest.raises(InferenceServerException, match="no model 'nothing'"):
        client.infer("nothing", [tensor("x", x, "FP32")])
    with pytest.raises(InferenceServerException, match="nothing is kept between requests"):
        client.infer("kinds", sequence, sequence_id=7, sequence_start=True)
    with pytest.raises(InferenceServerException, match="MODELPACK_REPOSITORY_CONTROL"):
        client.load_model("kinds")
