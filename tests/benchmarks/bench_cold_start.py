"""How long a container takes from its start to the first answer, and where the time goes.

    python tests/benchmarks/bench_cold_start.py IMAGE --api predict --body example.json [--runs 10]

``IMAGE`` is one that ``modelpack containerize`` made, in the local engine.  Two kinds of numbers, both
medians with the least and the most, in milliseconds, over runs that take turns:

    stages      programs that go one step further each, from the container's start to their end:
                nothing, Python, process 1, the server's modules, the service with its model
    the whole   the image as it is: until it listens, until it is ready, until the first 200

``--cold`` empties the kernel's cache of file contents before each run (as root).  The container is
made beforehand; how long that takes stands on a line of its own.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelpack.image import connect

PYTHON = "/bundle/venv/bin/python"
_SERVER = "import modelpack.server.__main__, modelpack.server.life.alone"
_MODULES = "import modelpack.server.life.lifecycle, modelpack.server.life.starting"
_OPEN = (
    "from modelpack.frameworks.source import Source; "
    'spec = Source("bundle", "", "/bundle").open(); spec.cls()'
)
STAGES = {
    "the engine starts a program": ("/bin/true",),
    "Python": (PYTHON, "-I", "-c", "pass"),
    "process 1 and its child": (
        PYTHON, "-I", "-c", "from modelpack.server.life.init import stand_by; stand_by()",
    ),
    "modules of the server": (PYTHON, "-I", "-c", f"{_SERVER}; {_MODULES}"),
    "service and model": (PYTHON, "-I", "-c", f"{_SERVER}; {_MODULES}; {_OPEN}"),
}  # fmt: skip
WHOLE = ("listens", "is ready", "first answer")
_NO_INIT = (
    "from modelpack.server.__main__ import main; "
    "from modelpack.server.life.stopping import leave; leave(main())"
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image")
    parser.add_argument("--api", default="predict")
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument(
        "--against-no-init", action="store_true", help="compare with process 1 alone"
    )
    asked = parser.parse_args()
    body = asked.body.read_bytes()
    found: dict[str, list[float]] = {}
    with connect() as engine:
        for _ in range(asked.runs):
            for name, command in STAGES.items():
                clear(is_cold=asked.cold)
                found.setdefault(name, []).append(until_end(engine, asked.image, command))
            kinds: dict[str, Sequence[str] | None] = {"": None}
            if asked.against_no_init:
                kinds[" without init"] = (PYTHON, "-I", "-u", "-c", _NO_INIT)
            for kind, command in kinds.items():
                clear(is_cold=asked.cold)
                for name, ms in until_answer(engine, asked.image, asked.api, body, command).items():
                    found.setdefault(f"{name}{kind}", []).append(ms)
    for name, all_ms in found.items():
        print(
            f"{name:<32} {statistics.median(all_ms):7.0f}  ({min(all_ms):.0f} to {max(all_ms):.0f})"
        )


def clear(*, is_cold: bool) -> None:
    """Forget the contents of files, where that is asked for."""
    if is_cold:
        subprocess.run(["sync"], check=True)
        Path("/proc/sys/vm/drop_caches").write_text("3")


def until_end(engine: Any, image: str, command: Sequence[str]) -> float:
    """Return the milliseconds from the start of a program in the image to its end."""
    with made(engine, image, command) as container:
        began = time.perf_counter()
        engine.start(container)
        status = engine.wait(container)["StatusCode"]
        took = (time.perf_counter() - began) * 1000
        if status:
            raise SystemExit(engine.logs(container).decode())
    return took


def until_answer(
    engine: Any, image: str, api: str, body: bytes, command: Sequence[str] | None
) -> dict[str, float]:
    """Return the milliseconds from the start of the image to each of the three moments."""
    began = time.perf_counter()
    with made(engine, image, command) as container:
        seen = {"container is made": (time.perf_counter() - began) * 1000}
        began = time.perf_counter()
        engine.start(container)
        ports = engine.inspect_container(container)["NetworkSettings"]["Ports"]
        port = int(ports["3000/tcp"][0]["HostPort"])
        while "first answer" not in seen:
            live = ask(port, "GET", "/livez" if "listens" not in seen else "/readyz")
            at = (time.perf_counter() - began) * 1000
            if at > 60_000:
                raise SystemExit(engine.logs(container).decode())
            if live == 200 and "listens" not in seen:
                seen["listens"] = at
            elif live == 200:
                seen["is ready"] = at
                if ask(port, "POST", f"/{api}", body) == 200:
                    seen["first answer"] = (time.perf_counter() - began) * 1000
            if live != 200:
                time.sleep(0.002)
        memory = engine.stats(container, stream=False)["memory_stats"]
        seen["memory in MB"] = memory["stats"].get("rss", memory["usage"]) / 1e6
    return seen


def ask(port: int, method: str, path: str, body: bytes | None = None) -> int | None:
    """Return the status of the answer; None: nobody answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, {"content-type": "application/json"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@contextmanager
def made(engine: Any, image: str, command: Sequence[str] | None) -> Iterator[str]:
    """Give a container as strict as they are deployed; it is removed in the end."""
    settings = engine.create_host_config(
        read_only=True, tmpfs={"/tmp": ""}, cap_drop=["ALL"],
        security_opt=["no-new-privileges"], port_bindings={3000: ("127.0.0.1", None)},
    )  # fmt: skip
    words = {"entrypoint": list(command)} if command else {}
    container = engine.create_container(image, host_config=settings, ports=[3000], **words)["Id"]
    try:
        yield container
    finally:
        engine.remove_container(container, force=True, v=True)


if __name__ == "__main__":
    main()
