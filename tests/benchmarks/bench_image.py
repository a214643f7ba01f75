"""What an image costs: made by an engine and by nobody but modelpack, cold and after a one-line change.

    ENGINE_BASE_IMAGE=… ENGINE_REGISTRY=… python tests/benchmarks/bench_image.py [--rounds 3] [--json FILE]

The digits example, on one base, by the direct builder, the engine's classic builder and BuildKit, in
turns (A B C A B C).  Seconds of the command as a user sees it: the median, and the least and the most.

``cold``      no cache of the builder's own (packages are in the cache of uv or pip, if it has one);
              the base is there: a layout for the direct builder, in the engine for the others
``change``    again after one line of the service was changed, and its bundle built
``alone``     of that, what the build takes by itself: without the start of the command and its imports
``push``      bytes that a registry is sent for the image of the change, when it has the one before
``size``      over the base: files on the disk, and what a registry keeps (with gzip)
``start``     container created and started, until the first answer with status 200

The direct builder writes a layout; ``direct, engine`` loads the image into the engine as well.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits-onnx"
PROGRAM = Path(sys.executable).with_name("modelpack")
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)
ALONE = """
import sys, time
from modelpack.config.settings import ImageSettings
from modelpack.image import plan_image
from modelpack.image.direct import build_direct
from modelpack.store import Kind, Store
from modelpack.tag import Tag

store = Store()
entry = store.find(Tag.parse("digits"), Kind.BUNDLE)
begun = time.perf_counter()
plan = plan_image(store, entry, ImageSettings())
build_direct([plan], store, base=sys.argv[1], outputs=[sys.argv[2]], reference="digits:1")
print(time.perf_counter() - begun)
"""
LABEL = "dev.modelpack.test=1"
MB = 1_000_000


@dataclass
class Figures:
    """What was measured of one builder."""

    cold: list[float] = field(default_factory=list)
    change: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    pushed: list[int] = field(default_factory=list)
    unpacked: int = 0
    stored: int = 0


class Bench:
    """One project, one base, and an image name for each builder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run = uuid.uuid4().hex[:8]
        self.base = os.environ["ENGINE_BASE_IMAGE"]
        self.registry = os.environ["ENGINE_REGISTRY"]
        self.project = root / "digits"
        self.layout = f"oci:{root / 'base'}"
        self.environ = {
            **os.environ,
            "MODELPACK_HOME": str(root / "home"),
            "MODELPACK_CACHE": str(root / "cache"),
            "ORT_DISABLE_TELEMETRY": "1",
        }
        self.lines = 0
        self.made: set[str] = set()
        """Ids of images; a name that moves on leaves them behind."""

    def prepare(self) -> None:
        """Copy and train the example, build its bundle, and put the base where each builder has it."""
        shutil.copytree(EXAMPLE, self.project, ignore=shutil.ignore_patterns("__pycache__"))
        self._call([sys.executable, "train.py"])
        self._call(["skopeo", "copy", "-q", f"docker-daemon:{self.base}", f"{self.layout}:latest"])
        self.build()
        self.direct("warm", f"oci:{self.root / 'warm'}")  # packages come into uv's cache

    def build(self) -> str:
        """Build the bundle and return its tag."""
        return self._call([PROGRAM, "build"]).strip()

    def change(self) -> None:
        """Change one line of the service and build its bundle."""
        self.lines += 1
        with (self.project / "service.py").open("a") as out:
            out.write(f"# {self.lines}\n")
        self.build()

    def direct(self, name: str, *outputs: str, fresh: bool = False, more: Any = ()) -> Any:
        """Build without an engine; returns what the command says."""
        if fresh:
            shutil.rmtree(self.root / "cache" / "image", ignore_errors=True)
        given = [word for output in outputs for word in ("--output", output)]
        words = ["--engine", "none", "--base", self.layout, "--reference", self.name(name)]
        said = self._call([PROGRAM, "containerize", *words, *given, *more, "-o", "json"])
        if "engine" in outputs:
            self.note(self.name(name))
        return json.loads(said)

    def direct_alone(self, folder: Path) -> float:
        """Return the seconds that the builder takes in a program that has imported everything."""
        words = [sys.executable, "-c", ALONE, self.layout, f"oci:{folder}"]
        return float(self._call(words))

    def engine(self, kind: str, *, fresh: bool = False) -> None:
        """Build with an engine."""
        words = ["--engine", kind, "--base", self.base, "--reference", self.name(kind)]
        self._call([PROGRAM, "containerize", *words, *(["--no-cache"] if fresh else [])])
        self.note(self.name(kind))

    def note(self, image: str) -> None:
        """Take note of an image that has to go in the end."""
        self.made.add(self._call(["docker", "image", "inspect", "-f", "{{.Id}}", image]).strip())

    def name(self, builder: str) -> str:
        return f"bench-{self.run}/{builder}:1"

    def push(self, builder: str) -> dict[str, int]:
        """Push what an engine has; returns the blobs and their bytes."""
        there = f"{self.registry}/bench-{self.run}-{builder}:1"
        self._call(["docker", "tag", self.name(builder), there])
        self._call(["docker", "push", "-q", there])
        self._call(["docker", "rmi", there])
        return self.blobs(f"bench-{self.run}-{builder}")

    def blobs(self, repository: str) -> dict[str, int]:
        """Return the blobs of an image in the registry and their bytes, the manifest included."""
        url = f"http://{self.registry}/v2/{repository}/manifests/1"
        request = urllib.request.Request(url, headers={"Accept": MANIFESTS})
        with urllib.request.urlopen(request) as answer:
            data = answer.read()
            digest = answer.headers["Docker-Content-Digest"]
        value = json.loads(data)
        parts = {one["digest"]: one["size"] for one in (value["config"], *value["layers"])}
        return {**parts, digest: len(data)}

    def start_seconds(self, builder: str) -> float:
        """Start a container and return the seconds until its first answer."""
        begun = time.perf_counter()
        words = ["docker", "run", "-d", "--rm", "--label", LABEL, "-p", "127.0.0.1:0:3000"]
        container = self._call([*words, self.name(builder)]).strip()
        try:
            port = self._call(["docker", "port", container, "3000"]).strip().rpartition(":")[2]
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                        return time.perf_counter() - begun
                except OSError:
                    time.sleep(0.01)
        finally:
            self._call(["docker", "stop", "-t", "5", container])

    def base_blobs(self) -> tuple[int, int]:
        """Return the bytes of the base: on the disk of the engine, and with gzip."""
        there = f"{self.registry}/bench-{self.run}-base:1"
        self._call(["docker", "tag", self.base, there])
        self._call(["docker", "push", "-q", there])
        self._call(["docker", "rmi", there])
        stored = sum(self.blobs(f"bench-{self.run}-base").values())
        return self.size(self.base), stored

    def size(self, image: str) -> int:
        """Return the bytes of an image on the disk of the engine."""
        return int(self._call(["docker", "image", "inspect", "-f", "{{.Size}}", image]))

    def clean(self) -> None:
        """Remove the images that were made."""
        for image in self.made:
            subprocess.run(["docker", "rmi", "-f", image], capture_output=True, check=False)

    def _call(self, words: list[Any]) -> str:
        done = subprocess.run(
            [*map(str, words)],
            cwd=self.project if self.project.is_dir() else None,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{' '.join(map(str, words))}\n{done.stderr}")
        return done.stdout


def timed(act: Any) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def measure(bench: Bench, rounds: int, kinds: list[str]) -> dict[str, Figures]:
    found = {name: Figures() for name in ("direct", "direct, engine", *kinds)}
    direct, loaded = found["direct"], found["direct, engine"]
    out, place = bench.root / "out", f"{bench.registry}/bench-{bench.run}-direct:1"
    for number in range(rounds):
        shutil.rmtree(out, ignore_errors=True)
        direct.cold.append(timed(lambda: bench.direct("direct", f"oci:{out}", fresh=True)))
        subprocess.run(["docker", "rmi", "-f", bench.name("direct")], capture_output=True)
        loaded.cold.append(timed(lambda: bench.direct("direct", "engine", fresh=True)))
        bench.direct("direct", place)
        for kind in kinds:
            found[kind].cold.append(timed(lambda kind=kind: bench.engine(kind, fresh=True)))
        before = {kind: bench.push(kind) for kind in kinds}
        bench.direct_alone(bench.root / "alone")
        bench.change()
        direct.alone.append(bench.direct_alone(bench.root / "alone"))
        direct.change.append(timed(lambda: bench.direct("direct", f"oci:{out}")))
        loaded.change.append(timed(lambda: bench.direct("direct", "engine")))
        said = bench.direct("direct", place)
        direct.pushed.append(said["outputs"][0]["new_bytes"])
        for kind in kinds:
            found[kind].change.append(timed(lambda kind=kind: bench.engine(kind)))
            after = bench.push(kind)
            new = [size for digest, size in after.items() if digest not in before[kind]]
            found[kind].pushed.append(sum(new))
            found[kind].start.append(bench.start_seconds(kind))
        direct.start.append(bench.start_seconds("direct"))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    disk, stored = bench.base_blobs()
    for kind in kinds:
        found[kind].unpacked = bench.size(bench.name(kind)) - disk
        found[kind].stored = sum(bench.push(kind).values()) - stored
    direct.unpacked = bench.size(bench.name("direct")) - disk
    packed = bench.direct("direct", f"oci:{bench.root / 'packed'}", more=["--compress"])
    direct.stored = packed["images"][0]["own_bytes"]
    return found


def shown(values: list[float], digits: int = 2) -> str:
    if not values:
        return ""
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(found: dict[str, Figures]) -> str:
    lines = [
        "| builder | cold, s | change, s | alone, s | push after it, bytes | unpacked, MB | stored, MB | start, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in found.items():
        pushed = f"{statistics.median(one.pushed):,.0f}" if one.pushed else ""
        sizes = [f"{size / MB:.1f}" if size else "" for size in (one.unpacked, one.stored)]
        seconds = [shown(values) for values in (one.cold, one.change, one.alone)]
        cells = [name, *seconds, pushed, *sizes, shown(one.start)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="*", default=["docker", "buildkit"])
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelpack-bench-") as folder:
        bench = Bench(Path(folder))
        try:
            bench.prepare()
            found = measure(bench, asked.rounds, asked.engines)
        finally:
            bench.clean()
    print(table(found))
    if asked.json:
        asked.json.write_text(json.dumps({k: vars(v) for k, v in found.items()}, indent=2))


if __name__ == "__main__":
    main()
