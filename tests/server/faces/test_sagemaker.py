"""SageMaker's container contract, and its own client against the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import boto3
import httpx
import numpy as np
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

import modelpack
from modelpack.server.bodies import npy

Rows = modelpack.Tensor["float32", "batch", 2]
ROWS = [[1.0, 2.0], [3.0, 4.5]]
SUMS = [3.0, 7.5]


@modelpack.service
class Adder:
    """Adds."""

    @modelpack.api(batch=True)
    def predict(
        self, x: Rows, scale: float = 1.0
    ) -> dict[str, modelpack.Tensor["float32", "batch"]]:
        if scale == 13:
            raise RuntimeError("thirteen")
        return {"sum": x.sum(axis=1) * np.float32(scale)}

    @modelpack.api
    def count(self, to: int, fails: bool = False) -> Iterator[int]:
        yield from range(to)
        if fails:
            raise RuntimeError("on purpose")

    @modelpack.api
    def repeat(self, text: str, times: int = 2) -> str:
        return text * times


@pytest.fixture(scope="module", params=["fast", "asgi"])
def url(request: pytest.FixtureRequest, start_once: Callable[..., Any]) -> str:
    address: str = start_once(Adder, request.param).url
    return address


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client() as one:
        yield one


def invoke(
    client: httpx.Client, url: str, body: bytes | str, kind: str = "application/json", **head: str
) -> httpx.Response:
    headers = {"content-type": kind, **{k.replace("_", "-"): v for k, v in head.items()}}
    return client.post(f"{url}/invocations", content=body, headers=headers)


def test_ping_says_that_requests_are_taken(client: httpx.Client, url: str) -> None:
    assert client.get(f"{url}/ping").json() == {"status": "Healthy"}


PREDICTIONS = {"predictions": {"sum": SUMS}}


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (json.dumps({"x": ROWS}), "application/json", {"sum": SUMS}),
        (json.dumps({"x": ROWS}), "", {"sum": SUMS}),
        (json.dumps({"instances": ROWS}), "application/json", PREDICTIONS),
        (json.dumps({"instances": [{"x": one} for one in ROWS]}), "application/json", PREDICTIONS),
        (json.dumps({"inputs": {"x": ROWS}}), "application/json; charset=utf-8", PREDICTIONS),
        ("1,2\n3,4.5\n", "text/csv", PREDICTIONS),
        ("\ufeff1,2\r\n3,4.5", "text/csv", PREDICTIONS),
        ('"a","b"\n1,2\n3,4.5\n', "text/csv", PREDICTIONS),
        ("7,8\n1,2\n3,4.5\n", "text/csv; header=present", PREDICTIONS),
        (np.array(ROWS, "<f4").tobytes(), "application/octet-stream", {"sum": SUMS}),
        (npy.write(np.array(ROWS, np.float32)), "application/x-npy", {"sum": SUMS}),
    ],
)
def test_every_form_of_the_same_rows_has_the_same_answer(
    client: httpx.Client, url: str, body: bytes | str, kind: str, expected: Any
) -> None:
    answer = (
        invoke(client, url, body, kind) if kind else client.post(f"{url}/invocations", content=body)
    )

    assert (answer.status_code, answer.json()) == (200, expected)


@pytest.mark.parametrize("body", ["[1,2]\n[3,4.5]\n", '{"x":[1,2]}\n\n{"x":[3,4.5]}'])
@pytest.mark.parametrize("accept", [None, "*/*", "application/jsonlines"])
def test_json_lines_are_answered_line_by_line(
    client: httpx.Client, url: str, body: str, accept: str | None
) -> None:
    head = {} if accept is None else {"accept": accept}
    answer = invoke(client, url, body, "application/jsonlines", **head)

    assert answer.headers["content-type"] == "application/jsonlines"
    assert answer.text == "3.0\n7.5\n"


@pytest.mark.parametrize("body", [json.dumps({"x": ROWS}), json.dumps({"inputs": ROWS})])
def test_the_answer_has_the_form_that_is_asked_for(
    client: httpx.Client, url: str, body: str
) -> None:
    as_csv = invoke(client, url, body, accept="text/csv")
    as_npy = invoke(client, url, body, accept="application/x-npy")

    assert (as_csv.headers["content-type"], as_csv.text) == (
        "text/csv; charset=utf-8",
        "3.0\n7.5\n",
    )
    assert npy.read(as_npy.content, "")[0].shape == (2,)


def test_an_api_without_batches_is_called_once_a_row(client: httpx.Client, url: str) -> None:
    path = f"{url}/endpoints/adder-repeat/invocations"

    rows = client.post(path, json={"instances": ["a", {"text": "b", "times": 3}]})
    frame = client.post(
        path, content="text,times\n007,1\nno,2\n", headers={"content-type": "text/csv"}
    )
    one = client.post(path, json={"instances": ["a"]})
    own = client.post(path, json={"text": "c"})

    assert rows.json() == {"predictions": ["aa", "bbb"]}
    assert frame.json() == {"predictions": ["007", "nono"]}
    assert one.json() == {"predictions": ["aa"]}
    assert own.json() == "cc"


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        ("{", "application/json", 400, "not valid JSON"),
        ("[1]", "application/json", 400, "expected an object"),
        ('{"instances": []}', "application/json", 400, "/instances: expected a list of instances"),
        ('{"instances": 1}', "application/json", 400, "/instances"),
        ('{"instances": [[1]]}', "application/json", 400, "1 instead of 2"),
        ('{"instances": [[1, "2"]]}', "application/json", 400, "the string '2'"),
        ('{"instances": [[1,2]], "inputs": 1}', "application/json", 400, "exactly one of"),
        ('{"instances": [[1,2]], "y": 1}', "application/json", 400, "exactly one of"),
        ('{"instances": [[1,2]], "params": 1}', "application/json", 400, "/params"),
        ('{"instances": [[1,2]], "params": {"q": 1}}', "application/json", 400, "/q"),
        ('{"dataframe_split": {"columns": ["a"]}}', "application/json", 400, "columns and data"),
        ('{"dataframe_records": [1]}', "application/json", 400, "a list of objects"),
        ('{"dataframe_records": [{"a": 1}, {"b": 1}]}', "application/json", 400, "the same keys"),
        ("1,2\n3\n", "text/csv", 400, "2 values"),
        ("1,x\n", "text/csv", 400, "expected"),
        ("", "text/csv", 400, "at least one row"),
        ("a,b\n", "text/csv", 400, "below the header"),
        ('1,"2\n', "text/csv", 400, "RFC 4180"),
        (b"\xff,1", "text/csv", 400, "UTF-8"),
        ("[1,2]\n{", "application/jsonlines", 400, "line 2"),
        (b"123", "application/octet-stream", 400, "3 bytes"),
        (b"\x93NUMPY", "application/x-npy", 400, ".npy"),
        ("1,2", "text/csv; charset=latin-1", 415, "charset"),
        ("<x/>", "application/xml", 415, "text/csv"),
    ],
)
def test_what_is_malformed_is_a_4xx_that_says_why(  # noqa: PLR0917
    client: httpx.Client, url: str, body: bytes | str, kind: str, status: int, words: str
) -> None:
    answer = invoke(client, url, body, kind)

    assert answer.status_code == status
    assert answer.json().keys() == {"error_code", "message"}
    assert answer.json()["error_code"] == "BAD_REQUEST"
    assert words in answer.json()["message"]


def test_other_methods_and_paths_are_refused_in_the_same_words(
    client: httpx.Client, url: str
) -> None:
    method, path = client.get(f"{url}/invocations"), client.post(f"{url}/endpoints/other/x")

    assert (method.status_code, method.json()["error_code"]) == (405, "BAD_REQUEST")
    assert (path.status_code, path.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


# --- boto3 ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runtime(url: str) -> Any:
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 1}, proxies={}),
    )


def test_boto3_invokes_the_endpoint(runtime: Any) -> None:
    answer = runtime.invoke_endpoint(
        EndpointName="adder",
        Body=json.dumps({"instances": ROWS}),
        ContentType="application/json",
        CustomAttributes="trace=42",
    )

    assert json.load(answer["Body"]) == PREDICTIONS
    assert answer["ContentType"] == "application/json"
    assert answer["CustomAttributes"] == "trace=42"


def test_boto3_sends_csv_and_gets_csv(runtime: Any) -> None:
    answer = runtime.invoke_endpoint(
        EndpointName="adder", Body=b"1,2\n3,4.5\n", ContentType="text/csv", Accept="text/csv"
    )

    assert answer["Body"].read() == b"3.0\n7.5\n"


def test_what_the_platform_strips_comes_in_the_custom_attributes(runtime: Any) -> None:
    answer = runtime.invoke_endpoint(
        EndpointName="adder",
        Body=np.array(ROWS, "<f4").tobytes(),
        ContentType="application/octet-stream",
        CustomAttributes="Modelpack-Dtype=float32; Modelpack-Shape=2,2; Modelpack-Priority=high",
    )
    with pytest.raises(ClientError, match="X-Request-Timeout-Ms"):
        runtime.invoke_endpoint(
            EndpointName="adder",
            Body=b'{"x": [[1,2]]}',
            ContentType="application/json",
            CustomAttributes="x-request-timeout-ms=soon",
        )

    assert json.load(answer["Body"]) == {"sum": SUMS}


@pytest.mark.parametrize(
    ("body", "status"),
    [(b'{"x": [[1]]}', 400), (b'{"x": [[1,2]], "scale": 13}', 500)],
)
def test_boto3_sees_a_model_error_with_the_status_of_the_container(
    runtime: Any, body: bytes, status: int
) -> None:
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        runtime.invoke_endpoint(EndpointName="adder", Body=body, ContentType="application/json")

    assert caught.value.response["OriginalStatusCode"] == status
    assert caught.value.response["OriginalMessage"]


def test_boto3_reads_a_stream_part_by_part(runtime: Any) -> None:
    answer = runtime.invoke_endpoint_with_response_stream(
        EndpointName="adder-count", Body=b'{"to": 3}', ContentType="application/json"
    )
    events = runtime.invoke_endpoint_with_response_stream(
        EndpointName="adder-count",
        Body=b'{"to": 1}',
        ContentType="application/json",
        Accept="text/event-stream",
    )
    whole = runtime.invoke_endpoint_with_response_stream(
        EndpointName="adder", Body=b'{"x": [[1,2]]}', ContentType="application/json"
    )

    assert answer["ContentType"] == "application/x-ndjson"
    assert parts_of(answer) == [b"0\n", b"1\n", b"2\n"]
    assert parts_of(events) == [b"data: 0\n\n"]
    assert parts_of(whole) == [b'{"sum":[3.0]}']


def parts_of(answer: Any) -> list[bytes]:
    with closing(answer["Body"]) as body:
        return [one["PayloadPart"]["Bytes"] for one in body]


def test_boto3_sees_that_a_stream_broke_off(runtime: Any) -> None:
    answer = runtime.invoke_endpoint_with_response_stream(
        EndpointName="adder-count", Body=b'{"to": 1, "fails": true}', ContentType="application/json"
    )
    with pytest.raises(runtime.exceptions.ModelError):
        runtime.invoke_endpoint_with_response_stream(
            EndpointName="adder-count", Body=b"{}", ContentType="application/json"
        )

    with closing(answer["Body"]) as body, pytest.raises(EventStreamError, match="broke off"):
        list(body)


def test_a_stream_has_one_row(client: httpx.Client, url: str) -> None:
    path = f"{url}/endpoints/adder-count/invocations"

    one = client.post(path, json={"instances": [{"to": 2}]})
    several = client.post(path, json={"instances": [{"to": 2}, {"to": 3}]})

    assert one.text == "0\n1\n"
    assert (several.status_code, several.json()["OriginalStatusCode"]) == (424, 400)


# --- while it starts and ends --------------------------------------------------------------------


def test_ping_is_no_200_before_the_service_is_ready(start: Callable[..., Any]) -> None:
    running = start(Adder, faces="sagemaker")
    running.on_loop(lambda: setattr(running.server.front, "is_ready", False))

    answer = running.client.get("/ping")

    assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
