"""What operators see of each contract: who asks in which, and who asks wrongly."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import modelpack
from modelpack.server.observe.logs import configured

ROWS = [[1, 2]]
TENSOR = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}

ASKED: dict[str, tuple[str, Any]] = {
    "/predict": ("", {"x": ROWS}),
    "/v2/models/sums/infer": ("oip", {"inputs": [TENSOR]}),
    "/v2/models/sums/infer_stream": ("oip", {"inputs": [TENSOR]}),
    "/v1/models/sums:predict": ("kserve", {"instances": ROWS}),
    "/v1/models/sums/versions/1:predict": ("tfserving", {"instances": ROWS}),
    "/predictions/sums": ("torchserve", ROWS),
    "/api/v1.0/predictions": ("seldon", {"data": {"ndarray": ROWS}}),
    "/invocations": ("sagemaker", {"instances": ROWS}),
    "/endpoints/sums/invocations": ("sagemaker", {"instances": ROWS}),
    "/score": ("azureml", {"input_data": ROWS}),
}


@modelpack.service
class Sums:
    @modelpack.api(batch=True)
    def predict(self, x: modelpack.Tensor["float32", "batch", 2]) -> list[float]:
        return [float(row.sum()) for row in x]


@pytest.fixture(scope="module", params=["fast", "asgi"])
def seen(
    request: pytest.FixtureRequest, start_once: Callable[..., Any]
) -> Iterator[tuple[Any, io.StringIO]]:
    log = io.StringIO()
    with configured("json", "info", log):
        yield start_once(Sums, request.param, access_log=True), log


def counts(running: Any) -> dict[str, float]:
    page = running.client.get("/metrics").text
    return {
        sample.labels["face"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "modelpack_face_requests_total"
    }


def line_of(log: io.StringIO, request_id: str) -> dict[str, Any]:
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (found,) = [line for line in lines if line.get("request_id") == request_id]
    return found


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("is_good", [True, False])
def test_a_request_is_counted_and_logged_with_its_contract(
    seen: tuple[Any, io.StringIO], path: str, is_good: bool
) -> None:
    running, log = seen
    face, body = ASKED[path]
    request_id = f"{path.replace('/', '-').replace(':', '-')}-{is_good}"
    before = counts(running)

    answer = running.client.post(
        path, json=body if is_good else {"wrong": 1}, headers={"x-request-id": request_id}
    )

    assert answer.is_success is is_good
    running.wait_until(lambda: request_id in log.getvalue())
    assert line_of(log, request_id).get("face", "") == face
    after = counts(running)
    assert {one for one in after if after[one] != before.get(one)} == ({face} if face else set())


def test_a_head_that_is_refused_names_the_contract_too(seen: tuple[Any, io.StringIO]) -> None:
    running, _ = seen
    before = counts(running).get("torchserve", 0)

    answer = running.client.put(
        "/predictions/sums", content=b"[]", headers={"modelpack-priority": "now"}
    )

    assert answer.status_code == 400
    assert counts(running)["torchserve"] == before + 1
