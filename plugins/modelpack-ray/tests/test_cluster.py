"""The target on a real Ray cluster of two nodes: ``make test-peers``.

In the order of the file: the last test takes one of the nodes away.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from modelpack_ray.rest import Dashboard
from modelpack_ray.target import RayTarget

from modelpack.deploy import DeploymentSpec, DeploySettings, State, Status, rollout
from modelpack.errors import DeployError
from modelpack.store import Kind, Store
from modelpack.tag import Tag
from modelpack.testing import CLAIMS, KILLS, Claim, TargetCase

from .ray_nodes import Nodes

pytestmark = [pytest.mark.peers, pytest.mark.network, pytest.mark.timeout(900)]

_WITHIN_S = 120.0
_IMPORT = "import fruit_that_nobody_has" + "\n"
SERVICE = """
import os

import modelpack


@modelpack.service
class Sums:
    @modelpack.api(batch=True, max_batch_size=8)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 2]
    ) -> modelpack.Tensor["float32", "batch"]:
        return x.sum(axis=1) * VERSION

    @modelpack.api
    def where(self) -> dict[str, str]:
        return {"node": os.environ.get("CUDA_VISIBLE_DEVICES", ""), "token": os.environ.get("TOKEN", "")}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the bundles ``sums:1``, ``sums:2`` and ``sums:bad``, which does not import."""
    folder, home = tmp_path_factory.mktemp("sums"), tmp_path_factory.mktemp("home")
    env = {**os.environ, "MODELPACK_HOME": str(home)}
    for version, code in (
        ("1", SERVICE.replace("VERSION", "1")),
        ("2", SERVICE.replace("VERSION", "2")),
        ("bad", SERVICE.replace("VERSION", "3")),
    ):
        if version == "bad":
            # What can be imported where it is built, and not where it runs.
            code += "\nif os.environ.get('MODELPACK_BUNDLE'):\n    " + _IMPORT
        (folder / "service.py").write_text(code)
        build = [sys.executable, "-m", "modelpack", "build", "--version", version]
        done = subprocess.run(
            build, cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return home


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with Nodes(tmp_path_factory.mktemp("nodes")) as running:
        yield running


@pytest.fixture(autouse=True)
def _own_surroundings(home: Path, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPACK_HOME", str(home))
    monkeypatch.setenv("RAY_AUTH_TOKEN", nodes.token)


@pytest.fixture
def target(nodes: Nodes) -> RayTarget:
    port = str(nodes.http_port)
    return RayTarget.from_options({"address": nodes.address, "http_port": port, "per_node": "1"})


def spec(version: str, **more: Any) -> DeploymentSpec:
    entry = Store().find(Tag("sums", version), Kind.BUNDLE)
    settings = DeploySettings(**{"ready_timeout_s": 120.0, "cpu": 0.5, "min_replicas": 2, **more})
    return DeploymentSpec(
        name="sums", bundle=f"sums:{version}", digest=entry.digest, settings=settings
    )


def deploy(target: RayTarget, wanted: DeploymentSpec) -> Status:
    return rollout.apply_plan(target, rollout.plan_deployment(target, wanted))


def ask(url: str, body: bytes = b'{"x": [[1, 2]]}', *, timeout_s: float = 60.0) -> Any:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        return json.loads(answer.read())


@contextmanager
def load(url: str) -> Iterator[Counter[str]]:
    """Ask from four clients as long as the ``with`` lasts; counts answers and failures."""
    seen: Counter[str] = Counter()
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(0.01):
            try:
                seen[str(ask(url))] += 1
            except Exception as error:  # whatever it is, it counts
                seen[f"failed: {error!r}"] += 1

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        for thread in threads:
            thread.join(_WITHIN_S)
        print(dict(seen))


def wait_for(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not claim():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.2)


def nodes_with_replicas(target: RayTarget) -> set[str]:
    app = target._require("sums")
    return {str(one["node_id"]) for one in app.replicas if one.get("state") == "RUNNING"}


def test_an_update_under_load_fails_no_request_and_both_nodes_take_part(target: RayTarget) -> None:
    status = deploy(target, spec("1"))
    assert status.url is not None
    assert ask(f"{status.url}/predict") == [3.0]
    assert len(nodes_with_replicas(target)) == 2
    with load(f"{status.url}/predict") as seen:
        wait_for(lambda: seen["[3.0]"] > 20)
        assert deploy(target, spec("2")).url == status.url
        wait_for(lambda: seen["[6.0]"] > 20)
    assert set(seen) == {"[3.0]", "[6.0]"}, seen


def test_a_broken_import_leaves_the_old_one_and_says_why(target: RayTarget) -> None:
    status = deploy(target, spec("2"))
    with load(f"{status.url}/predict") as seen, pytest.raises(DeployError) as caught:
        deploy(target, spec("bad"))
    assert "needs the module 'fruit_that_nobody_has'" in caught.value.message
    assert "(sums:2) runs as before" in (caught.value.hint or "")
    assert set(seen) == {"[6.0]"}, seen


def test_a_rollback_under_load_fails_no_request(target: RayTarget) -> None:
    deploy(target, spec("1"))
    status = deploy(target, spec("2"))
    with load(f"{status.url}/predict") as seen:
        wait_for(lambda: seen["[6.0]"] > 20)
        rollout.apply_plan(target, rollout.plan_rollback(target, "sums"))
        wait_for(lambda: seen["[3.0]"] > 20)
    assert set(seen) == {"[6.0]", "[3.0]"}, seen


def test_a_secret_reaches_the_service(target: RayTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE", "s3cret")
    status = deploy(target, spec("1", min_replicas=1, secrets={"TOKEN": "env:SOURCE"}))
    assert ask(f"{status.url}/where", b"{}")["token"] == "s3cret"


def test_the_log_is_that_of_the_server(target: RayTarget) -> None:
    deploy(target, spec("1", min_replicas=1))
    lines = [json.loads(line[line.index("{") :]) for line in target.logs("sums")]
    assert ("ready", "sums:1") in {(line["event"], line.get("tag")) for line in lines}


@pytest.mark.long
@pytest.mark.parametrize("claim", [c for c in CLAIMS if c not in KILLS], ids=lambda c: c.__name__)
def test_the_contract_of_targets(claim: Claim, target: RayTarget, nodes: Nodes) -> None:
    if target.status("sums").state is not State.ABSENT:
        target.destroy("sums")
    claim(
        TargetCase(
            target=target,
            spec=spec("1", min_replicas=1),
            changed=spec("2", min_replicas=1),
            broken=spec("bad", min_replicas=1),
            resources=lambda: list(Dashboard(nodes.address).applications()["applications"]),
        )
    )


def test_the_service_answers_on_when_a_node_is_killed(target: RayTarget, nodes: Nodes) -> None:
    import signal

    status = deploy(target, spec("1"))
    # From one replica to two Serve says that it runs before the second one does.
    wait_for(lambda: len(nodes_with_replicas(target)) == 2)
    url = f"{status.url}/predict"
    nodes.end("second", signal.SIGKILL)
    answered = 0

    def answers() -> bool:
        nonlocal answered
        try:
            answered = answered + 1 if ask(url, timeout_s=5.0) == [3.0] else 0
        except OSError:
            answered = 0
        return answered >= 50

    wait_for(answers)
    nodes.add("third")
    wait_for(lambda: len(nodes_with_replicas(target)) == 2)
    assert ask(url) == [3.0]


def test_what_is_destroyed_leaves_nothing(target: RayTarget, nodes: Nodes) -> None:
    deploy(target, spec("2"))
    target.destroy("sums")
    assert Dashboard(nodes.address).applications()["applications"] == {}
    assert _servers(nodes) == []


def _servers(nodes: Nodes) -> list[str]:
    """Return the servers of bundles that run on the nodes."""
    cache = str(nodes.env["MODELPACK_CACHE"])
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if cache in words:
            found.append(words)
    return found
