"""Whatever contract a request comes in, its answer is what the service gives in-process.

One table: what is asked (``CASES``) by how it is asked (``CONTRACTS``).  A contract says how it sends
rows, and how the rows of the answer are read from what comes back; a new one is a new line.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

import modelpack

Four = modelpack.Tensor["float32", "batch", 4]


@modelpack.service
class Digits:
    """Several named outputs, of numbers."""

    @modelpack.api(batch=True)
    def predict(self, x: Four) -> dict[str, Any]:
        return {"label": x.argmax(axis=1), "scores": x / (1 + x.sum(axis=1, keepdims=True))}


@modelpack.service
class Iris:
    """One output, of texts."""

    @modelpack.api(batch=True)
    def predict(self, x: modelpack.Tensor["float64", "batch", 4]) -> list[str]:
        return ["setosa" if row[0] < 1 else f"number {row.argmax()}" for row in x]


@modelpack.service
class Echo:
    """One call a text: no batches."""

    @modelpack.api
    def predict(self, text: str) -> str:
        return text[::-1]


@dataclass(frozen=True)
class Case:
    """A service and the rows that it is asked about."""

    service: type
    name: str
    parameter: str
    rows: list[Any]

    @property
    def is_batched(self) -> bool:
        return self.service is not Echo

    def in_process(self) -> list[Any]:
        """Return what the service itself answers, row by row."""
        instance = self.service()
        if not self.is_batched:
            return [instance.predict(row) for row in self.rows]
        dtype = np.float32 if self.service is Digits else np.float64
        answer = instance.predict(np.array(self.rows, dtype))
        if isinstance(answer, dict):
            columns = [plain(column) for column in answer.values()]
            return [dict(zip(answer, row, strict=True)) for row in zip(*columns, strict=True)]
        return list(answer)


NUMBERS = [[0.1, 2, 3, 0.25], [5, 6.5, 7, 8], [-1, 0, 1e-3, 0.5]]

CASES = [
    Case(Digits, "digits", "x", NUMBERS),
    Case(Digits, "digits", "x", NUMBERS[:1]),
    Case(Iris, "iris", "x", NUMBERS),
    Case(Echo, "echo", "text", ["é and more", "", '"{[']),
]


def plain(array: Any) -> Any:
    """Return numbers as a JSON parser sees them: float32 with as few digits as tell it apart."""
    if array.dtype.kind == "f":
        return array.astype(str).astype(float).tolist()
    return array.tolist()


def by_row(answer: Any) -> list[Any]:
    """Return the rows of an answer that may be columns by name."""
    if isinstance(answer, dict):
        rows = zip(*answer.values(), strict=True)
        return [dict(zip(answer, row, strict=True)) for row in rows]
    return list(answer)


Ask = Callable[[httpx.Client, Case], list[Any]]


def post(client: httpx.Client, path: str, body: Any, **more: Any) -> Any:
    answer = client.post(path, json=body, **more)
    assert answer.status_code == 200, answer.text
    return answer.json() if "json" in answer.headers["content-type"] else answer.text


def each(client: httpx.Client, path: str, bodies: list[Any]) -> list[Any]:
    return [post(client, path, body) for body in bodies]


def native(client: httpx.Client, case: Case) -> list[Any]:
    if not case.is_batched:
        return each(client, "/predict", [{case.parameter: row} for row in case.rows])
    return by_row(post(client, "/predict", {case.parameter: case.rows}))


def kserve(client: httpx.Client, case: Case) -> list[Any]:
    path = f"/v1/models/{case.name}:predict"
    return list(post(client, path, {"instances": case.rows})["predictions"])


def kserve_named(client: httpx.Client, case: Case) -> list[Any]:
    path = f"/v1/models/{case.name}:predict"
    instances = [{case.parameter: row} for row in case.rows]
    return list(post(client, path, {"instances": instances})["predictions"])


def kserve_event(client: httpx.Client, case: Case) -> list[Any]:
    event = {"specversion": "1.0", "id": "1", "type": "t", "source": "s"}
    body = {**event, "data": {"instances": case.rows}}
    return list(post(client, f"/v1/models/{case.name}:predict", body)["data"]["predictions"])


def tensorflow_rows(client: httpx.Client, case: Case) -> list[Any]:
    path = f"/v1/models/{case.name}/versions/1:predict"
    body = {"signature_name": "serving_default", "instances": case.rows}
    return list(post(client, path, body)["predictions"])


def tensorflow_columns(client: httpx.Client, case: Case) -> list[Any]:
    path = f"/v1/models/{case.name}/labels/stable:predict"
    if not case.is_batched:
        answers = each(client, path, [{"inputs": {case.parameter: row}} for row in case.rows])
        return [one["outputs"] for one in answers]
    return by_row(post(client, path, {"inputs": case.rows})["outputs"])


def torchserve(client: httpx.Client, case: Case) -> list[Any]:
    return each(client, f"/predictions/{case.name}", [{"data": row} for row in case.rows])


def torchserve_instances(client: httpx.Client, case: Case) -> list[Any]:
    body = {"instances": case.rows}
    return list(post(client, f"/predictions/{case.name}/1", body)["predictions"])


def seldon_array(client: httpx.Client, case: Case) -> list[Any]:
    answer = post(client, "/api/v1.0/predictions", {"data": {"ndarray": case.rows}})
    return by_row(answer["jsonData"] if "jsonData" in answer else answer["data"]["ndarray"])


def seldon_values(client: httpx.Client, case: Case) -> list[Any]:
    path = "/api/v0.1/predictions"
    if not case.is_batched:
        return [one["strData"] for one in each(client, path, [{"strData": r} for r in case.rows])]
    tensor = {"shape": [len(case.rows), 4], "values": [n for row in case.rows for n in row]}
    answer = post(client, path, {"data": {"tensor": tensor}})
    return by_row(answer["jsonData"] if "jsonData" in answer else answer["data"]["ndarray"])


def seldon_object(client: httpx.Client, case: Case) -> list[Any]:
    path = "/api/v1.0/predictions"
    if not case.is_batched:
        bodies = [{"jsonData": {case.parameter: row}} for row in case.rows]
        return [one["strData"] for one in each(client, path, bodies)]
    answer = post(client, path, {"jsonData": {case.parameter: case.rows}})
    return by_row(answer["jsonData"] if "jsonData" in answer else answer["data"]["ndarray"])


def oip(client: httpx.Client, case: Case) -> list[Any]:
    return by_tensors(client, case, lambda tensor: (orjson.dumps({"inputs": [tensor]}), {}))


def oip_bytes(client: httpx.Client, case: Case) -> list[Any]:
    def in_bytes(tensor: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
        data = tensor.pop("data")
        dtype = {"FP32": "<f4", "FP64": "<f8"}.get(tensor["datatype"])
        text = (
            b"".join(len(one.encode()).to_bytes(4, "little") + one.encode() for one in data)
            if (dtype is None)
            else np.array(data, dtype).tobytes()
        )
        tensor["parameters"] = {"binary_data_size": len(text)}
        head = orjson.dumps({"inputs": [tensor]})
        return head + text, {"Inference-Header-Content-Length": str(len(head))}

    return by_tensors(client, case, in_bytes)


def by_tensors(client: httpx.Client, case: Case, form: Callable[[Any], Any]) -> list[Any]:
    path, datatype = f"/v2/models/{case.name}/infer", {Digits: "FP32", Iris: "FP64"}
    parts = [case.rows] if case.is_batched else [[row] for row in case.rows]
    rows: list[Any] = []
    for part in parts:
        array = np.array(part)
        body, headers = form(
            {
                "name": case.parameter,
                "shape": list(array.shape),
                "datatype": datatype.get(case.service, "BYTES"),
                "data": array.reshape(-1).tolist(),
            }
        )
        answer = client.post(path, content=body, headers=headers)
        assert answer.status_code == 200, answer.text
        outputs = {
            one["name"]: np.array(one["data"]).reshape(one["shape"]).tolist()
            for one in answer.json()["outputs"]
        }
        rows += outputs["output"] if "output" in outputs else by_row(outputs)
    return rows


def sagemaker(client: httpx.Client, case: Case) -> list[Any]:
    answer = post(client, "/invocations", {"instances": case.rows})["predictions"]
    return by_row(answer) if case.is_batched else list(answer)


def sagemaker_csv(client: httpx.Client, case: Case) -> list[Any]:
    lines = [",".join(map(str, row)) if case.is_batched else csv_cell(row) for row in case.rows]
    head = {"content-type": "text/csv; header=absent"}
    answer = client.post("/invocations", content="\n".join(lines), headers=head).json()
    return by_row(answer["predictions"]) if case.is_batched else list(answer["predictions"])


def csv_cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def sagemaker_lines(client: httpx.Client, case: Case) -> list[Any]:
    head = {"content-type": "application/jsonlines"}
    body = b"\n".join(orjson.dumps({case.parameter: row}) for row in case.rows)
    answer = client.post(f"/endpoints/{case.name}/invocations", content=body, headers=head)
    return [orjson.loads(line) for line in answer.content.splitlines()]


def mlflow_records(client: httpx.Client, case: Case) -> list[Any]:
    names = "abcd" if case.is_batched else [case.parameter]
    rows = case.rows if case.is_batched else [[row] for row in case.rows]
    records = [dict(zip(names, row, strict=True)) for row in rows]
    answer = post(client, "/invocations", {"dataframe_records": records})["predictions"]
    return by_row(answer) if case.is_batched else list(answer)


def azure(client: httpx.Client, case: Case) -> list[Any]:
    rows = case.rows if case.is_batched else [[row] for row in case.rows]
    names = list("abcd") if case.is_batched else [case.parameter]
    answer = post(client, "/score", {"input_data": {"columns": names, "data": rows}})
    return by_row(answer) if case.is_batched else list(answer)


CONTRACTS: dict[str, Ask] = {
    "native": native,
    "oip": oip,
    "oip, bytes": oip_bytes,
    "kserve": kserve,
    "kserve, named": kserve_named,
    "kserve, an event": kserve_event,
    "tfserving, rows": tensorflow_rows,
    "tfserving, columns": tensorflow_columns,
    "torchserve": torchserve,
    "torchserve, instances": torchserve_instances,
    "seldon, ndarray": seldon_array,
    "seldon, tensor or strData": seldon_values,
    "seldon, jsonData": seldon_object,
    "sagemaker": sagemaker,
    "sagemaker, CSV": sagemaker_csv,
    "sagemaker, JSON lines": sagemaker_lines,
    "mlflow, records": mlflow_records,
    "azure": azure,
}


@pytest.fixture(scope="module")
def clients(start_once: Callable[..., Any]) -> dict[type, httpx.Client]:
    return {one: start_once(one).client for one in (Digits, Iris, Echo)}


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{len(case.rows)}")
def test_every_contract_gives_the_answer_of_the_service(
    clients: dict[type, httpx.Client], case: Case, contract: str
) -> None:
    assert CONTRACTS[contract](clients[case.service], case) == case.in_process()


FILES = {
    "native": lambda client, data: (
        client.post(
            "/predict", content=data, headers={"content-type": "application/octet-stream"}
        ).content
    ),
    "torchserve": lambda client, data: client.put("/predictions/mirror", content=data).content,
    "torchserve, a form": lambda client, data: (
        client.post("/predictions/mirror", files={"data": data}).content
    ),
    "kserve": lambda client, data: base64.b64decode(
        client.post(
            "/v1/models/mirror:predict",
            json={"instances": [{"b64": base64.b64encode(data).decode()}]},
        ).json()["predictions"][0]["b64"]
    ),
    "seldon": lambda client, data: base64.b64decode(
        client.post(
            "/api/v1.0/predictions", json={"binData": base64.b64encode(data).decode()}
        ).json()["binData"]
    ),
}


@modelpack.service
class Mirror:
    @modelpack.api
    def predict(self, file: bytes) -> bytes:
        return file[::-1]


@pytest.fixture(scope="module")
def mirror(start_once: Callable[..., Any]) -> httpx.Client:
    client: httpx.Client = start_once(Mirror).client
    return client


@pytest.mark.parametrize("contract", FILES)
def test_a_file_comes_back_as_the_service_gave_it(mirror: httpx.Client, contract: str) -> None:
    data = bytes(range(256)) * 3

    assert FILES[contract](mirror, data) == data[::-1]
