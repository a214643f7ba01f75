"""Docker's BuildKit, through the docker program: it caches downloads and lends secrets.

    context as a tar on standard input ──► docker build - ──► plain progress ──► Said
    secrets ──► variables of that process ──► --secret id=…,env=…

Docker's interface has no BuildKit without a session that only its own program speaks.  Programs from
18.09 to 22 have it inside; later ones need the buildx plugin.  All ``docker`` on PATH are tried.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelpack.archive.platforms import host_platform
from modelpack.errors import ToolMissingError
from modelpack.image.context import DOCKERFILE, stream_context
from modelpack.image.dockerfile import Mounts, instructions_of
from modelpack.image.engines.docker import DockerImages, translated
from modelpack.image.engines.following import Said, follow, log_file, stages
from modelpack.image.engines.orders import ImageResult, Order
from modelpack.image.engines.programs import Running, ask, running
from modelpack.image.engines.redaction import hider
from modelpack.image.plan import ImagePlan
from modelpack.progress import Progress

if TYPE_CHECKING:
    from docker import APIClient

_OLDEST_API = (1, 39)
"""Docker 18.09, the first with BuildKit (https://docs.docker.com/build/buildkit/)."""
_COUNTED = ("FROM", "RUN", "COPY", "WORKDIR")
"""What BuildKit numbers: instructions that change files."""

_LINE = re.compile(r"#(\d+) (.*)")
# "[stage-1  4/12] RUN …": the stage, which older ones leave out when there is one, and the number.
_BEGUN = re.compile(r"\[(?:linux/\S+ )?(?:([a-z][a-z0-9-]*) +)? *(\d+)/\d+\] ([A-Z]+)")
_OUTPUT = re.compile(r"\d+\.\d+ (.*)")


@dataclass(frozen=True, slots=True)
class BuildKit:
    """The command that builds with BuildKit."""

    command: tuple[str, ...]
    version: str
    """Of the docker program, or of its plugin."""


def find_buildkit(client: APIClient) -> BuildKit:
    """Return how to build with BuildKit here; raises ToolMissingError, which says why not."""
    said = client.version(api_version=False)
    api = tuple(int(part) for part in str(said["ApiVersion"]).split(".")[:2])
    parts = [str(part.get("Name", "")) for part in said.get("Components") or ()]
    if any("podman" in part.lower() for part in parts):
        raise _without("this engine is podman")
    if api < _OLDEST_API or said.get("Os", "linux") != "linux":
        raise _without(f"this engine ({said.get('Version')}) has no BuildKit")
    reasons = []
    for program in _programs("docker"):
        status, output, _ = ask([program, "buildx", "version"])
        if status == 0:
            version = (re.findall(r"v?(\d+\.\d+\S*)", output) or ["?"])[0]
            return BuildKit((program, "buildx", "build", "--load", *_plain(version)), version)
        status, output, _ = ask([program, "--version"])
        found = re.search(r"\b(\d+)\.\d+\S*", output)
        if status == 0 and found is not None and 18 <= int(found[1]) < 23:
            return BuildKit((program, "build"), found[0].rstrip(","))
        reasons.append(f"'{program}' has no buildx plugin")
    raise _without(reasons[0] if reasons else "there is no 'docker' program on PATH")


class BuildKitBuilder(DockerImages):
    """Builds through the docker program; the images are the engine's."""

    name = "buildkit"
    takes_secrets = True

    def build(self, order: Order, progress: Progress) -> ImageResult:
        """Build the image; raises EngineError, or what the store raises for a damaged bundle."""
        plan = order.plan
        mounts = Mounts(has_cache=True, secrets=tuple(sorted(order.secrets)))
        with translated(f"build '{order.name}'"):
            self.ensure_bases(plan, progress)
            argv = [*find_buildkit(self.client).command, "--progress=plain", *arguments(order), "-"]
            environment = {"DOCKER_BUILDKIT": "1", **secret_variables(order.secrets)}
            feed = stream_context(plan, order.store, mounts)
            with (
                log_file(plan) as (log, path),
                running(argv, feed=feed, environment=environment) as program,
            ):
                said = with_end(program, read_plain(plan, mounts, program.lines()))
                follow(plan, said, log, path, progress, hide=hider(order.secrets))
            return self.result(order.name)


def arguments(order: Order, dockerfile: str = DOCKERFILE) -> list[str]:
    """Return the options that docker, podman and buildah have in common.

    ``dockerfile`` is a name in a context that is sent, else a whole path: podman and buildah would
    take one of the folder in which they are started.
    """
    words = ["--tag", order.name, "--file", dockerfile]
    for name, value in sorted(order.labels.items()):
        words += ["--label", f"{name}={value}"]
    for name, value in sorted(order.build_args.items()):
        words += ["--build-arg", f"{name}={value}"]
    for name, variable in zip(sorted(order.secrets), secret_variables(order.secrets), strict=True):
        words += ["--secret", f"id={name},env={variable}"]
    if not order.use_cache:
        words.append("--no-cache")
    if order.plan.platform != host_platform():
        words.append(f"--platform={order.plan.platform.name}")
    if order.network is not None:
        words.append(f"--network={order.network}")
    return words


def secret_variables(secrets: Mapping[str, bytes]) -> dict[str, str]:
    """Return the variables in which a builder is given the secrets, in the order of their ids."""
    return {
        f"BUILD_SECRET_{number}": os.fsdecode(secrets[name])
        for number, name in enumerate(sorted(secrets))
    }


def read_plain(plan: ImagePlan, mounts: Mounts, lines: Iterable[str]) -> Iterator[Said]:
    """Read the plain progress of BuildKit.

    What it has from an earlier build it lists in any order; such a copy is not worth a step.
    """
    found = stages(instructions_of(plan, mounts), _COUNTED)
    known = {stage.name: stage.titles for stage in found}
    held: dict[str, str] = {}
    has_failed = False
    for line in lines:
        # After a failure it shows the last lines once more.
        has_failed = has_failed or line.startswith("------")
        match = _LINE.match(line)
        vertex, rest = (match[1], match[2]) if match else ("", line)
        title = None
        if begun := _BEGUN.match(rest):
            titles = known.get(begun[1] or "", found[0].titles if len(found) == 1 else ())
            number = int(begun[2]) - 1
            what = titles[number] if number < len(titles) else ""
            if begun[3] == "RUN":
                title = what
            else:
                held[vertex] = what
        elif rest.startswith("exporting to "):
            title = "write the image"
        elif rest == "CACHED":
            held.pop(vertex, None)
        elif not rest.startswith("sha256:"):
            title = held.pop(vertex, None)
        output = None if has_failed else _OUTPUT.match(rest)
        yield Said(line, title=title, words=output[1] if output else "")


def with_end(program: Running, said: Iterable[Said]) -> Iterator[Said]:
    """Give what a program says and, when it ends with another status than 0, why."""
    last = ""
    for one in said:
        last = one.line if one.line.strip(" -") else last
        yield one
    if status := program.status():
        yield Said(error=last or f"the builder ended with status {status}")


def _plain(version: str) -> list[str]:
    # From 0.10 on, buildx adds a statement with times to an image, so that no two are the same.
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    return ["--provenance=false"] if numbers >= [0, 10] else []


def _programs(name: str) -> list[str]:
    """Return all programs of that name on PATH, first things first."""
    found = []
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = Path(folder or ".", name)
        with suppress(OSError):
            if path.is_file() and os.access(path, os.X_OK):
                found.append(str(path))
    return found


def _without(why: str) -> ToolMissingError:
    return ToolMissingError(
        f"no build with BuildKit: {why}",
        hint="install docker's buildx plugin, or choose another builder with --engine",
    )
