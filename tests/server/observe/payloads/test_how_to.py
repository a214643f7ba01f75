"""The page about the payload log: its programs run, its numbers are those of the code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modelpack
from modelpack.config.serving import ServerSettings
from modelpack.server.observe.payloads import sender
from tests.server.started import free_port

PAGE = (Path(__file__).parents[4] / "docs" / "how-to" / "log-payloads.md").read_text()

Start = Callable[..., Any]


@modelpack.service
class Digits:
    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float64", "batch", 4]
    ) -> modelpack.Tensor["int64", "batch"]:
        return (x.sum(axis=1) > 10).astype("int64")


def block(words: str) -> str:
    found = re.search(rf"^```{words}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_collector_of_the_page_gets_what_the_page_shows(start: Start) -> None:
    port = free_port()
    program = block("python collector").replace("9000", str(port))
    collector = subprocess.Popen([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    assert collector.stdout is not None
    try:
        server = start(Digits, payload_log_url=f"http://127.0.0.1:{port}/events")
        body = b'{"x": [[5.1, 3.5, 1.4, 0.2]]}'
        assert body.decode() in PAGE
        head = {"content-type": "application/json"}
        answer = server.client.post("/predict", content=body, headers=head)
        lines = sorted(collector.stdout.readline() for _ in range(2))
    finally:
        collector.terminate()
        collector.communicate()

    request_id = answer.headers["x-request-id"]
    assert lines == [
        f"{request_id} org.kubeflow.serving.inference.request {body.decode()}\n",
        f"{request_id} org.kubeflow.serving.inference.response [1]\n",
    ]


def test_the_file_of_the_page_is_read(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "payloads.jsonl"
    server = start(Digits, payload_log_url=f"file://{file}")
    server.post("/predict", {"x": [[5.1, 3.5, 1.4, 0.2]]})
    server.stop()

    exec(block("python file").replace("/var/log/digits/payloads.jsonl", str(file)), {})

    assert capsys.readouterr().out == "[[5.1, 3.5, 1.4, 0.2]] -> [1]\n"


def test_every_attribute_of_the_page_is_there(start: Start, tmp_path: Path) -> None:
    shown = dict(re.findall(r"^ce-(\w+): (.*)$", block("http"), re.MULTILINE))
    file = tmp_path / "p"
    server = start(Digits, payload_log_url=f"file://{file}")
    server.post("/predict", {"x": [[5.1, 3.5, 1.4, 0.2]]})
    server.stop()
    written = json.loads(file.read_bytes().splitlines()[0])

    assert set(shown) == {name for name in written if not name.startswith("data")}
    same = ("specversion", "type", "source", "inferenceservicename", "component", "path", "status")
    assert {name: written[name] for name in same} == {name: shown[name] for name in same}


@pytest.mark.parametrize("name", re.findall(r"^\| `(payload_log_\w+)`", PAGE, re.MULTILINE))
def test_the_defaults_of_the_page_are_those_of_the_settings(name: str) -> None:
    said = re.search(rf"`{name}` \| ([^|]+) \|", PAGE)
    default = getattr(ServerSettings(), name)

    assert said is not None
    assert said[1] == (
        "not set" if default is None else f"{default:g}" if default == 1 else str(default)
    )


def test_the_patience_of_the_page_is_that_of_the_sender() -> None:
    assert sender.MOST_TRIES == 8
    assert "eight times at most" in PAGE
    times = (sender.FIRST_PAUSE_S, sender.LONGEST_PAUSE_S, sender.TIMEOUT_S)
    assert times == (0.1, 10.0, 10.0)
    assert "after 0.1 s, then later and later, up to 10 s" in PAGE
    assert "no answer within 10 s" in PAGE
