"""A bundle as Heroku runs it: pushed under Docker's manifest, pulled by a real engine, told its port.

What a dyno is, as far as an engine can be one: another user than the image names, without rights, a
``PORT`` to listen on, 512 MB, and SIGTERM in the end.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from modelpack_heroku.target import push_bundle

from modelpack.config.settings import Project
from modelpack.deploy import SILENT, DeploySettings, rollout
from modelpack.deploy.probe import Probe, fetch
from modelpack.deploy.state import State, Status
from modelpack.image import connect
from modelpack.store import Store

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.slow]

RUN = uuid.uuid4().hex[:8]
MODULE = f"dyno_{RUN}"
REPOSITORY = f"modelpack-test/heroku-{RUN}/web"
PORT = 49_321
SERVICE = """
import modelpack


@modelpack.service
class Greeter:
    @modelpack.api(example={"name": "you"})
    def greet(self, name: str) -> str:
        return "hello " + name
"""


@pytest.fixture
def pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """Give a spec, and what a push of it for Heroku said."""
    from modelpack.archive import build_bundle
    from modelpack.sdk.loading import load_import_string

    (tmp_path / f"{MODULE}.py").write_text(SERVICE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    service = load_import_string(f"{MODULE}:Greeter", tmp_path)
    made = build_bundle(Project(root=tmp_path, name="greeter"), service, store=Store())
    spec = rollout.spec_for(made.entry, DeploySettings(public=True), name="greeter")
    reference = f"{os.environ['ENGINE_REGISTRY']}/{REPOSITORY}:latest"
    base = f"engine:{os.environ['ENGINE_BASE_IMAGE']}"
    yield (
        spec,
        push_bundle(spec, reference, find_login=lambda _: None, base=base, progress=SILENT),
    )
    with connect() as engine, suppress(Exception):  # nobody has pulled it
        engine.remove_image(reference, force=True)


def test_a_dyno_answers_at_its_port_whoever_it_runs_as(pushed: tuple[Any, Any]) -> None:
    spec, result = pushed
    reference = f"{os.environ['ENGINE_REGISTRY']}/{REPOSITORY}"
    with connect() as engine:
        engine.pull(reference, tag="latest")
        assert engine.inspect_image(f"{reference}:latest")["Id"] == result.image_id
        limits = engine.create_host_config(
            mem_limit="512m",
            memswap_limit="512m",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            port_bindings={PORT: ("127.0.0.1", None)},
        )
        made = engine.create_container(
            f"{reference}:latest",
            environment={"PORT": str(PORT), "DYNO": "web.1", "MODELPACK_TAG": spec.bundle},
            user="7431:7431",
            host_config=limits,
            ports=[PORT],
        )
        try:
            engine.start(made)
            bound = engine.inspect_container(made)["NetworkSettings"]["Ports"][f"{PORT}/tcp"]
            url = f"http://127.0.0.1:{bound[0]['HostPort']}"
            status = Status(name="greeter", target="heroku", state=State.RUNNING, url=url)
            probe = Probe(lambda: status)
            probe.wait_until_ready(60.0)
            assert probe.check_answers(spec, url) == []
            answer = fetch(f"{url}/greet", body=json.dumps({"name": "dyno"}).encode(), timeout_s=60)
            assert json.loads(answer.body) == "hello dyno"
            engine.stop(made, timeout=30)
            assert engine.wait(made)["StatusCode"] == 0
        finally:
            engine.remove_container(made, force=True)
