"""Each other server installs, starts, and answers its workloads as ours does: ``make test-peers``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NAMES = ("FastAPI", "mosec", "LitServe", "BentoML", "MLServer")

PROGRAM = """
import json, sys, urllib.request
from pathlib import Path
from aims.machine import Pins
from aims.models import write_models
from aims.peers import PEERS, peer_server

name, folder = sys.argv[1], Path(sys.argv[2])
write_models(folder)
answers = {}
for workload in PEERS[name].workloads:
    model = folder / ("mlp.onnx" if workload.startswith("mlp") else "tiny.onnx")
    with peer_server(name, workload, model, Pins((), ()), cwd=folder) as (server, request):
        asked = urllib.request.Request(
            server.url + request.path, data=request.body,
            headers={"content-type": request.content_type},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(asked, timeout=30) as answer:
            answers[workload] = json.load(answer)
print(json.dumps(answers))
"""


def numbers_in(value: object) -> list[float]:
    """Return every number that comes from the model, in order."""
    if isinstance(value, dict):
        # The answer of the Open Inference form has its numbers in the first output.
        inner = value["outputs"][0]["data"] if "outputs" in value else value.get("y", value)
        return numbers_in(inner)
    if isinstance(value, list):
        return [number for one in value for number in numbers_in(one)]
    return [float(value)] if isinstance(value, int | float) else []


@pytest.mark.network
@pytest.mark.peers
@pytest.mark.parametrize("name", NAMES)
def test_peer_does_the_same_work(name: str, tmp_path: Path) -> None:
    # Their environments are kept in the user's own cache: each takes long to make.
    environ = {key: value for key, value in os.environ.items() if key != "MODELPACK_CACHE"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, tmp_path],
        cwd=HERE,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]

    answers = json.loads(done.stdout)
    assert numbers_in(answers["echo"]) == pytest.approx([5.1, 3.5, 1.4, 0.2])
    for workload, width in (("tiny", 3), ("mlp", 10)):
        probabilities = numbers_in(answers[workload])
        assert len(probabilities) == width
        assert sum(probabilities) == pytest.approx(1.0, abs=1e-4)
