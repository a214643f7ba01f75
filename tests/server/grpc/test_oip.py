"""The Open Inference Protocol over gRPC: what it says of models, and what it makes of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

OIP = "/inference.GRPCInferenceService/"
X = np.arange(8, dtype=np.float32).reshape(2, 4)

NUMBERS = {
    "flag": ("BOOL", np.array([True, False, True])),
    "i8": ("INT8", np.array([-128, 0, 127], np.int8)),
    "i16": ("INT16", np.array([-32768, 0, 32767], np.int16)),
    "i32": ("INT32", np.array([-(2**31), 0, 2**31 - 1], np.int32)),
    "i64": ("INT64", np.array([-(2**63), 0, 2**63 - 1], np.int64)),
    "u8": ("UINT8", np.array([0, 1, 255], np.uint8)),
    "u16": ("UINT16", np.array([0, 1, 65535], np.uint16)),
    "u32": ("UINT32", np.array([0, 1, 2**32 - 1], np.uint32)),
    "u64": ("UINT64", np.array([0, 1, 2**64 - 1], np.uint64)),
    "f32": ("FP32", np.array([0.1, -1e38, np.pi], np.float32)),
    "f64": ("FP64", np.array([0.1, -1e308, np.pi])),
}
FIELDS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents",
    "INT32": "int_contents", "INT64": "int64_contents", "UINT8": "uint_contents",
    "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
TEXTS = ["", "zwei", "drei \N{SNOWMAN}"]


def raw_texts(texts: list[str]) -> bytes:
    found = [one.encode() for one in texts]
    return b"".join(len(one).to_bytes(4, "little") + one for one in found)


def raw_x(**more: Any) -> dict[str, Any]:
    """Return a request for ``predict`` as Triton's clients send it."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 4]}
    request = {"model_name": "demo", "inputs": [tensor], "raw_input_contents": [X.tobytes()]}
    return {**request, **more}


def typed_x(**more: Any) -> dict[str, Any]:
    contents = {"fp32_contents": X.ravel().tolist()}
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 4], "contents": contents}
    return {"model_name": "demo", "inputs": [tensor], **more}


# --- what is said of the server and its models ----------------------------------------------------


def test_the_server_is_alive_and_ready_and_says_what_it_is(served: Any, make: Any) -> None:
    for name, key in (("ServerLive", "live"), ("ServerReady", "ready")):
        answer = served.call(
            f"{OIP}{name}", make(f"inference.{name}Request")(), f"inference.{name}Response"
        )
        assert getattr(answer, key) is True
    request = make("inference.ServerMetadataRequest")()
    found = served.call(f"{OIP}ServerMetadata", request, "inference.ServerMetadataResponse")

    assert found.name == "modelpack"
    assert {"statistics", "model_repository", "classification"} <= set(found.extensions)


@pytest.mark.parametrize(
    ("name", "version", "is_ready"),
    [("demo", "", True), ("demo", "1", True), ("demo.half", "", True), ("demo", "2", False),
     ("other", "", False)],
)  # fmt: skip
def test_a_model_is_ready_when_it_is_there(
    served: Any, make: Any, name: str, version: str, is_ready: bool
) -> None:
    request = make("inference.ModelReadyRequest")(name=name, version=version)

    answer = served.call(f"{OIP}ModelReady", request, "inference.ModelReadyResponse")

    assert answer.ready is is_ready


def test_metadata_names_inputs_and_outputs(served: Any, make: Any) -> None:
    request = make("inference.ModelMetadataRequest")(name="demo")

    found = served.call(f"{OIP}ModelMetadata", request, "inference.ModelMetadataResponse")

    assert (found.name, list(found.versions)) == ("demo", ["1"])
    assert [(t.name, t.datatype, list(t.shape)) for t in found.inputs] == [("x", "FP32", [-1, 4])]
    assert [(t.name, t.datatype, list(t.shape)) for t in found.outputs] == [
        ("output", "FP32", [-1, 4])
    ]


def test_the_configuration_says_how_requests_are_batched(served: Any, make: Any) -> None:
    request = make("inference.ModelConfigRequest")(name="demo")

    config = served.call(f"{OIP}ModelConfig", request, "inference.ModelConfigResponse").config

    assert config.max_batch_size == 32
    assert (config.input[0].data_type, list(config.input[0].dims)) == (11, [4])  # TYPE_FP32
    streams = make("inference.ModelConfigRequest")(name="demo.count")
    config = served.call(f"{OIP}ModelConfig", streams, "inference.ModelConfigResponse").config
    assert (config.max_batch_size, config.model_transaction_policy.decoupled) == (0, True)


def test_the_index_lists_every_api(served: Any, make: Any) -> None:
    request = make("inference.RepositoryIndexRequest")(ready=True)

    found = served.call(f"{OIP}RepositoryIndex", request, "inference.RepositoryIndexResponse")

    states = {one.name: (one.version, one.state) for one in found.models}
    assert states["demo"] == states["demo.count"] == ("1", "READY")


def test_statistics_count_rows_and_batches(served: Any, make: Any) -> None:
    def counts() -> Any:
        request = make("inference.ModelStatisticsRequest")(name="demo")
        path = f"{OIP}ModelStatistics"
        return served.call(path, request, "inference.ModelStatisticsResponse").model_stats[0]

    before = counts()
    served.infer(**raw_x())
    served.refused(**raw_x(raw_input_contents=[b""]))
    after = counts()

    assert after.inference_count == before.inference_count + 2
    assert after.execution_count == before.execution_count + 1
    stats = after.inference_stats
    assert stats.success.count == before.inference_stats.success.count + 1
    assert stats.fail.count == before.inference_stats.fail.count + 1
    assert stats.compute_infer.ns > before.inference_stats.compute_infer.ns


# --- tensors --------------------------------------------------------------------------------------


def test_a_raw_request_has_a_raw_answer(served: Any) -> None:
    answer = served.infer(**raw_x(id="abc"))

    assert (answer.id, answer.model_name, answer.model_version) == ("abc", "demo", "1")
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("output", "FP32", [2, 4])
    assert not output.HasField("contents")
    assert answer.raw_output_contents[0] == (X * 2).tobytes()


def test_a_typed_request_has_a_typed_answer(served: Any) -> None:
    answer = served.infer(**typed_x())

    assert not answer.raw_output_contents
    assert list(answer.outputs[0].contents.fp32_contents) == (X * 2).ravel().tolist()


@pytest.mark.parametrize("is_raw", [True, False])
def test_every_datatype_comes_back_as_it_was(served: Any, is_raw: bool) -> None:
    inputs, raws = [], []
    for name, (datatype, array) in NUMBERS.items():
        inputs.append({"name": name, "datatype": datatype, "shape": [3]})
        raws.append(array.tobytes())
        if not is_raw:
            inputs[-1]["contents"] = {FIELDS[datatype]: array.tolist()}
    inputs.append({"name": "text", "datatype": "BYTES", "shape": [3]})
    raws.append(raw_texts(TEXTS))
    if not is_raw:
        inputs[-1]["contents"] = {"bytes_contents": [one.encode() for one in TEXTS]}

    answer = served.infer(
        model_name="demo.types", inputs=inputs, raw_input_contents=raws if is_raw else []
    )

    assert [one.name for one in answer.outputs] == [*NUMBERS, "text"]
    for index, output in enumerate(answer.outputs):
        assert (output.datatype, list(output.shape)) == (inputs[index]["datatype"], [3])
        if is_raw:
            assert answer.raw_output_contents[index] == raws[index], output.name
        else:
            field = FIELDS[output.datatype]
            sent = inputs[index]["contents"][field]
            assert list(getattr(output.contents, field)) == sent, output.name


def test_half_precision_is_raw_alone(served: Any) -> None:
    values = np.array([0.5, -2.0], np.float16)
    tensor = {"name": "x", "datatype": "FP16", "shape": [2]}

    answer = served.infer(
        model_name="demo.half", inputs=[tensor], raw_input_contents=[values.tobytes()]
    )

    assert answer.raw_output_contents[0] == values.tobytes()
    tensor["contents"] = {"fp32_contents": [0.5, -2.0]}
    code, text = served.refused(model_name="demo.half", inputs=[tensor])
    assert code == "INVALID_ARGUMENT"
    assert "raw_input_contents" in text


def test_texts_and_numbers_are_parameters_with_defaults(served: Any) -> None:
    text = {"name": "text", "datatype": "BYTES", "shape": [1],
            "contents": {"bytes_contents": [b"ab"]}}  # fmt: skip
    times = {
        "name": "times",
        "datatype": "INT64",
        "shape": [1],
        "contents": {"int64_contents": [3]},
    }

    twice = served.infer(model_name="demo.label", inputs=[text])
    thrice = served.infer(model_name="demo.label", inputs=[times, text])

    assert list(twice.outputs[0].contents.bytes_contents) == [b"abab"]
    assert list(thrice.outputs[0].contents.bytes_contents) == [b"ababab"]


def test_only_the_outputs_that_are_asked_for_come(served: Any) -> None:
    inputs = [{"name": name, "datatype": datatype, "shape": [3]}
              for name, (datatype, _) in NUMBERS.items()]  # fmt: skip
    raws = [array.tobytes() for _, array in NUMBERS.values()]
    inputs.append({"name": "text", "datatype": "BYTES", "shape": [3]})

    answer = served.infer(
        model_name="demo.types",
        inputs=inputs,
        raw_input_contents=[*raws, raw_texts(TEXTS)],
        outputs=[{"name": "text"}, {"name": "i8"}],
    )

    assert [one.name for one in answer.outputs] == ["text", "i8"]


def test_the_largest_values_are_named_when_classes_are_asked_for(served: Any) -> None:
    wanted = {"name": "output", "parameters": {"classification": {"int64_param": 2}}}

    answer = served.infer(**raw_x(outputs=[wanted]))

    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("BYTES", [2, 2])
    texts = ["6.000000:3", "4.000000:2", "14.000000:3", "12.000000:2"]
    assert answer.raw_output_contents[0] == raw_texts(texts)


# --- what does not fit ----------------------------------------------------------------------------

TENSOR = {"name": "x", "datatype": "FP32", "shape": [2, 4]}
RAW = X.tobytes()


def tensor(**more: Any) -> list[dict[str, Any]]:
    return [{**TENSOR, **more}]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (raw_x(inputs=tensor(contents={"fp32_contents": [1.0]})), "both"),
        (raw_x(raw_input_contents=[RAW, RAW]), "raw_input_contents"),
        (raw_x(raw_input_contents=[RAW[:-1]]), "31 bytes"),
        (raw_x(inputs=tensor(shape=[2, -4])), "shape"),
        (raw_x(inputs=tensor(shape=[2**62, 2**62])), "shape"),
        (raw_x(inputs=tensor(shape=[0, 2**62])), "shape"),
        (raw_x(inputs=tensor(shape=[1] * 40)), "shape"),
        (raw_x(inputs=tensor(shape=[4, 2])), "axis 1"),
        (raw_x(inputs=tensor(datatype="FP64", shape=[1, 4])), "datatype FP32"),
        (raw_x(inputs=tensor(datatype="COMPLEX")), "one of the datatypes"),
        (raw_x(inputs=tensor(name="y")), "/x"),
        (raw_x(inputs=[], raw_input_contents=[]), "/x"),
        (raw_x(inputs=[TENSOR, TENSOR], raw_input_contents=[RAW, RAW]), "once"),
        (raw_x(outputs=[{"name": "z"}]), "no output 'z'"),
        (raw_x(inputs=tensor(shape=[0, 4]), raw_input_contents=[b""]), "at least one row"),
        (typed_x(inputs=tensor(contents={"fp64_contents": [1.0] * 8})), "fp32_contents"),
        (raw_x(parameters={"sequence_id": {"int64_param": 7}}), "sequence"),
        (raw_x(parameters={"priority": {"string_param": "urgent"}}), "priority"),
        (raw_x(parameters={"timeout": {"int64_param": -1}}), "timeout"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_an_invalid_argument(
    served: Any, fields: dict[str, Any], said: str
) -> None:
    code, text = served.refused(**fields)

    assert code == "INVALID_ARGUMENT"
    assert said in text


@pytest.mark.parametrize(
    ("datatype", "field", "values", "raw"),
    [("INT8", "int_contents", [1, 2, 128], None), ("UINT16", "uint_contents", [1, 2, 65536], None),
     ("BOOL", None, None, b"\0\1\2"), ("BYTES", None, None, b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0"),
     ("BYTES", None, None, raw_texts(["a", "b", "c"]) + b"\0")],
)  # fmt: skip
def test_an_element_that_its_datatype_cannot_hold_is_refused(
    served: Any, datatype: str, field: str | None, values: Any, raw: bytes | None
) -> None:
    name = {"INT8": "i8", "UINT16": "u16", "BOOL": "flag", "BYTES": "text"}[datatype]
    one: dict[str, Any] = {"name": name, "datatype": datatype, "shape": [3]}
    if field:
        one["contents"] = {field: values}

    code, text = served.refused(
        model_name="demo.types", inputs=[one], raw_input_contents=[] if raw is None else [raw]
    )

    assert code == "INVALID_ARGUMENT"
    assert text.startswith(f"the body does not fit the api: /{name}: ")


def test_an_unknown_model_or_version_is_not_found(served: Any) -> None:
    assert served.refused(**raw_x(model_name="other"))[0] == "NOT_FOUND"
    assert served.refused(**raw_x(model_version="7"))[0] == "NOT_FOUND"


def test_bytes_that_are_no_message_are_an_invalid_argument(
    served: Any, why: Callable[..., tuple[str, str]]
) -> None:
    code, text = why(lambda: served.send(f"{OIP}ModelInfer", b"\xff\xff\xff"))

    assert (code, text) == ("INVALID_ARGUMENT", "bad request: the bytes are no ModelInferRequest")


def test_a_method_that_is_not_there_is_unimplemented(
    served: Any, why: Callable[..., tuple[str, str]]
) -> None:
    assert why(lambda: served.send(f"{OIP}SystemSharedMemoryStatus", b""))[0] == "UNIMPLEMENTED"


def test_an_api_that_streams_is_no_single_call(served: Any) -> None:
    one = {"name": "to", "datatype": "INT64", "shape": [1], "contents": {"int64_contents": [3]}}

    code, text = served.refused(model_name="demo.count", inputs=[one])

    assert code == "UNIMPLEMENTED"
    assert "ModelStreamInfer" in text


def test_a_service_that_fails_says_nothing_of_itself(served: Any) -> None:
    one = {"name": "x", "datatype": "INT64", "shape": [1], "contents": {"int64_contents": [3]}}

    code, text = served.refused(model_name="demo.fail", inputs=[one])

    assert code == "INTERNAL"
    assert "nobody may see" not in text
    assert any("RuntimeError" in json for json in map(str, served.events("model-error")))


@pytest.mark.parametrize("is_raw", [True, False])
def test_a_large_request_is_answered_like_a_small_one(served: Any, is_raw: bool) -> None:
    """It is read in a thread: numbers that are typed, and megabytes that are raw."""
    rows = 300_000 if is_raw else 20_000
    x = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
    one: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [rows, 4]}
    if not is_raw:
        one["contents"] = {"fp32_contents": x.ravel()}

    answer = served.infer(
        model_name="demo", inputs=[one], raw_input_contents=[x.tobytes()] if is_raw else []
    )

    if is_raw:
        found = np.frombuffer(answer.raw_output_contents[0], "<f4")
    else:
        found = np.array(answer.outputs[0].contents.fp32_contents, np.float32)
    assert (found == x.ravel() * 2).all()
    code, text = served.refused(
        model_name="demo",
        inputs=[{**one, "shape": [rows - 1, 4]}],
        raw_input_contents=[x.tobytes()] if is_raw else [],
    )
    assert code == "INVALID_ARGUMENT"
    assert str(rows * 4) in text or str(rows * 16) in text
