"""Clients of others, unmodified, each in an environment of its own: ``make test-peers``."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.peers, pytest.mark.network]

SERVICE = """
from typing import TypedDict
import modelpack

Rows = modelpack.Tensor["float32", "batch", 4]

class Two(TypedDict):
    sum: modelpack.Tensor["float32", "batch"]
    name: list[str]

@modelpack.service
class Twice:
    @modelpack.api(batch=True)
    def predict(self, x: Rows) -> Rows:
        return x * 2

    @modelpack.api(batch=True)
    def two(self, x: Rows, ids: list[int]) -> Two:
        return {"sum": x.sum(axis=1), "name": [f"n{one}" for one in ids]}

    @modelpack.api(batch=True)
    def words(self, text: list[str]) -> list[str]:
        return [one[::-1] for one in text]
"""

OPENVINO = """
import json, sys
import numpy as np
from ovmsclient import InvalidInputError, ModelNotFoundError, make_http_client

client = make_http_client(sys.argv[1].removeprefix("http://"))
x = np.arange(8, dtype=np.float32).reshape(2, 4)
two = client.predict({"x": x, "ids": np.array([1, 2])}, "twice.two")
found = {
    "state": client.get_model_status("twice")[1]["state"],
    "signatures": sorted(client.get_model_metadata("twice", 1)["metadata"]["signature_def"]
                         ["signature_def"]),
    "array": client.predict({"x": x}, "twice").tolist(),
    "two": {name: one.tolist() for name, one in two.items()},
    "words": client.predict({"text": np.array(["ab", "cd"])}, "twice.words").tolist(),
    "bytes": client.predict({"text": ["äb".encode()]}, "twice.words").tolist(),
    "refused": [],
}
for call in (lambda: client.predict({"x": x[:, :3]}, "twice"), lambda: client.get_model_status("no")):
    try:
        call()
    except (InvalidInputError, ModelNotFoundError) as error:
        found["refused"].append([type(error).__name__, str(error)])
print(json.dumps(found))
"""

SELDON = """
import json, sys
import numpy as np
from seldon_core.seldon_client import SeldonClient

client = SeldonClient(gateway="seldon", transport="rest",
                      gateway_endpoint=sys.argv[1].removeprefix("http://"))
x = np.arange(8, dtype=float).reshape(2, 4)
found = {}
for form in ("ndarray", "tensor"):
    answer = client.predict(data=x, payload_type=form)
    found[form] = [answer.success, answer.response["data"]]
answer = client.predict(json_data={"x": x.tolist()})
found["json"] = [answer.success, answer.response["data"]["tensor"]["shape"]]
answer = client.predict(data=x[:, :3])
found["refused"] = [answer.success, answer.msg]
print(json.dumps(found))
"""


@pytest.fixture
def ask(serve: Callable[..., str], tmp_path: Path) -> Callable[..., Any]:
    """Run a program against a server, in an environment with some packages."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "service.py").write_text(SERVICE)
    url = serve(cwd=project)

    def run(program: str, *packages: str) -> Any:
        folder = tmp_path / "environment"
        venv.create(folder, with_pip=True)
        python = folder / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True, timeout=900)
        environ = {k: v for k, v in os.environ.items() if not k.startswith("MODELPACK_")}
        done = subprocess.run(
            [python, "-W", "ignore", "-c", program, url],
            cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


TWICE = [[0.0, 2.0, 4.0, 6.0], [8.0, 10.0, 12.0, 14.0]]


def test_the_client_of_openvino_is_content_over_http(ask: Callable[..., Any]) -> None:
    found = ask(OPENVINO, "ovmsclient")

    refused = dict(found.pop("refused"))
    assert found == {
        "state": "AVAILABLE",
        "signatures": ["serving_default", "two", "words"],
        "array": TWICE,
        "two": {"sum": [6.0, 22.0], "name": ["n1", "n2"]},
        "words": ["ba", "dc"],
        "bytes": ["bä"],
    }
    assert "3 instead of 4" in refused["InvalidInputError"]
    assert "Servable not found for request: Latest(no)" in refused["ModelNotFoundError"]


def test_the_client_of_seldon_is_content(ask: Callable[..., Any]) -> None:
    found = ask(SELDON, "seldon-core==1.18.2", "setuptools<81")

    names = [f"t:{column}" for column in range(4)]
    assert found["ndarray"] == [True, {"names": names, "ndarray": TWICE}]
    flat = [number for row in TWICE for number in row]
    assert found["tensor"] == [True, {"names": names, "tensor": {"shape": [2, 4], "values": flat}}]
    assert found["json"] == [True, [2, 4]]
    assert found["refused"][0] is False
