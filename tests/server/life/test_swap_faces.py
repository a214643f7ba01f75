"""Contracts of other servers in several processes: workers, runners in processes, another version."""

from __future__ import annotations

import base64
import json
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Launch = Callable[..., Any]
Project = Callable[..., Path]
Until = Callable[..., None]

SERVICE = """
from dataclasses import dataclass
import modelpack

@dataclass
class Person:
    name: str
    age: int

@modelpack.service
class Crew:
    @modelpack.api(batch=True)
    def predict(self, x: modelpack.Tensor["float32", "batch", 2]) -> list[float]:
        return [float(row.sum()) * {factor} for row in x]

    @modelpack.api
    def older(self, who: Person, years: int = 1) -> Person:
        return Person(who.name, who.age + years * {factor})

    @modelpack.api
    async def size(self, file: bytes) -> int:
        return len(file) * {factor}

    @modelpack.api
    def explain(self, text: str) -> str:
        return text * {factor}
"""

ADA = {"name": "Ada", "age": 36}


def ask(url: str, path: str, body: Any) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = {} if isinstance(body, bytes) else {"content-type": "application/json"}
    request = urllib.request.Request(url + path, data, head)
    with urllib.request.urlopen(request, timeout=20) as answer:
        found = answer.read()
    try:
        return json.loads(found)
    except ValueError:
        return found.decode()


def table(factor: int) -> list[tuple[str, Any, Any]]:
    """Return path, body and answer of a request in each contract."""
    older = {**ADA, "age": 36 + factor}
    file = {"b64": base64.b64encode(b"abc").decode()}
    return [
        (
            "/v1/models/crew:predict",
            {"instances": [[1, 2], [3, 4]]},
            {"predictions": [3.0 * factor, 7.0 * factor]},
        ),
        (
            "/v1/models/crew.older:predict",
            {"instances": [{"who": ADA}] * 3},
            {"predictions": [older] * 3},
        ),
        (
            "/v1/models/crew.size:predict",
            {"instances": [file] * 2},
            {"predictions": [3 * factor] * 2},
        ),
        ("/v1/models/crew:explain", {"instances": ["a"]}, {"explanations": ["a" * factor]}),
        (
            "/v1/models/crew:predict",
            {"signature_name": "older", "inputs": {"who": ADA}},
            {"outputs": older},
        ),
        ("/predictions/crew.older", {"who": ADA}, older),
        ("/predictions/crew.size", b"abcd", 4 * factor),
        ("/explanations/crew", b"ab", "ab" * factor),
        (
            "/invocations",
            {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}},
            {"predictions": [3.0 * factor]},
        ),
        (
            "/endpoints/crew-explain/invocations",
            {"instances": ["a", "b"]},
            {"predictions": ["a" * factor, "b" * factor]},
        ),
        ("/endpoints/crew-older/invocations", {"inputs": {"who": ADA}}, {"predictions": older}),
        ("/score", {"input_data": [[1, 2]]}, [3.0 * factor]),
    ]


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_contracts_hold_in_all_processes_and_take_another_version(
    launch: Launch, project: Project, until: Until, runner: str
) -> None:
    folder = project(SERVICE.replace("{factor}", "2"))
    server = launch(folder, workers=2, runner=runner)
    until(lambda: len(server.workers()) == 2)

    for path, body, answer in table(2) * 2:  # of both workers, most likely
        assert ask(server.url, path, body) == answer
    first = ask(server.url, "/v1/models/crew/versions/1:predict", {"inputs": [[1, 2]]})
    assert first == {"outputs": [6.0]}

    (folder / "service.py").write_text(SERVICE.replace("{factor}", "3"))
    assert server.admin("POST", "/swap", {})[0] == 200

    for path, body, answer in table(3) * 2:
        assert ask(server.url, path, body) == answer
    second = ask(server.url, "/v1/models/crew/versions/2:predict", {"inputs": [[1, 2]]})
    assert second == {"outputs": [9.0]}
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(server.url, "/v1/models/crew/versions/7:predict", {"inputs": [[1, 2]]})
    assert caught.value.code == 404
    with caught.value as answer:
        assert json.load(answer)["error"].endswith("Specific(crew, 7)")


STEPS = """
import asyncio
import modelpack

@modelpack.service
class Steps:
    @modelpack.api
    async def predict(self, n: int) -> int:
        await asyncio.sleep(0.002)
        return n * {factor}

    @modelpack.api
    def other(self, n: int) -> int:
        return n * {factor}
"""


def test_a_request_of_many_calls_is_answered_by_one_version(
    launch: Launch, project: Project, load: Callable[..., Any]
) -> None:
    """More instances than are asked at a time, so that a swap comes between them."""
    folder = project(STEPS.replace("{factor}", "1"))
    server = launch(folder, workers=1)
    numbers = list(range(100))
    body = json.dumps({"instances": numbers})
    signed = json.dumps({"signature_name": "other", "instances": numbers})
    asked = [load(server, "/v1/models/steps:predict", one, clients=3) for one in (body, signed)]

    for factor in (2, 3, 4):
        (folder / "service.py").write_text(STEPS.replace("{factor}", str(factor)))
        assert server.admin("POST", "/swap", {})[0] == 200
        for one in asked:
            one.wait_for(2)

    answers = [answer for one in asked for answer in one.stop()]
    assert {status for status, _ in answers} == {200}
    found = {tuple(json.loads(answer)["predictions"]) for _, answer in answers}
    assert found == {tuple(n * factor for n in numbers) for factor in (1, 2, 3, 4)}
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
