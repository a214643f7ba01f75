"""Builds a planned image in the container engine of this machine, and says how far it is.

    plan + store ──tar stream──► engine ──events──► steps with durations ──► ImageResult
                                            └──► a log file, kept when the build fails

The classic builder of the engine's own interface is used: it is there wherever an engine is.  The
engine gets the context as a stream, so that nothing is copied on this machine first.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from modelpack import paths
from modelpack.archive.indexes import index_settings
from modelpack.errors import EngineError, ToolMissingError
from modelpack.image.bases import PythonFrom
from modelpack.image.context import DOCKERFILE, stream_context
from modelpack.image.dockerfile import INDEX_ARGS, instructions_of
from modelpack.image.plan import ImagePlan
from modelpack.image.reference import check_image_name, default_reference
from modelpack.progress import SILENT, Progress
from modelpack.store import Store

if TYPE_CHECKING:
    from docker import APIClient
    from requests import Response

_TAIL_LINES = 20
_USUAL_SOCKET = "unix:///var/run/docker.sock"
_STEP = re.compile(r"Step (\d+)/(\d+) : ")
_INDEX_FLAGS = dict(zip(("--index-url", "--extra-index-url"), INDEX_ARGS, strict=True))


@dataclass(frozen=True, slots=True)
class ImageResult:
    """An image in the engine."""

    reference: str
    id: str
    """``sha256:HEX``, by which the engine knows it."""
    size_bytes: int
    """On disk, the base included."""


class ImageBuildError(EngineError):
    """A step of the build failed."""

    def __init__(self, message: str, *, hint: str, log: Path, log_lines: Sequence[str]) -> None:
        super().__init__(message, hint=hint)
        self.log = log
        """Everything that the builder said."""
        self.log_lines = tuple(log_lines)
        """The last lines of it."""


def build_image(
    plan: ImagePlan,
    store: Store,
    *,
    reference: str | None = None,
    progress: Progress = SILENT,
    labels: Mapping[str, str] | None = None,
) -> ImageResult:
    """Build the image under the name ``reference`` (default: the bundle's tag).

    ``labels`` are added to those of the plan.  Raises ToolMissingError without an engine,
    EngineError when the base is not to be had or a step fails, DigestMismatchError when the bundle
    is damaged.
    """
    name = check_image_name(reference or default_reference(plan.entry.tag))
    with connect() as engine, _translated(f"build '{name}'"):
        for image in filter(None, (plan.base.python_image, plan.base.image)):
            _ensure_base(engine, image, progress)
        _check_python(engine, plan)
        with _log_file(plan) as (log, path):
            events = engine.build(
                # Any iterable of bytes is sent in chunks; the stubs know files alone.
                fileobj=cast("IO[bytes]", stream_context(plan, store)),
                custom_context=True,
                dockerfile=DOCKERFILE,
                tag=name,
                rm=True,
                forcerm=True,
                decode=True,
                labels=dict(labels or {}),
                buildargs=_index_settings(progress),
                use_config_proxy=True,
            )
            _follow(plan, events, log, path, progress)
        made = _inspect(engine, name)
    return ImageResult(name, str(made["Id"]), int(made["Size"]))


@contextmanager
def connect() -> Iterator[APIClient]:
    """Give a client of the local engine; its connections are closed at the end.

    ``DOCKER_HOST`` says where it is, else the Docker context that is in use, else the usual socket.
    Raises ToolMissingError when none answers.
    """
    from docker import APIClient
    from docker.errors import DockerException
    from docker.utils import kwargs_from_env

    address = os.environ.get("DOCKER_HOST") or _context_host() or _USUAL_SOCKET
    try:
        settings: dict[str, Any] = {"base_url": address, **kwargs_from_env()}
        _knock(address)
        version = _version(settings)
    except (DockerException, OSError) as cause:
        raise ToolMissingError(
            f"no container engine answers at '{address}'",
            hint="start one, or write a Dockerfile and its files with --dockerfile DIR",
        ) from cause
    client = APIClient(version=version, **settings)
    answers: list[Response] = []
    client.hooks["response"].append(lambda answer, **_: answers.append(answer))
    try:
        yield client
    finally:
        # An answer that was not read to its end holds its connection, which the client forgot.
        for answer in answers:
            answer.close()
        client.close()


@contextmanager
def _translated(goal: str) -> Iterator[None]:
    """Turn what the engine or the way to it raises into an error of ours."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as cause:
        said = _one_line(str(cause.explanation or cause))
        raise EngineError(f"the engine did not {goal}: {said}") from cause
    except (DockerException, RequestException) as cause:
        raise EngineError(
            f"the engine did not {goal}: {_one_line(str(cause))}",
            hint="see whether it still runs, then try again",
        ) from cause


def _knock(address: str) -> None:
    """Raise OSError when nobody listens at a socket of this machine.

    The client would find out too, but leaves its own socket open then.
    """
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as trial:
            trial.connect(address.removeprefix("unix://"))


def _version(settings: Mapping[str, Any]) -> str:
    """Return the newest version of the interface that engine and client both speak."""
    from docker import APIClient
    from docker.constants import DEFAULT_DOCKER_API_VERSION

    # A client that asks for the version while it is made cannot be closed when that fails.
    client = APIClient(version=DEFAULT_DOCKER_API_VERSION, **settings)
    try:
        said = client.version(api_version=False)["ApiVersion"]
    finally:
        client.close()
    return min(str(said), DEFAULT_DOCKER_API_VERSION, key=lambda v: [int(n) for n in v.split(".")])


def _context_host() -> str | None:
    """Return the address of the Docker context in use, where it is not the usual one."""
    from docker.context import ContextAPI

    try:
        context = ContextAPI.get_context(os.environ.get("DOCKER_CONTEXT"))
    except Exception:  # a damaged Docker configuration is not ours to judge
        return None
    host = getattr(context, "Host", None)
    return host if isinstance(host, str) and host.startswith(("unix://", "tcp://")) else None


def _inspect(engine: APIClient, image: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.inspect_image(image)  # type: ignore[no-untyped-call]
    return found


def _ensure_base(engine: APIClient, image: str, progress: Progress) -> None:
    from docker.errors import DockerException, ImageNotFound

    try:
        _inspect(engine, image)
        return
    except ImageNotFound:
        pass
    said = ""
    with progress.step(f"pull {image}"):
        try:
            for event in engine.pull(image, stream=True, decode=True):
                said = event.get("error", said)
            _inspect(engine, image)
        except DockerException as cause:
            why = said or getattr(cause, "explanation", None) or str(cause)
            raise EngineError(
                f"the base '{image}' is not in the engine and cannot be pulled: {_one_line(why)}",
                hint="pull or load it beforehand, or name another one with --base",
            ) from cause


def _check_python(engine: APIClient, plan: ImagePlan) -> None:
    """Refuse a base that says itself that it has another Python than the lock is for."""
    if plan.base.python_from is not PythonFrom.BASE:
        return
    config = _inspect(engine, plan.base.image).get("Config") or {}
    said = dict(pair.partition("=")[::2] for pair in config.get("Env") or [])
    version = said.get("PYTHON_VERSION", "")
    found = re.match(r"3\.\d+", version)
    if found is not None and found[0] != plan.python:
        raise _wrong_python(plan, f"it has Python {version}")


def _wrong_python(plan: ImagePlan, what: str) -> EngineError:
    return EngineError(
        f"the base '{plan.base.image}' does not fit: {what}, and the bundle is locked for "
        f"Python {plan.python}",
        hint=f"name a base with python{plan.python}, or build the bundle for the base's Python",
    )


def _follow(
    plan: ImagePlan,
    events: Iterator[dict[str, Any]],
    log: TextIO,
    path: Path,
    progress: Progress,
) -> None:
    """Read what the builder says until it ends; raises ImageBuildError when a step fails."""
    titles = _titles(plan)
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    title = ""
    with ExitStack() as running:
        for event in events:
            for line in str(event.get("stream", "")).splitlines():
                log.write(f"{line}\n")
                if match := _STEP.match(line):
                    now = titles.get(int(match[1]), "")
                    if now != title:
                        running.close()
                        title = now
                        if title:
                            running.enter_context(progress.step(title))
                elif shown := _one_line(line):
                    tail.append(shown)
            if "error" in event:
                log.write(f"{event['error']}\n")
                raise _failure(plan, title, str(event["error"]), path, tuple(tail))


def _titles(plan: ImagePlan) -> dict[int, str]:
    """Return what the steps of the builder do; one without words belongs to the one before it."""
    titles = {}
    note = ""
    for number, instruction in enumerate(instructions_of(plan), start=1):
        note = instruction.note or note
        titles[number] = note
    return titles


def _failure(
    plan: ImagePlan, title: str, error: str, log: Path, tail: Sequence[str]
) -> EngineError:
    if any(re.search(rf"python{re.escape(plan.python)}: (command )?not found", x) for x in tail):
        return _wrong_python(plan, f"it has no 'python{plan.python}'")
    telling = [x for x in tail if re.match(r"(ERROR|E|fatal|error)\b", x)] or list(tail)
    shown = telling[-2:] or [_one_line(error)]
    return ImageBuildError(
        f"the image could not be built, at '{title or 'start'}':\n  " + "\n  ".join(shown),
        hint=f"all that the builder said is in '{log}'",
        log=log,
        log_lines=tail,
    )


def _index_settings(progress: Progress) -> dict[str, str]:
    """Return the indexes that pip is told of here, as far as an image's history may hold them."""
    found: dict[str, list[str]] = {}
    for argument in index_settings().arguments:
        flag, _, url = argument.partition("=")
        name = _INDEX_FLAGS.get(flag)
        if name is None or not url.startswith(("https://", "http://")):
            continue
        if "@" in url.split("/")[2]:
            progress.note("an index needs a password and is not named to the build")
            continue
        found.setdefault(name, []).append(url)
    return {name: " ".join(urls) for name, urls in found.items()}


@contextmanager
def _log_file(plan: ImagePlan) -> Iterator[tuple[TextIO, Path]]:
    """Give a file for the builder's words; it stays when the block fails."""
    folder = paths.cache_dir() / "logs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    tag = plan.entry.tag
    path = folder / f"image-{tag.name}-{tag.version}-{secrets.token_hex(4)}.log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as log:
        yield log, path
    path.unlink(missing_ok=True)


def _one_line(text: str) -> str:
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", " ".join(text.split()))
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 300 else text[:297] + "..."
