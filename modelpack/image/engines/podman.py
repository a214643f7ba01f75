"""podman and buildah: no daemon, the same store of images, almost the same words.

    plan ──write_context──► a folder of the cache ──► podman build ──► STEP lines ──► Said

Both read a context on standard input as a whole into memory, and unpack it again below the system's
temporary folder; so the context is written, once, into our own cache, and removed when the build ends.
``--format docker`` keeps the health check, which their own format drops.

Where containers cannot be started, ``BUILDAH_ISOLATION=chroot`` helps; both programs read it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelpack.errors import EngineError
from modelpack.image.context import DOCKERFILE, write_context
from modelpack.image.dockerfile import Mounts, instructions_of
from modelpack.image.engines.bases import check_python
from modelpack.image.engines.buildkit import arguments, secret_variables, with_end
from modelpack.image.engines.following import Said, follow, log_file, one_line, stages
from modelpack.image.engines.orders import ImageResult, Order
from modelpack.image.engines.programs import ask, running
from modelpack.image.engines.redaction import hider
from modelpack.image.engines.scratch import scratch
from modelpack.image.plan import ImagePlan
from modelpack.progress import Progress

if TYPE_CHECKING:
    from modelpack.image.reading import ReadImage

# "[2/3] STEP 4/11: COPY …"; with one stage there is no "[2/3]".
_STEP = re.compile(r"(?:\[(\d+)/\d+\] )?STEP (\d+)/\d+: ")
_OWN_WORDS = re.compile(r"(-->|COMMIT|Successfully tagged|STEP) ?|[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class PodmanBuilder:
    """Builds through one of the two programs; the images are in their store."""

    name: Literal["podman", "buildah"]
    takes_secrets: bool = True

    def build(self, order: Order, progress: Progress) -> ImageResult:
        """Build the image; raises EngineError, or what the store raises for a damaged bundle."""
        plan = order.plan
        mounts = Mounts(has_cache=True, secrets=tuple(sorted(order.secrets)))
        for image in filter(None, (plan.base.python_image, plan.base.image)):
            self._ensure_base(image, progress)
        variables = self._described(plan.base.image).variables
        check_python(plan, variables)
        for warning in plan.warnings_on(variables):
            progress.note(f"warning: {warning}")
        with _context(order, mounts) as folder, log_file(plan) as (log, path):
            argv = [self.name, "build", "--format", "docker", "--layers", "--force-rm"]
            # A label with the program's own version would make images differ.
            options = arguments(order, str(folder / DOCKERFILE))
            argv += ["--identity-label=false", *options, str(folder)]
            environment = secret_variables(order.secrets)
            with running(argv, environment=environment) as program:
                said = with_end(program, read_steps(plan, mounts, program.lines()))
                follow(plan, said, log, path, progress, hide=hider(order.secrets))
        made = self._described(order.name)
        return ImageResult(order.name, made.id, made.size_bytes)

    def rename(self, image: ImageResult, name: str) -> ImageResult:
        """Give an image another name instead of its own."""
        self._ask("tag", image.reference, name)
        self._ask("rmi", image.reference)  # which has another name by now, and stays
        return ImageResult(name, image.id, image.size_bytes)

    def remove(self, image: ImageResult) -> None:
        """Remove an image under its name."""
        self._ask("rmi", image.reference)

    @contextmanager
    def read(self, image: ImageResult) -> Iterator[ReadImage]:
        """Open an image to look into it; it is written into the cache meanwhile."""
        from modelpack.image.reading import open_image

        with scratch("exports") as folder:
            file = folder / "image.tar"
            # In this form layers are not compressed on the way: 265 MB were searched in 2.5 s, not 12.
            self._ask("push", "--quiet", image.reference, f"docker-archive:{file}")
            with open_image(f"docker-archive:{file}") as found:
                yield found

    def _ensure_base(self, image: str, progress: Progress) -> None:
        if ask([self.name, "inspect", "--type", "image", "--", image])[0] == 0:
            return
        with progress.step(f"pull {image}"):
            status, _, errors = ask([self.name, "pull", "--quiet", "--", image], timeout_s=None)
        if status != 0:
            raise EngineError(
                f"the base '{image}' is not known to {self.name} and cannot be pulled: "
                f"{_last(errors)}",
                hint="pull or load it beforehand, or name another one with --base",
            )

    def _described(self, image: str) -> _Described:
        said: Any = json.loads(self._ask("inspect", "--type", "image", "--", image))
        if isinstance(said, list):  # podman
            config = said[0].get("Config") or {}
            return _Described(_id(said[0]["Id"]), int(said[0]["Size"]), config.get("Env") or [])
        config = (said.get("Docker") or {}).get("config") or {}
        listed = json.loads(self._ask("images", "--json", "--", image))
        size = _bytes(str(listed[0]["size"])) if listed else 0
        return _Described(_id(said["FromImageID"]), size, config.get("Env") or [])

    def _ask(self, *words: str) -> str:
        status, output, errors = ask([self.name, *words], timeout_s=None)
        if status != 0:
            raise EngineError(f"{self.name} did not {words[0]} the image: {_last(errors)}")
        return output


@dataclass(frozen=True, slots=True)
class _Described:
    id: str
    size_bytes: int
    variables: list[str]


def read_steps(plan: ImagePlan, mounts: Mounts, lines: Iterable[str]) -> Iterator[Said]:
    """Read what podman and buildah say; they count every instruction of a stage."""
    known = [stage.titles for stage in stages(instructions_of(plan, mounts))]
    for line in lines:
        if match := _STEP.match(line):
            titles = known[min(int(match[1] or 1), len(known)) - 1]
            # Labels of the caller are one more instruction, at the end.
            yield Said(line, title=titles[min(int(match[2]), len(titles)) - 1])
        elif _OWN_WORDS.match(line):
            yield Said(line)
        else:
            yield Said(line, words=line)


@contextmanager
def _context(order: Order, mounts: Mounts) -> Iterator[Path]:
    with scratch("contexts") as folder:
        yield write_context(order.plan, order.store, folder / "context", mounts)


def _bytes(text: str) -> int:
    """Read a size as buildah writes it, such as ``283 MB``."""
    match = re.fullmatch(r"([\d.]+) ?([kKMGT]?)i?B", text)
    if match is None:
        return 0
    exponent = " KMGT".index(match[2].upper() or " ")
    return round(float(match[1]) * 1000.0**exponent)


def _id(text: str) -> str:
    return text if text.startswith("sha256:") else f"sha256:{text}"


def _last(errors: str) -> str:
    lines = [line for line in errors.splitlines() if line.strip()]
    return one_line(lines[-1]) if lines else "it does not say why"
