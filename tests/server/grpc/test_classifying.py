"""Classify, Regress and MultiInference: examples of TensorFlow, as its clients send them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest

from modelpack.sdk.api import ApiSpec
from modelpack.server.grpc.examples import row_axes

SERVICE = """
from typing import Annotated

import numpy as np

import modelpack

T = modelpack.Tensor


@modelpack.service
class Half:
    @modelpack.api(batch=True)
    def species(self, x: T["float32", "batch", 2]) -> list[str]:
        return ["big" if row.sum() > 1 else "small" for row in x]

    @modelpack.api(batch=True)
    def scores(self, x: T["float32", "batch", 2]) -> T["float32", "batch", 2]:
        return x / 2

    @modelpack.api(batch=True)
    def total(self, x: T["float64", "batch", 2]) -> T["float64", "batch"]:
        return x.sum(axis=1)

    @modelpack.api(batch=True)
    def boxed(self, x: T["int64", "batch", 2, 3], by: int = 1) -> T["int64", "batch"]:
        return x[:, 1, 2] * by

    @modelpack.api
    def length(self, text: str, twice: bool = False) -> int:
        return len(text) * (2 if twice else 1)

    @modelpack.api
    def rows(self, x: T["float32", "n", 2]) -> T["float32", "n"]:
        return x[:, 0]

    @modelpack.api
    async def count(self, to: int):
        yield to
"""

SERVING = "tensorflow.serving"
PATH = f"/{SERVING}.PredictionService"
KINDS = {float: "float_list", int: "int64_list", bytes: "bytes_list"}

Why = Callable[..., tuple[str, str]]
Example = Mapping[str, list[Any]]


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory, start_grpc: Any) -> Iterator[Any]:
    with start_grpc(tmp_path_factory.mktemp("half")) as start:
        yield start("service:Half", text=SERVICE)


def example(features: Example) -> dict[str, Any]:
    """A tf.Example; the kind of a list is that of its first element."""
    lists = {
        name: {KINDS[type(values[0])]: {"value": values}} if values else {}
        for name, values in features.items()
    }
    return {"features": {"feature": lists}}


def examples(*given: Example, context: Example | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"examples": [example(one) for one in given]}
    if context is None:
        return {"example_list": found}
    return {"example_list_with_context": {**found, "context": example(context)}}


@pytest.fixture
def regress(half: Any, make: Any) -> Any:
    """Call Regress with an api by its signature; returns the numbers."""

    def send(signature: str, *given: Example, **more: Any) -> list[float]:
        spec = {"name": "half", "signature_name": signature}
        request = make(f"{SERVING}.RegressionRequest")(
            model_spec=spec, input=examples(*given, **more)
        )
        answer = half.call(f"{PATH}/Regress", request, f"{SERVING}.RegressionResponse")
        assert answer.model_spec.signature_name == signature
        return [one.value for one in answer.result.regressions]

    return send


@pytest.fixture
def classify(half: Any, make: Any) -> Any:
    """Call Classify; returns labels with scores for each example."""

    def send(spec: Mapping[str, Any], *given: Example) -> list[list[tuple[str, float]]]:
        request = make(f"{SERVING}.ClassificationRequest")(model_spec=spec, input=examples(*given))
        answer = half.call(f"{PATH}/Classify", request, f"{SERVING}.ClassificationResponse")
        assert (answer.model_spec.name, answer.model_spec.version.value) == ("half", 1)
        found = answer.result.classifications
        return [[(one.label, one.score) for one in each.classes] for each in found]

    return send


def test_classes_are_those_that_http_gives(half: Any, classify: Any) -> None:
    rows: list[Example] = [{"x": [0.5, 0.25]}, {"x": [0.5, 0.75]}]

    for signature in ("species", "scores"):
        found = classify({"name": "half", "signature_name": signature}, *rows)
        body = {"signature_name": signature, "examples": rows}
        answer = httpx.post(f"{half.url}/v1/models/half:classify", json=body)
        assert found == [[tuple(one) for one in each] for each in answer.json()["results"]]
    assert found == [[("0", 0.25), ("1", 0.125)], [("0", 0.25), ("1", 0.375)]]
    assert classify({"name": "half"}, *rows) == [[("small", 1.0)], [("big", 1.0)]]


def test_a_regression_is_one_number_an_example(regress: Any) -> None:
    assert regress("total", {"x": [0.5, 0.25]}, {"x": [1, 2]}) == [0.75, 3.0]


def test_a_flat_list_gets_the_axes_of_a_row(regress: Any) -> None:
    rows: list[Example] = [{"x": [1, 2, 3, 4, 5, 6]}, {"x": [0, 0, 0, 0, 0, 7]}]

    assert regress("boxed", *rows) == [6.0, 7.0]


def test_the_context_holds_for_all_examples(regress: Any) -> None:
    rows: list[Example] = [{"x": [1, 2, 3, 4, 5, 6]}, {"x": [0, 0, 0, 0, 0, 7]}]

    assert regress("boxed", *rows, context={"by": [10]}) == [60.0, 70.0]


def test_texts_and_truth_come_as_bytes_and_as_numbers(regress: Any) -> None:
    """An api without batches is called once for each example."""
    rows: list[Example] = [
        {"text": ["é".encode()]},
        {"text": [b"abc"], "twice": [1]},
        {"text": [b""]},
    ]

    assert regress("length", *rows) == [1.0, 6.0, 0.0]


def test_examples_are_the_first_axis_of_an_array_without_batches(regress: Any) -> None:
    assert regress("rows", {"x": [0.5, 1.0]}, {"x": [0.25, 1.0]}) == [0.5, 0.25]


def test_nan_goes_in_and_comes_out(regress: Any) -> None:
    (found,) = regress("total", {"x": [float("nan"), 0.5]})

    assert found != found  # noqa: PLR0124 - which only NaN does


@pytest.mark.parametrize(
    ("signature", "given", "said"),
    [
        ("total", [], "/examples: expected a list of instances, got an empty list"),
        ("total", [{"x": [0.5]}], "/examples/*/x: expected an array float64[batch, 2]"),
        ("total", [{"x": [0.5, 0.25]}, {}], "/examples/1/x: expected a feature, got nothing"),
        ("total", [{"x": []}], "/examples/0/x: expected a feature, got nothing"),
        ("total", [{"x": [0.5, 0.25], "y": [1]}], "/examples/0/y: expected only the features 'x'"),
        ("total", [{"x": [b"a", b"b"]}], "/examples/0"),
        ("boxed", [{"x": [1, 2, 3, 4, 5]}], "/examples/*/x: expected an array int64[batch, 2, 3]"),
        ("boxed", [{"x": [0.5] * 6}], "/examples/0"),
        ("length", [{"text": [b"\xff"]}], "/examples/0/text: expected texts in UTF-8"),
        ("length", [{"text": [b"a", b"b"]}], "/examples/0"),
        ("length", [{"text": [b"a"], "twice": [2]}], "/examples/0"),
        ("species", [{"x": [0.5, 0.5]}], "this api does not answer values"),
        ("other", [{"x": [0.5, 0.5]}], "'half' has no signature 'other'"),
    ],
)
def test_what_does_not_fit_is_an_invalid_argument(
    regress: Any, why: Why, signature: str, given: list[Example], said: str
) -> None:
    status, text = why(lambda: regress(signature, *given))

    assert status == "INVALID_ARGUMENT"
    assert said in text


def test_what_is_no_number_is_counted_as_refused(regress: Any, half: Any, why: Why) -> None:
    """The api has answered; but nothing that can be told."""

    def counts() -> dict[str, float]:
        lines = httpx.get(f"{half.url}/metrics").text.splitlines()
        found = (one.rpartition(" ") for one in lines if 'requests_total{api="species"' in one)
        return {name: float(count) for name, _, count in found}

    before = counts()
    why(lambda: regress("species", {"x": [0.5, 0.5]}))

    changed = {name: count - before.get(name, 0) for name, count in counts().items()}
    assert {name: more for name, more in changed.items() if more} == {
        'modelpack_requests_total{api="species",status="400"}': 1,
        'modelpack_refused_requests_total{api="species",reason="bad-input"}': 1,
        'modelpack_face_requests_total{api="species",face="grpc"}': 1,
    }


def test_an_api_that_streams_and_a_model_that_is_not_there(
    classify: Any, regress: Any, why: Why
) -> None:
    assert why(lambda: regress("count", {"to": [1]}))[0] == "UNIMPLEMENTED"
    status, text = why(lambda: classify({"name": "whole"}, {"x": [0.5, 0.5]}))
    assert (status, text) == ("NOT_FOUND", "Servable not found for request: Latest(whole)")


def task(signature: str, method: str, name: str = "half") -> dict[str, Any]:
    method = f"tensorflow/serving/{method}"
    return {"model_spec": {"name": name, "signature_name": signature}, "method_name": method}


@pytest.fixture
def multi(half: Any, make: Any) -> Any:
    """Call MultiInference; returns its results."""

    def send(*tasks: dict[str, Any]) -> Any:
        request = make(f"{SERVING}.MultiInferenceRequest")(
            tasks=tasks, input=examples({"x": [0.5, 0.25]}, {"x": [0.5, 0.75]})
        )
        answer = half.call(f"{PATH}/MultiInference", request, f"{SERVING}.MultiInferenceResponse")
        return answer.results

    return send


def test_several_apis_are_asked_about_the_same_examples(multi: Any) -> None:
    first, second = multi(task("species", "classify"), task("total", "regress"))

    labels = [one.classes[0].label for one in first.classification_result.classifications]
    numbers = [one.value for one in second.regression_result.regressions]
    assert (labels, numbers) == (["small", "big"], [0.75, 1.25])
    assert second.model_spec.signature_name == "total"


@pytest.mark.parametrize(
    ("tasks", "status", "said"),
    [
        ([], "INVALID_ARGUMENT", "a request without tasks"),
        ([task("total", "predict")], "UNIMPLEMENTED", "Unsupported signature method_name"),
        ([task("total", "regress"), task("total", "classify")], "INVALID_ARGUMENT", "Duplicate"),
        ([task("", "regress"), task("species", "regress")], "INVALID_ARGUMENT", "Duplicate"),
        ([task("total", "regress"), task("", "regress", "half.total")], "INVALID_ARGUMENT",
         "must access the same model name"),
        ([task("total", "regress"), task("species", "regress")], "INVALID_ARGUMENT",
         "does not answer values"),
        ([task("total", "regress", "whole")], "NOT_FOUND", "Latest(whole)"),
    ],
)  # fmt: skip
def test_tasks_that_cannot_be_asked_together_are_refused(
    multi: Any, why: Why, tasks: list[Any], status: str, said: str
) -> None:
    found, text = why(lambda: multi(*tasks))

    assert found == status
    assert said in text


def test_a_row_has_the_axes_behind_the_first() -> None:
    import types

    module = types.ModuleType("half")
    exec(SERVICE, module.__dict__)
    from modelpack.sdk.loading import spec_of

    apis: dict[str, ApiSpec] = {one.name: one for one in spec_of(module.Half).apis}
    found = {name: tuple(row_axes(api, api.parameters[0])) for name, api in apis.items()}

    assert found == {
        "species": (2,), "scores": (2,), "total": (2,), "boxed": (2, 3), "length": (), "rows": (2,),
        "count": (),
    }  # fmt: skip
