"""Clients of others, unmodified, each in an environment of its own: ``make test-peers``.

They ask for other versions of the packages that this server and its tests stand on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uv

import modelpack

pytestmark = [pytest.mark.peers, pytest.mark.network]

X = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
SUMS = [10.0, 26.0]

KSERVE = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

X = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)


async def main(url):
    found = {}
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    found["live"] = await client.is_server_live(url)
    found["ready"] = await client.is_server_ready(url)
    found["model"] = await client.is_model_ready(url, "sums")
    for is_binary in (True, False):
        x = InferInput("x", [2, 4], "FP32")
        x.set_data_from_numpy(X, binary_data=is_binary)
        request = InferRequest("sums", [x], request_id="7")
        answer = await client.infer(url, request, model_name="sums")
        found[f"binary {is_binary}"] = answer.outputs[0].as_numpy().tolist()
        found["id"] = answer.id
    for name, datatype, array in (
        ("i", "INT64", np.array([1, -2])),
        ("b", "BOOL", np.array([True, False])),
        ("h", "FP16", np.array([0.5, 2], np.float16)),
        ("t", "BYTES", np.array(["a", "b"], object)),
    ):
        one = InferInput(name, list(array.shape), datatype)
        one.set_data_from_numpy(array, binary_data=True)
        request = InferRequest("sums.echo", [one])
        answer = await client.infer(url, request, model_name="sums.echo")
        (output,) = [each for each in answer.outputs if each.name == name]
        found[datatype] = [str(each) for each in output.as_numpy().tolist()]
    first = InferenceRESTClient(RESTConfig(protocol="v1", retries=0))
    found["v1"] = await first.infer(url, {"instances": X.tolist()}, model_name="sums")
    return found


print(json.dumps(asyncio.run(main(sys.argv[1]))))
"""


@modelpack.service
class Sums:
    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 4]
    ) -> modelpack.Tensor["float32", "batch"]:
        return x.sum(axis=1)

    @modelpack.api
    def echo(
        self,
        i: modelpack.Tensor["int64", "n"] | None = None,
        b: modelpack.Tensor["bool", "n"] | None = None,
        h: modelpack.Tensor["float16", "n"] | None = None,
        t: list[str] | None = None,
    ) -> dict[str, Any]:
        given = {"i": i, "b": b, "h": h, "t": t}
        return {name: value for name, value in given.items() if value is not None}


@pytest.fixture(scope="module")
def url(start_once: Callable[..., Any]) -> str:
    return str(start_once(Sums).url)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what makes an environment with one package; it returns the folder of its programs."""

    def make(package: str) -> Path:
        folder = tmp_path_factory.mktemp("peer") / "venv"
        for words in (
            ["venv", "--quiet", "--python", sys.executable, str(folder)],
            ["pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), package],
        ):
            subprocess.run([uv.find_uv_bin(), *words], check=True, capture_output=True)
        return folder / "bin"

    return make


def test_the_client_of_kserve(url: str, environment: Callable[[str], Path]) -> None:
    words = [environment("kserve") / "python", "-c", KSERVE, url]
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "live": True,
        "ready": True,
        "model": True,
        "binary True": SUMS,
        "binary False": SUMS,
        "id": "7",
        "INT64": ["1", "-2"],
        "BOOL": ["True", "False"],
        "FP16": ["0.5", "2.0"],
        "BYTES": ["a", "b"],
        "v1": {"predictions": SUMS},
    }


def test_the_batches_of_mlserver(
    url: str, environment: Callable[[str], Path], tmp_path: Path
) -> None:
    requests = [
        {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": row}]}
        for row in X.tolist()
    ]
    (tmp_path / "in").write_text("\n".join(map(json.dumps, requests)) + "\n")
    words = [environment("mlserver") / "mlserver", "infer", "-u", url.removeprefix("http://")]
    words += ["-m", "sums", "-i", tmp_path / "in", "-o", tmp_path / "out", "-s", "2"]

    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    answers = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    answers.sort(key=lambda one: one["parameters"]["batch_index"])
    assert [one["outputs"][0]["data"] for one in answers] == [[10.0], [26.0]]
