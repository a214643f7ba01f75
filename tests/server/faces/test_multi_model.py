"""SageMaker's multi-model endpoints: load, ask, unload, as the platform does it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import modelpack
from modelpack.frameworks.source import Source
from modelpack.manifest import BUNDLE_FILE, BundleManifest, canonical_json
from modelpack.server.faces import multi_model
from tests.collector import Collector, collector

__all__ = ["collector"]

MB = 1_000_000
Start = Callable[..., Any]


@modelpack.service
class Own:
    """What the image serves by itself."""

    @modelpack.api(batch=True)
    def predict(self, x: list[float]) -> list[float]:
        return [-one for one in x]


def onnx_model(folder: Path, factor: float, *, megabytes: int = 0) -> str:
    """Write a model that multiplies, as heavy as is asked for; returns its folder."""
    folder.mkdir(parents=True)
    ballast = np.ones(max(1, megabytes * MB // 4))
    constants = {"w": np.full(2, factor), "b": ballast, "zero": np.zeros(1)}
    nodes = [
        helper.make_node("Mul", ["x", "zero"], ["nothing"]),
        helper.make_node("Cast", ["nothing"], ["first"], to=TensorProto.INT64),
        helper.make_node("Gather", ["b", "first"], ["one"]),
        helper.make_node("Mul", ["x", "w"], ["xw"]),
        helper.make_node("Mul", ["xw", "one"], ["y"]),
    ]
    axes = ["batch", 2]
    graph = helper.make_graph(
        nodes,
        "times",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, axes)],
        [numpy_helper.from_array(one.astype(np.float32), n) for n, one in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.save(model, folder / "model.onnx")
    return str(folder)


def bundle(folder: Path, word: str, *, lock: str = "0") -> str:
    """Write an unpacked bundle with a ``service.py`` of its own; returns its folder."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "words.py").write_text(f"WORD = {word!r}\n")
    (folder / "code" / "service.py").write_text(
        "import os, modelpack\nfrom words import WORD\n"
        "@modelpack.service\nclass Say:\n"
        "    @modelpack.api\n"
        "    def predict(self, text: str) -> str:\n"
        "        return f'{text} {WORD}'\n"
        "    @modelpack.api\n"
        "    def pid(self) -> int:\n"
        "        return os.getpid()\n"
    )
    manifest = BundleManifest(
        service="service:Say",
        model=None,
        python="3.11",
        files=(),
        models=(),
        lock_sha256=lock * 64,
        apis=(),
        settings={},
    )
    (folder / BUNDLE_FILE).write_bytes(canonical_json(manifest.to_json()))
    return str(folder)


@pytest.fixture
def client(start: Start, monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    monkeypatch.setenv("SAGEMAKER_MULTI_MODEL", "true")
    one: httpx.Client = start(Own).client
    return one


def load(client: httpx.Client, name: str, url: str) -> httpx.Response:
    return client.post("/models", json={"model_name": name, "url": url}, timeout=60)


ROWS = {"instances": [[1, 2]]}


def test_models_are_loaded_asked_listed_and_unloaded(client: httpx.Client, tmp_path: Path) -> None:
    """Their names are hashes that say nothing."""
    two, three = onnx_model(tmp_path / "2/model", 2), onnx_model(tmp_path / "3/model", 3)
    assert load(client, "0a1f", two).json() == {"modelName": "0a1f", "modelUrl": two}
    assert load(client, "9c", three).status_code == 200

    answers = [client.post(f"/models/{name}/invoke", json=ROWS).json() for name in ("0a1f", "9c")]
    csv = client.post(
        "/models/9c/invoke",
        content="1,2\n",
        headers={
            "content-type": "text/csv",
            "accept": "text/csv",
            "x-amzn-sagemaker-target-model": "three.tar.gz",
        },
    )

    assert answers == [{"predictions": {"y": [[2, 4]]}}, {"predictions": {"y": [[3, 6]]}}]
    assert csv.text == "3.0,6.0\n"
    assert client.get("/models").json() == {
        "models": [
            {"modelName": "0a1f", "modelUrl": two},
            {"modelName": "9c", "modelUrl": three},
        ]
    }
    assert client.get("/models/9c").json() == {"modelName": "9c", "modelUrl": three}
    assert client.delete("/models/9c").status_code == 200
    assert client.get("/models/9c").status_code == 404
    assert client.post("/models/9c/invoke", json=ROWS).status_code == 404
    assert client.delete("/models/9c").status_code == 404
    assert client.post("/models/0a1f/invoke", json=ROWS).status_code == 200
    assert client.post("/invocations", json={"x": [1]}).json() == [-1]


def test_what_models_are_asked_is_kept_by_their_names(
    start: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAGEMAKER_MULTI_MODEL", "true")
    client = start(Own, payload_log_url=collector.url).client
    load(client, "0a1f", onnx_model(tmp_path / "2/model", 2))
    client.post("/models/0a1f/invoke", json=ROWS)
    request, response = collector.pair()

    assert request.get_data() == ROWS
    assert response.get_data() == {"predictions": {"y": [[2, 4]]}}
    for event in (request, response):
        assert event.get_extension("model") == "0a1f"
        assert event.get_extension("path") == "/models/0a1f/invoke"


def test_what_is_loaded_is_refused_a_second_time(client: httpx.Client, tmp_path: Path) -> None:
    url = onnx_model(tmp_path / "m", 2)
    load(client, "a", url)

    again = load(client, "a", url)

    assert (again.status_code, again.json()["error_code"]) == (409, "BAD_REQUEST")


def test_without_memory_it_says_507_until_another_model_is_gone(
    client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = onnx_model(tmp_path / "1", 1, megabytes=4)
    second = onnx_model(tmp_path / "2", 2, megabytes=4)
    room = multi_model.PROCESS_BYTES + 12 * MB
    monkeypatch.setattr(multi_model, "memory_bytes", lambda: room / multi_model.SHARE)
    assert load(client, "a", first).status_code == 200

    refused = load(client, "b", second)
    client.delete("/models/a")
    retried = load(client, "b", second)

    assert (refused.status_code, retried.status_code) == (507, 200)
    assert "no memory" in refused.json()["message"]
    assert client.post("/models/b/invoke", json=ROWS).json()["predictions"]["y"] == [[2, 4]]


def test_the_list_comes_a_page_at_a_time(
    client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multi_model, "PAGE", 2)
    url = onnx_model(tmp_path / "m", 2)
    for name in "abc":
        load(client, name, url)

    page = client.get("/models").json()
    last = client.get("/models", params={"next_page_token": page["nextPageToken"]}).json()

    assert [one["modelName"] for one in page["models"]] == ["a", "b"]
    assert [one["modelName"] for one in last["models"]] == ["c"]
    assert "nextPageToken" not in last


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"model_name": "a"}', b'{"model_name": 1, "url": "/x"}']
)
def test_a_request_to_load_that_is_malformed_is_refused(client: httpx.Client, body: bytes) -> None:
    assert client.post("/models", content=body).status_code == 400


def test_a_folder_without_a_model_is_refused(client: httpx.Client, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"no model")

    empty, wrong = load(client, "a", str(tmp_path / "none")), load(client, "b", str(broken))

    assert empty.status_code == 400
    assert "no bundle and no single ONNX file" in empty.json()["message"]
    assert wrong.status_code == 500
    assert "Traceback" not in wrong.text
    assert client.get("/models").json() == {"models": []}


def test_a_packed_bundle_is_refused_and_what_to_do_is_said(
    client: httpx.Client, tmp_path: Path
) -> None:
    """An image has nothing that could check the bytes of an archive."""
    (tmp_path / "say-1.modelpack").write_bytes(b"")

    answer = load(client, "a", str(tmp_path))

    assert answer.status_code == 400
    assert "'say-1.modelpack' is a packed bundle" in answer.json()["message"]
    assert "--unpack" in answer.json()["message"]


def test_models_stay_while_another_version_of_the_service_comes(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGEMAKER_MULTI_MODEL", "true")
    source = Source("bundle", "", bundle(tmp_path / "own", "first"))
    running = start(source.open(), source=source, runner="thread")
    client, loop = running.client, running.loop
    load(client, "onnx", onnx_model(tmp_path / "onnx", 2))
    load(client, "guest", bundle(tmp_path / "guest", "of a guest"))

    before = client.post("/models/guest/invoke", json={"text": "I am"})
    versions = running.server.versions
    coming = Source("bundle", "", bundle(tmp_path / "next", "second"))
    asyncio.run_coroutine_threadsafe(versions.prepare(coming, "say:2"), loop).result(30)
    load(client, "meanwhile", bundle(tmp_path / "late", "late"))
    running.on_loop(versions.commit)
    asyncio.run_coroutine_threadsafe(versions.settled(), loop).result(30)

    said = {
        name: client.post(f"/models/{name}/invoke", json={"text": "I am"}).json()
        for name in ("guest", "meanwhile")
    }
    assert before.json() == "I am of a guest"
    assert said == {"guest": "I am of a guest", "meanwhile": "I am late"}
    assert client.post("/models/onnx/invoke", json=ROWS).json()["predictions"]["y"] == [[2, 4]]
    assert client.post("/invocations", json={"text": "I am"}).json() == "I am second"
    assert [one["modelName"] for one in client.get("/models").json()["models"]] == [
        "onnx",
        "guest",
        "meanwhile",
    ]
    counted = 'requests_total{api="guest.predict",status="200"} 2.0'
    assert counted in client.get("/metrics").text
    assert client.delete("/models/guest").status_code == 200
    assert client.delete("/models/meanwhile").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/models/a/invoke", 405), ("PUT", "/models/a", 405), ("GET", "/models/a/b/c", 404)],
)
def test_below_models_refusals_are_said_as_everywhere_in_the_contract(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)

    assert (answer.status_code, list(answer.json())) == (status, ["error_code", "message"])


def test_without_it_refusals_below_models_are_torchserves_or_our_own(start: Start) -> None:
    both, alone = start(Own).client, start(Own, faces="sagemaker").client

    assert both.delete("/models/a").json()["type"] == "MethodNotAllowedException"
    assert both.get("/models/a/b/c").json()["type"] == "ResourceNotFoundException"
    assert alone.get("/models/a").json()["type"] == "urn:modelpack:error:not-found"


def test_with_several_workers_none_is_loaded(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others would not know of it."""
    monkeypatch.setenv("SAGEMAKER_MULTI_MODEL", "true")
    client = start(Own, workers=2).client

    answer = load(client, "a", onnx_model(tmp_path / "m", 2))

    assert answer.status_code == 400
    assert "one worker" in answer.json()["message"]


def test_without_the_variable_there_is_no_such_path(start: Start, tmp_path: Path) -> None:
    client = start(Own, faces="sagemaker").client

    assert load(client, "a", str(tmp_path)).status_code == 404


# --- bundles, in a server of their own -------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, int]]:
    """An image's program, started as SageMaker does; gives a client and the process's id."""
    own = bundle(tmp_path_factory.mktemp("own") / "bundle", "of the image")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MODELPACK_")}
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "modelpack.server", "serve"],
        env={
            **clean,
            "MODELPACK_BUNDLE": own,
            "MODELPACK_PORT": "0",
            "SAGEMAKER_MULTI_MODEL": "true",
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    while line and '"ready"' not in line:
        line = process.stderr.readline()
    drain = threading.Thread(target=process.stderr.read)
    drain.start()
    with httpx.Client(base_url=json.loads(line)["url"], timeout=60) as client:
        yield client, process.pid
    process.terminate()
    assert process.wait(timeout=30) == 0
    drain.join()
    process.stderr.close()


def test_bundles_have_code_of_their_own_and_leave_nothing_behind(
    server: tuple[httpx.Client, int], tmp_path: Path
) -> None:
    """Three of them, with the image's own, have a ``service.py``."""
    client, _ = server
    for word in ("alpha", "beta"):
        folder = bundle(tmp_path / word / "model", word)
        assert load(client, word, folder).status_code == 200, word

    said = [
        client.post(f"/models/{word}/invoke", json={"text": "I am"}).json()
        for word in ("alpha", "beta")
    ]
    own = client.post("/invocations", json={"text": "I am"}).json()
    instances = client.post("/models/beta/invoke", json={"instances": ["a", "b"]}).json()
    before = children(server[1])
    client.delete("/models/alpha")
    client.delete("/models/beta")

    assert said == ["I am alpha", "I am beta"]
    assert own == "I am of the image"
    assert instances == {"predictions": ["a beta", "b beta"]}
    assert len(before) >= 2
    end = time.monotonic() + 10
    while children(server[1]) & before and time.monotonic() < end:
        time.sleep(0.05)
    assert not children(server[1]) & before


def test_a_bundle_with_other_packages_is_refused(
    server: tuple[httpx.Client, int], tmp_path: Path
) -> None:
    answer = load(server[0], "other", bundle(tmp_path / "b", "x", lock="1"))

    assert answer.status_code == 400
    assert "other packages" in answer.json()["message"]


def test_memory_is_free_when_unloading_returns(
    server: tuple[httpx.Client, int], tmp_path: Path
) -> None:
    client, pid = server
    url = onnx_model(tmp_path / "heavy", 2, megabytes=60)
    load(client, "warm", onnx_model(tmp_path / "light", 2))
    empty = resident(pid)
    load(client, "heavy", url)
    client.post("/models/heavy/invoke", json=ROWS)
    full = resident(pid)
    client.delete("/models/heavy")
    after = resident(pid)
    client.delete("/models/warm")

    assert full - empty > 40 * MB
    assert after - empty < 15 * MB


def children(pid: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


def resident(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) * 1024
