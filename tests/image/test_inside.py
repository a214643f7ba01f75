"""What runs inside a container: process 1, the limits that count, and what is said when it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelpack.config.settings import ImageSettings, Project
from modelpack.image import connect, plan_image
from modelpack.image.direct import build_direct
from modelpack.store import Store

if TYPE_CHECKING:
    from docker import APIClient

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.slow]

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "bench_cold_start.py"
TEST_LABEL = {"dev.modelpack.test": "1"}
MODULE = f"inside_{uuid.uuid4().hex[:8]}"
MB = 1024 * 1024
SERVICE = """
import asyncio
import os
import tempfile

import modelpack
from modelpack.frameworks.machine import memory_limit, processors


@modelpack.service
class Inside:
    @modelpack.api
    def room(self) -> list[int]:
        return [processors(), memory_limit() or 0]

    @modelpack.api
    def leave_orphans(self, count: int) -> int:
        for _ in range(count):
            child = os.posix_spawn("/bin/sh", ["sh", "-c", "sleep 0.1 &"], os.environ)
            os.waitpid(child, 0)
        return count

    @modelpack.api
    def states(self) -> list[str]:
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as file:
                    found.append(file.read().rpartition(")")[2].split()[0])
            except OSError:
                continue
        return found

    @modelpack.api
    async def wait(self, seconds: float) -> float:
        self.count = 1
        await asyncio.sleep(seconds)
        return seconds

    @modelpack.api
    def waiting(self) -> int:
        return getattr(self, "count", 0)

    @modelpack.api
    def temporary(self) -> str:
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
        return "written"

    @modelpack.api
    def eat(self, megabytes: int) -> int:
        return len(bytes(1) * (megabytes << 20))
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[APIClient]:
    with connect() as client:
        yield client


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, engine: APIClient) -> Iterator[str]:
    """Give the image of a service that says what it sees."""
    from modelpack.archive import build_bundle
    from modelpack.sdk.loading import load_import_string

    root = tmp_path_factory.mktemp("inside-project")
    store = Store(tmp_path_factory.mktemp("inside") / "store")
    (root / f"{MODULE}.py").write_text(SERVICE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        spec = load_import_string(f"{MODULE}:Inside", root)
        entry = build_bundle(Project(root=root, name="inside"), spec, store=store).entry
    plan = plan_image(store, entry, ImageSettings(), base=os.environ["ENGINE_BASE_IMAGE"])
    reference = f"modelpack-test/inside:{uuid.uuid4().hex}"
    base = f"engine:{os.environ['ENGINE_BASE_IMAGE']}"
    build_direct([plan], store, base=base, outputs=["engine"], reference=reference)
    yield reference
    engine.remove_image(reference, force=True)


Start = Callable[..., str]


@pytest.fixture
def start(engine: APIClient, image: str) -> Iterator[Start]:
    """Return what starts a container without any rights; limits are arguments of the engine's."""
    made: list[str] = []

    def begin(env: dict[str, str] | None = None, **limits: Any) -> str:
        container = engine.create_container(
            image,
            environment=env or {},
            labels=TEST_LABEL,
            host_config=engine.create_host_config(
                read_only=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                port_bindings={3000: ("127.0.0.1", None)},
                **limits,
            ),
        )["Id"]
        made.append(container)
        engine.start(container)
        return str(container)

    yield begin
    for container in made:
        engine.remove_container(container, force=True, v=True)


def wait_for(is_so: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"it took longer than {seconds} s"
        time.sleep(0.05)


def logs(engine: APIClient, container: str) -> str:
    return str(engine.logs(container).decode())


def events(engine: APIClient, container: str, name: str) -> list[dict[str, Any]]:
    """Return the events of that name in the log."""
    lines = [line for line in logs(engine, container).splitlines() if line.startswith("{")]
    return [one for one in map(json.loads, lines) if one.get("event") == name]


def ready(engine: APIClient, container: str) -> str:
    """Wait until it takes requests; returns its URL."""
    wait_for(lambda: events(engine, container, "ready"))
    port = engine.inspect_container(container)["NetworkSettings"]["Ports"]["3000/tcp"][0][
        "HostPort"
    ]
    return f"http://127.0.0.1:{port}"


def ask(url: str, api: str, **body: Any) -> Any:
    request = urllib.request.Request(
        f"{url}/{api}",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def processes(engine: APIClient, container: str) -> list[list[str]]:
    return list(engine.top(container, ps_args="-eo pid,ppid,uid")["Processes"])


def test_the_server_is_the_one_child_of_process_1(engine: APIClient, start: Start) -> None:
    container = start()
    ready(engine, container)

    (one, _, _), (_, parent, _) = rows = sorted(
        processes(engine, container), key=lambda r: int(r[0])
    )
    assert parent == one
    assert {row[2] for row in rows} == {"65532"}


def test_orphans_of_the_service_are_buried(engine: APIClient, start: Start) -> None:
    url = ready(engine, start())

    assert ask(url, "leave_orphans", count=20) == 20
    wait_for(lambda: len(ask(url, "states")) == 2, seconds=10)


def test_a_stop_during_the_start_is_heard(engine: APIClient, start: Start) -> None:
    """Nobody is served yet, and nothing has to be killed."""
    container = start()
    wait_for(lambda: len(processes(engine, container)) == 2)

    engine.stop(container, timeout=30)

    state = engine.inspect_container(container)["State"]
    assert state["ExitCode"] in (0, 143)
    assert not state["OOMKilled"]


def test_limits_of_the_container_are_those_of_the_service(engine: APIClient, start: Start) -> None:
    container = start(nano_cpus=500_000_000, mem_limit=192 * MB, memswap_limit=192 * MB)
    url = ready(engine, container)

    assert ask(url, "room") == [1, 192 * MB]
    (fitted,) = events(engine, container, "fitted")
    assert fitted["max_queue_bytes"] == 24 * MB
    assert fitted["max_inflated_bytes"] == 24 * MB
    assert "workers" not in fitted


def test_without_limits_nothing_is_fitted(engine: APIClient, start: Start) -> None:
    container = start()
    url = ready(engine, container)

    assert ask(url, "room")[1] == 0
    assert events(engine, container, "fitted") == []


def test_an_end_for_want_of_memory_is_told(engine: APIClient, start: Start) -> None:
    container = start(mem_limit=128 * MB, memswap_limit=128 * MB)
    url = ready(engine, container)

    with pytest.raises(OSError):  # the connection ends without an answer
        ask(url, "eat", megabytes=400)

    assert engine.wait(container)["StatusCode"] == 137
    said = logs(engine, container)
    assert "error[out-of-memory]: killed, because the container's memory limit of 134 MB" in said
    assert "help: give it more memory" in said


def test_a_worker_lost_for_want_of_memory_is_replaced_and_told(
    engine: APIClient, start: Start
) -> None:
    limit = 256 * MB
    container = start({"MODELPACK_WORKERS": "2"}, mem_limit=limit, memswap_limit=limit)
    url = ready(engine, container)

    with pytest.raises(OSError):
        ask(url, "eat", megabytes=400)

    wait_for(lambda: events(engine, container, "worker-lost"))
    (lost,) = events(engine, container, "worker-lost")
    assert lost["reason"] == "the container's memory limit of 268 MB was reached"
    wait_for(lambda: len(events(engine, container, "worker-ready")) >= 3)
    assert ask(url, "temporary") == "written"


def test_what_was_accepted_is_answered_before_the_end(engine: APIClient, start: Start) -> None:
    container = start()
    url = ready(engine, container)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(ask, url, "wait", seconds=1.5)
        wait_for(lambda: ask(url, "waiting") == 1)
        engine.stop(container, timeout=30)

        assert answer.result(timeout=30) == 1.5
    assert engine.inspect_container(container)["State"]["ExitCode"] == 0


@pytest.mark.parametrize(
    "settings",
    [{}, {"MODELPACK_WORKERS": "2"}, {"MODELPACK_RUNNER": "process", "MODELPACK_REPLICAS": "2"}],
)
def test_it_serves_without_any_place_to_write(
    engine: APIClient, start: Start, settings: dict[str, str]
) -> None:
    """Read-only root, and no /tmp of its own."""
    assert ask(ready(engine, start(settings)), "temporary") == "written"


def test_an_image_for_gpus_without_one_says_so_and_serves(engine: APIClient, start: Start) -> None:
    container = start({"NVIDIA_VISIBLE_DEVICES": "all", "CUDA_VERSION": "12.6.3"})
    ready(engine, container)

    (event,) = events(engine, container, "no-gpu")
    assert event["reason"].startswith("the image is for GPUs (CUDA 12.6), and no NVIDIA driver")
    assert "--gpus all" in event["help"]


def test_a_service_that_demands_a_gpu_does_not_start_without(
    engine: APIClient, start: Start
) -> None:
    container = start({"NVIDIA_VISIBLE_DEVICES": "all", "MODELPACK_DEVICES": "cuda:0"})

    assert engine.wait(container)["StatusCode"] == 1
    said = logs(engine, container)
    assert "error[device-missing]: the image is for GPUs, and no NVIDIA driver" in said
    assert "help: docker run --gpus all" in said
    assert "Traceback" not in said


def test_the_predefined_signal_of_a_reload_ends_nothing(engine: APIClient, start: Start) -> None:
    """Tools send SIGHUP to process 1; a server that has no use for it goes on."""
    container = start()
    url = ready(engine, container)

    engine.kill(container, "SIGHUP")

    assert len(ask(url, "states")) == 2


def test_the_way_to_the_first_answer_can_be_measured(image: str, tmp_path: Path) -> None:
    """The benchmark runs; its numbers are for people."""
    (tmp_path / "body.json").write_text("{}")
    words = [BENCHMARK, image, "--api", "temporary", "--body", tmp_path / "body.json"]
    done = subprocess.run(
        [sys.executable, *map(str, words), "--runs", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line[:32].strip() for line in done.stdout.splitlines()]
    assert rows[0] == "the engine starts a program"
    assert {"listens", "is ready", "first answer"} < set(rows)


def test_everything_under_the_bundle_belongs_to_root(engine: APIClient, image: str) -> None:
    container = engine.create_container(
        image, entrypoint=["find", "/bundle", "!", "-user", "0"], labels=TEST_LABEL
    )["Id"]
    try:
        engine.start(container)
        assert engine.wait(container)["StatusCode"] == 0
        assert logs(engine, container) == ""
    finally:
        engine.remove_container(container, force=True, v=True)
