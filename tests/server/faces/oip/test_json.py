"""Inference requests and answers in JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest


def tensor(name: str, data: Any, dtype: str, **more: Any) -> dict[str, Any]:
    array = np.array(data)
    flat = array.reshape(-1).tolist()
    return {"name": name, "shape": list(array.shape), "datatype": dtype, "data": flat, **more}


def outputs(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {one["name"]: one for one in answer.json()["outputs"]}


def test_an_answer_names_model_version_and_tensors(models: Any, row: Any) -> None:
    answer = models.infer("kinds", [row])

    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "model_name": "kinds",
        "model_version": "1",
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [1, 3], "data": [0, 2, 4]}],
    }


def test_the_id_comes_back_and_none_is_made_up(models: Any, row: Any) -> None:
    assert models.infer("kinds", [row], id="42").json()["id"] == "42"
    assert "id" not in models.infer("kinds", [row], id=None).json()


@pytest.mark.parametrize(
    "data",
    [
        [1, 2, 3, 4, 5, 6, 7, 8],
        [[1, 2, 3, 4], [5, 6, 7, 8]],
        [1.0, 2e0, 3, 4, 5, 6, 7, 8],
    ],
    ids=["flat", "nested", "floats"],
)
def test_data_may_be_flat_or_nested(models: Any, data: Any) -> None:
    sent = {"name": "x", "shape": [2, 4], "datatype": "FP32", "data": data}

    answer = models.infer("kinds", [sent])

    assert outputs(answer)["output"]["data"] == [0, 2, 4, 8, 10, 12]


@pytest.mark.parametrize("count", [1, 16, 17, 200, 40_000], ids=str)
def test_tensors_of_any_length_are_read(models: Any, count: int) -> None:
    data = (np.arange(count) / 8).tolist()
    sent = {"name": "x", "shape": [count], "datatype": "FP32", "data": data}

    answer = models.infer("kinds.echo", [sent])

    assert outputs(answer)["output"]["data"] == data


def test_spaces_and_line_ends_change_nothing(models: Any) -> None:
    body = (
        b'{ "inputs" : [ { "data" :\n [ [ 1 , 2 ], [ 3 , 4 ]\n ], "shape" : [2, 2],'
        b' "name": "x", "datatype": "FP32" } ], "parameters": null, "outputs": null }'
    )

    answer = models.post("/models/kinds.echo/infer", body)

    assert outputs(answer)["output"]["data"] == [1, 2, 3, 4]


def test_several_inputs_and_defaults_make_one_call(models: Any) -> None:
    sent = [tensor("b", [True, False], "BOOL"), tensor("a", [1, 2], "INT64")]

    answer = outputs(models.infer("kinds.both", sent))
    added = outputs(models.infer("kinds.both", [*sent, tensor("add", [10], "INT64")]))

    assert answer["total"] == {
        "name": "total", "datatype": "INT64", "shape": [2], "data": [2, 2],
    }  # fmt: skip
    assert answer["is_even"]["datatype"] == "BOOL"
    assert answer["is_even"]["data"] == [False, True]
    assert added["total"]["data"] == [12, 12]


def test_only_the_outputs_that_are_asked_for_come_in_their_order(models: Any) -> None:
    sent = [tensor("b", [True], "BOOL"), tensor("a", [1], "INT64")]

    one = models.infer("kinds.both", sent, outputs=[{"name": "is_even"}])
    two = models.infer("kinds.both", sent, outputs=[{"name": "is_even"}, {"name": "total"}])

    assert [each["name"] for each in one.json()["outputs"]] == ["is_even"]
    assert [each["name"] for each in two.json()["outputs"]] == ["is_even", "total"]


def test_texts_are_strings_and_numbers_of_16_bits_are_widened(models: Any) -> None:
    words = models.infer("kinds.upper", [tensor("words", ["a]", 'b"é'], "BYTES")])
    half = models.infer("kinds.half", [tensor("x", [0.5, 2], "FP16")])

    assert outputs(words)["output"] == {
        "name": "output", "datatype": "BYTES", "shape": [2], "data": ["A]", 'B"É'],
    }  # fmt: skip
    assert outputs(half)["output"]["datatype"] == "FP32"
    assert outputs(half)["output"]["data"] == [1, 4]


def test_an_object_is_json_in_a_text(models: Any) -> None:
    who = orjson.dumps({"name": "Ada", "age": 36}).decode()

    answer = models.infer(
        "kinds.upper", [tensor("words", ["x"], "BYTES"), tensor("who", [who], "BYTES")]
    )

    assert outputs(answer)["output"]["data"] == ["X", "Ada"]


def test_bytes_that_are_no_text_go_as_base64(models: Any) -> None:
    sent = tensor("data", ["/wA="], "BYTES", parameters={"content_type": "base64"})

    answer = outputs(models.infer("kinds.turn", [sent]))["output"]

    assert answer["data"] == ["AP8="]
    assert answer["parameters"] == {"content_type": "base64"}


def test_an_empty_tensor_is_one_and_an_empty_batch_is_refused(models: Any) -> None:
    empty = {"name": "x", "shape": [0], "datatype": "FP32", "data": []}
    no_rows = {"name": "x", "shape": [0, 4], "datatype": "FP32", "data": []}

    assert outputs(models.infer("kinds.echo", [empty]))["output"]["shape"] == [0]
    refused = models.infer("kinds", [no_rows])
    assert refused.status_code == 400
    assert "at least one row" in refused.json()["error"]


def test_nan_is_null_unless_the_api_calls_it_an_error(models: Any) -> None:
    sent = [{"name": "x", "shape": [1], "datatype": "FP64", "data": [-1.0]}]

    answer = models.infer("kinds.strict", sent)

    assert answer.status_code == 500
    assert "bad output" in answer.json()["error"]


X = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "an object with 'inputs'"),
        (b'{"inputs":[],"inputs":[]}', "'inputs' stands twice"),
        ({}, "/inputs: expected a list of tensors, got nothing"),
        ({"inputs": {}}, "/inputs: expected a list of tensors"),
        ({"inputs": [1]}, "/inputs/0: expected an object"),
        ({"inputs": []}, "also the input 'x'"),
        ({"inputs": [X, X]}, "each input once"),
        ({"inputs": [{**X, "name": "y"}]}, "one of the inputs 'x', got the string 'y'"),
        ({"inputs": [{**X, "name": 7}]}, "one of the inputs 'x'"),
        ({"inputs": [{**X, "datatype": "FLOAT"}]}, "a datatype, such as FP32"),
        ({"inputs": [{**X, "datatype": "FP64"}]}, "/inputs/0/datatype: expected FP32, got FP64"),
        ({"inputs": [{**X, "shape": [-1, 4]}]}, "a list of lengths"),
        ({"inputs": [{**X, "shape": [1.0, 4]}]}, "a list of lengths"),
        ({"inputs": [{**X, "shape": [True, 4]}]}, "a list of lengths"),
        ({"inputs": [{**X, "shape": None}]}, "a list of lengths, got nothing"),
        ({"inputs": [{**X, "shape": [1] * 33}]}, "at most 32 axes"),
        ({"inputs": [{**X, "shape": [2**40, 2**40]}]}, "fits into memory"),
        ({"inputs": [{**X, "shape": [1, 3]}]}, "/inputs/0/shape: expected an array float32"),
        ({"inputs": [{**X, "shape": [4]}]}, "/inputs/0/shape: expected an array float32"),
        ({"inputs": [{**X, "data": [1, 2, 3]}]}, "4 elements, flat or nested"),
        ({"inputs": [{**X, "data": [[1, 2], [3, 4]]}]}, "4 elements, flat or nested"),
        ({"inputs": [{**X, "data": [[1, 2, 3], [4]]}]}, "/inputs/0/data/1: expected"),
        ({"inputs": [{**X, "data": [1, 2, 3, True]}]}, "/inputs/0/data/3: expected a number"),
        ({"inputs": [{**X, "data": [1, 2, 3, None]}]}, "got null"),
        ({"inputs": [{**X, "data": [1, 2, 3, "4"]}]}, "/inputs/0/data/3: expected a number"),
        ({"inputs": [{**X, "data": [1, 2, 3, 1e39]}]}, "/inputs/0/data/3: expected a number"),
        ({"inputs": [{**X, "data": "1234"}]}, "/inputs/0/data: expected"),
        ({"inputs": [{**X, "data": {"a": 1}}]}, "/inputs/0/data: expected"),
        ({"inputs": [{k: v for k, v in X.items() if k != "data"}]}, "either data or"),
        ({"inputs": [{**X, "parameters": 1}]}, "/inputs/0/parameters: expected an object"),
        (
            {"inputs": [{**X, "parameters": {"shared_memory_region": "r"}}]},
            "data in the request, got a shared memory region",
        ),
        ({"inputs": [X], "id": 7}, "/id: expected a string"),
        ({"inputs": [X], "outputs": {}}, "/outputs: expected a list"),
        ({"inputs": [X], "outputs": [1]}, "the name of an output"),
        ({"inputs": [X], "outputs": [{"name": "z"}]}, "one of the outputs 'output'"),
        ({"inputs": [X], "outputs": [{"name": "output"}] * 2}, "each output once"),
        ({"inputs": [X], "parameters": {"timeout": "1"}}, "/parameters/timeout"),
        ({"inputs": [X], "parameters": {"priority": -1}}, "/parameters/priority"),
        ({"inputs": [X], "parameters": {"sequence_id": 7}}, "nothing is kept between requests"),
        ({"inputs": [X], "parameters": {"binary_data_output": 1}}, "expected true or false"),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(models: Any, body: Any, said: str) -> None:
    answer = models.post("/models/kinds/infer", body)

    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]


def test_brackets_in_texts_and_odd_keys_never_mislead(models: Any) -> None:
    """What is cut out of a body is only used where it is sure to be the data of a tensor."""
    inner = orjson.dumps({"data": [0]}).decode()
    words = tensor("words", ["]", inner, '"data":[1]'], "BYTES")
    escaped = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","d\\u0061ta":[7]}]}'
    beside = b'{"p":{"data":[9]},"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[7]}]}'

    assert outputs(models.infer("kinds.upper", [words]))["output"]["data"][0] == "]"
    for body in (escaped, beside):
        for _ in range(2):  # the second time it may be known
            answer = models.post("/models/kinds.echo/infer", body)
            assert outputs(answer)["output"]["data"] == [7]


def test_a_frame_that_is_known_checks_every_number_again(models: Any, row: Any) -> None:
    assert models.infer("kinds", [row]).status_code == 200

    for data in ([1, 2, 3], [1, 2, 3, None], [1, 2, 3, 4, 5], [[1, 2, 3, 4], [5]]):
        assert models.infer("kinds", [{**row, "data": data}]).status_code == 400


@pytest.mark.parametrize(("value", "status"), [(-1, 422), (2e6, 500)])
def test_what_the_service_says_has_the_form_of_the_protocol(
    models: Any, value: float, status: int
) -> None:
    answer = models.infer("kinds", [tensor("x", [[value] * 4], "FP32")])

    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_unknown_models_versions_and_paths_are_said_in_the_same_form(models: Any, row: Any) -> None:
    for path, said in (
        ("/models/nothing/infer", "no model 'nothing'"),
        ("/models/kinds/versions/7/infer", "version 1, not in '7'"),
        ("/models/kinds/nothing", "nothing answers"),
    ):
        answer = models.post(path, {"inputs": [row]})
        assert answer.status_code == 404
        assert said in answer.json()["error"]
    assert models.post("/models/kinds/versions/1/infer", {"inputs": [row]}).status_code == 200
    wrong = models.get("/models/kinds/infer")
    assert (wrong.status_code, list(wrong.json())) == (405, ["error"])


def test_a_body_that_is_too_long_is_refused_in_the_same_form(models: Any) -> None:
    answer = models.post("/models/kinds/infer", b" " * 2_000_001)

    assert (answer.status_code, list(answer.json())) == (413, ["error"])


def test_any_content_type_is_read(models: Any, row: Any) -> None:
    """Clients send octet-stream, forms or nothing: only the header length says what the body is."""
    for kind in (
        "application/json",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
    ):
        answer = models.post("/models/kinds/infer", {"inputs": [row]}, content_type=kind)
        assert answer.status_code == 200


def test_priority_and_timeout_of_the_body_are_kept(models: Any, row: Any) -> None:
    parameters = {"priority": 1, "timeout": 5_000_000, "temperature": 0.5, "model": "x"}

    assert models.infer("kinds", [row], parameters=parameters).status_code == 200
    late = models.infer("kinds", [row], parameters={"timeout": 1})

    assert late.status_code == 504
    assert "timeout" in late.json()["error"]
