"""What the tests on a real cluster do: bundles, deployments, and clients that ask all the while.

bundles(folder) ──► home with sums:1, sums:2, sums:bad       cluster(nodes) ──► RayTarget
load(url) ──four clients, no request is made twice──► Counter of answers and failures
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

from modelpack_ray.target import RayTarget

from modelpack.deploy import DeploymentSpec, DeploySettings
from modelpack.store import Kind, Store
from modelpack.tag import Tag

from .ray_nodes import Nodes

WITHIN_S = 240.0
CLIENTS = 4
_IMPORT = "import fruit_that_nobody_has" + "\n"
_SERVICE = """
import os
import time

import modelpack


@modelpack.service
class Sums:
    @modelpack.api(batch=True, max_batch_size=8)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 2]
    ) -> modelpack.Tensor["float32", "batch"]:
        return x.sum(axis=1) * VERSION

    @modelpack.api
    def token(self) -> str:
        return os.environ.get("TOKEN", "")

    @modelpack.api
    def slow(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds
"""


def bundles(folder: Path, home: Path) -> None:
    """Fill a home with the bundles ``sums:1``, ``sums:2`` and ``sums:bad``, which does not import."""
    env = {**os.environ, "MODELPACK_HOME": str(home)}
    for version, factor in (("1", "1"), ("2", "2"), ("bad", "3")):
        code = _SERVICE.replace("VERSION", factor)
        if version == "bad":
            # What can be imported where it is built, and not where it runs.
            code += "\nif os.environ.get('MODELPACK_BUNDLE'):\n    " + _IMPORT
        (folder / "service.py").write_text(code)
        build = [sys.executable, "-m", "modelpack", "build", "--version", version]
        done = subprocess.run(
            build, cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def target_on(nodes: Nodes, **options: str) -> RayTarget:
    """Return the target on the cluster; each replica has a node of its own, unless told."""
    usual = {"address": nodes.address, "http_port": str(nodes.http_port), "per_node": "1"}
    return RayTarget.from_options({**usual, **options})


def sums(version: str, **more: Any) -> DeploymentSpec:
    """Return the spec of a version: two replicas, unless told."""
    entry = Store().find(Tag("sums", version), Kind.BUNDLE)
    settings = DeploySettings(**{"ready_timeout_s": 300.0, "cpu": 0.5, "min_replicas": 2, **more})
    return DeploymentSpec(
        name="sums", bundle=f"sums:{version}", digest=entry.digest, settings=settings
    )


def ask(url: str, body: bytes = b'{"x": [[1, 2]]}', *, timeout_s: float = 60.0) -> Any:
    """Make one request, once; raises OSError."""
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        return json.loads(answer.read())


@contextmanager
def load(url: str, once: Callable[[str], Any] = ask) -> Iterator[Counter[str]]:
    """Ask from four clients as long as the ``with`` lasts; counts answers and failures."""
    seen: Counter[str] = Counter()
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(0.01):
            try:
                seen[str(once(url))] += 1
            except Exception as error:  # whatever it is, it counts
                seen[f"failed: {error!r}"] += 1

    threads = [threading.Thread(target=run) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        for thread in threads:
            thread.join(WITHIN_S)
        print(dict(seen))


def failures(seen: Counter[str]) -> int:
    """Return how many requests were not answered."""
    return sum(count for said, count in seen.items() if said.startswith("failed"))


def wait_for(claim: Callable[[], bool]) -> None:
    """Wait until something is so; AssertionError when it never is."""
    deadline = time.monotonic() + WITHIN_S
    while not claim():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.2)


def nodes_with_replicas(target: RayTarget) -> set[str]:
    """Return the ids of the nodes on which a replica takes requests, also while it is told news."""
    app = target._require("sums")
    taking = ("RUNNING", "UPDATING")
    return {str(one["node_id"]) for one in app.replicas if one.get("state") in taking}
