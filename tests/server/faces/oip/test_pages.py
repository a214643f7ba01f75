"""Health, metadata, configuration, statistics and the repository."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import modelpack
from modelpack.version import __version__


def test_health_is_told_by_status_and_body(models: Any) -> None:
    assert models.get("/health/live").json() == {"live": True}
    assert models.get("/health/ready").json() == {"live": True, "ready": True}
    for path in ("/models/kinds/ready", "/models/kinds/versions/1/ready"):
        assert models.get(path).json() == {"name": "kinds", "ready": True}
    assert models.get("/models/nothing/ready").status_code == 404
    assert models.get("/models/kinds/versions/9/ready").status_code == 404


def test_who_stops_is_alive_and_not_ready(start: Callable[..., Any]) -> None:
    server = start(Small)

    with server.connect() as connection:
        server.on_loop(lambda: setattr(server.server.front, "is_draining", True))
        connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        (answer,) = server.read(connection, 1)

    assert answer.status == 503
    assert answer.body == b'{"live":true,"ready":false}'
    assert answer.header("retry-after") == "1"


@pytest.mark.parametrize("path", ["", "/"])
def test_the_server_tells_what_it_speaks(models: Any, path: str) -> None:
    found = models.get(path).json()

    assert (found["name"], found["version"]) == ("modelpack", __version__)
    assert {"binary_tensor_data", "statistics", "model_repository"} <= set(found["extensions"])
    assert not {"system_shared_memory", "trace", "logging"} & set(found["extensions"])


def test_metadata_has_the_names_and_shapes_of_the_signature(models: Any) -> None:
    assert models.get("/models/kinds").json() == {
        "name": "kinds",
        "versions": ["1"],
        "platform": "modelpack_python",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1, 3]}],
    }
    assert models.get("/models/kinds/versions/1").json() == models.get("/models/kinds").json()
    assert "kinds.echo" in models.get("/models").json()["models"]


def test_metadata_of_an_unknown_model_is_an_error_in_the_form_of_the_protocol(models: Any) -> None:
    answer = models.get("/models/nothing")

    assert answer.status_code == 404
    assert answer.json()["error"].startswith("unknown model: no model 'nothing', only kinds")


def test_the_configuration_leaves_out_the_batch(models: Any) -> None:
    batched = models.get("/models/kinds/config").json()
    mixed = models.get("/models/kinds.both/config").json()
    texts = models.get("/models/kinds.upper/config").json()

    assert batched["max_batch_size"] == 32
    assert batched["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}]
    assert batched["output"] == [{"name": "output", "data_type": "TYPE_FP32", "dims": [3]}]
    assert "dynamic_batching" in batched
    assert mixed["max_batch_size"] == 0  # ``add`` has no rows
    assert mixed["input"][2] == {
        "name": "add", "data_type": "TYPE_INT64", "dims": [1], "optional": True,
    }  # fmt: skip
    assert texts["input"][0]["data_type"] == "TYPE_STRING"


@modelpack.service
class Small:
    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch"]
    ) -> modelpack.Tensor["float32", "batch"]:
        if (x < 0).any():
            raise RuntimeError("negative")
        return x


def infer(server: Any, rows: int, value: float = 1.0) -> int:
    data = np.full(rows, value).tolist()
    one = {"name": "x", "shape": [rows], "datatype": "FP32", "data": data}
    answer = server.client.post("/v2/models/small/infer", json={"inputs": [one]})
    return int(answer.status_code)


def test_statistics_count_rows_batches_and_failures(start: Callable[..., Any]) -> None:
    server = start(Small)
    before = server.client.get("/v2/models/small/stats").json()["model_stats"][0]

    assert [infer(server, 1), infer(server, 3), infer(server, 3)] == [200, 200, 200]
    assert infer(server, 1, -1.0) == 500
    found = server.client.get("/v2/models/small/stats").json()["model_stats"][0]

    assert (found["name"], found["version"]) == ("small", "1")
    assert found["inference_count"] - before["inference_count"] == 7
    assert found["execution_count"] - before["execution_count"] == 4
    assert found["inference_stats"]["success"]["count"] == 3
    assert found["inference_stats"]["fail"]["count"] == 1
    assert found["inference_stats"]["success"]["ns"] > found["inference_stats"]["queue"]["ns"] > 0
    sizes = {one["batch_size"]: one["compute_infer"] for one in found["batch_stats"]}
    assert sizes[3]["count"] == 2
    assert sizes[3]["ns"] > 0
    assert found["last_inference"] > 1_700_000_000_000
    assert before["last_inference"] == 0


def test_statistics_of_all_models_have_one_entry_each(models: Any) -> None:
    everything = models.get("/models/stats").json()["model_stats"]
    one = models.get("/models/kinds.echo/versions/1/stats").json()["model_stats"]

    assert [each["name"] for each in everything] == models.get("/models").json()["models"]
    assert [each["name"] for each in one] == ["kinds.echo"]


def test_requests_of_many_clients_share_executions(start: Callable[..., Any]) -> None:
    """The mean size of a batch is what Triton's users look at."""
    server = start(Small)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        clients = [server.fresh_client() for _ in range(8)]
        body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}

        def ask(client: Any) -> None:
            for _ in range(25):
                assert client.post("/v2/models/small/infer", json=body).status_code == 200

        list(pool.map(ask, clients))
        for client in clients:
            client.close()

    found = server.client.get("/v2/models/small/stats").json()["model_stats"][0]
    assert found["inference_count"] == 200
    assert 1 <= found["execution_count"] <= 200
    assert found["inference_stats"]["queue"]["count"] == 200


def test_the_index_lists_what_is_served(models: Any) -> None:
    expected = {"name": "kinds", "version": "1", "state": "READY", "reason": ""}

    assert models.post("/repository/index").json()[0] == expected
    assert models.post("/repository/index", {"ready": True}).json()[0] == expected
    for body, said in (({"ready": "yes"}, "true or false"), (b"[]", "object"), (b"{", "JSON")):
        answer = models.post("/repository/index", body)
        assert answer.status_code == 400
        assert said in answer.json()["error"]


def test_models_are_loaded_only_where_the_operator_says_so(models: Any) -> None:
    for action in ("load", "unload"):
        answer = models.post(f"/repository/models/kinds/{action}")

        assert answer.status_code == 403
        assert "MODELPACK_REPOSITORY_CONTROL" in answer.json()["error"]


def test_loading_takes_no_files_no_pages_and_no_unknown_models(start: Callable[..., Any]) -> None:
    server = start(Small, repository_control=True)

    def ask(path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        answer = server.client.post(
            f"/v2/repository/models{path}", json=body or {}, headers=headers
        )
        return answer.status_code, answer.json()["error"]

    for parameter in ("config", "file:1/model.onnx"):
        status, said = ask("/small/load", {"parameters": {parameter: "x"}})
        assert (status, parameter in said) == (400, True)
    assert ask("/nothing/load")[0] == 404
    assert ask("/small/load", Origin="http://evil.example")[0] == 403
    status, said = ask("/small/unload")
    assert (status, "stop the server" in said) == (400, True)
    assert ask("/small/load")[0] == 409  # in a test nobody manages it


@pytest.mark.parametrize("path", ["/systemsharedmemory/status", "/logging", "/trace/setting"])
def test_what_is_not_announced_is_not_found(models: Any, path: str) -> None:
    answer = models.get(path)

    assert (answer.status_code, list(answer.json())) == (404, ["error"])
