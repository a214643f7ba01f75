"""Runs an image through the engine until it is stopped, and leaves nothing behind.

    image in the engine, or pulled ──settings──► container ──start──► ready? ──► Running
                                                     └── it ends first: its last words, removed

A container that was started and then not handed over, because it ended, took too long, or the user
pressed Ctrl-C, is removed.  Ready is what answers HTTP with anything but 503: a server of ours says
that until it is, and a program of somebody else's need not know our routes.
"""

from __future__ import annotations

import http
import http.client
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelpack.errors import (
    EngineError,
    ModelpackError,
    NotFoundError,
    PortInUseError,
    UsageError,
)
from modelpack.image.reading import ImageReference, Where, parse_image
from modelpack.image.running.settings import (
    ADDRESS,
    STOP_S,
    ContainerSettings,
    RunOptions,
    settings_for,
)
from modelpack.progress import SILENT, Progress
from modelpack.store.names import shown

if TYPE_CHECKING:
    from docker import APIClient

READY_WITHIN_S = 120.0
_ASK_EVERY_S = 0.05
_LAST_LINES = 12
_KILLED = 128 + 9  # the status of what SIGKILL has ended
_BOUND = re.compile(rf"{re.escape(ADDRESS)}:([0-9]+)")
_TAKEN = ("port is already allocated", "address already in use")
_NO_GPU = ("could not select device driver", "nvidia-container-cli", "no such device")


@dataclass(frozen=True, slots=True)
class Running:
    """A container that is ready."""

    id: str
    name: str
    url: str
    seconds: float
    """From its start to the first answer."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Where else it answers, ``HOST:PORT`` by what is spoken there: ``grpc``, ``metrics``."""

    def logs(self) -> Iterator[bytes]:
        """Give what it writes, from the beginning until it ends; raises EngineError."""
        with _engine(f"read the log of '{self.name}'") as engine:
            yield from engine.logs(self.id, stream=True, follow=True)

    def end(self) -> tuple[int, bool]:
        """Return its exit status and whether it was out of memory, once it has ended."""
        with _engine(f"look at '{self.name}'") as engine:
            state = engine.inspect_container(self.id)["State"]
        return int(state.get("ExitCode") or 0), bool(state.get("OOMKilled"))

    def remove(self, *, grace_s: int = STOP_S) -> None:
        """Stop it, so that it answers what it has accepted, and remove it."""
        with _engine(f"stop '{self.name}'") as engine:
            _remove(engine, self.id, grace_s=grace_s)


class NotReadyError(EngineError):
    """A container ended, or took too long, before it answered."""

    def __init__(self, message: str, *, hint: str | None, log_lines: list[str]) -> None:
        super().__init__(message, hint=hint)
        self.log_lines = tuple(log_lines)
        """The last that it said."""


def run_image(
    reference: str,
    options: RunOptions | None = None,
    *,
    progress: Progress = SILENT,
    ready_within_s: float = READY_WITHIN_S,
) -> Running:
    """Run an image and return when it answers; the caller removes it in the end.

    reference  ``NAME``, ``engine:NAME``, or ``registry:HOST/NAME:TAG``, which the engine pulls

    Raises UsageError, NotFoundError, ToolMissingError without an engine, PortInUseError,
    EngineError, NotReadyError with its last lines.
    """
    options = options or RunOptions()
    found = parse_image(reference)
    with _engine(f"run '{shown(reference)}'") as engine:
        described = _described(engine, found, progress)
        settings = settings_for(found.name, described, options)
        started = time.monotonic()
        identity = _start(engine, settings, options, progress)
        try:
            port = _host_port(engine, identity, settings.container_port)
            others = {
                name: f"{ADDRESS}:{_host_port(engine, identity, one)}"
                for name, one in settings.other_ports.items()
            }
            with progress.step(f"wait until port {port} answers"):
                _wait(engine, identity, port, ready_within_s)
            name = engine.inspect_container(identity)["Name"].removeprefix("/")
        except BaseException:
            _remove(engine, identity, grace_s=0)
            raise
    url = f"http://{ADDRESS}:{port}"
    return Running(identity, name, url, time.monotonic() - started, others)


def _described(engine: APIClient, reference: ImageReference, progress: Progress) -> dict[str, Any]:
    """Return what the engine says of the image, which it pulls if it has to."""
    from docker.errors import ImageNotFound, NotFound

    if reference.where not in (Where.ANYWHERE, Where.ENGINE, Where.REGISTRY):
        raise UsageError(
            f"'{reference}' is not in the engine",
            hint=f"load it first: 'docker load -i {shown(reference.name)}'"
            if reference.where is Where.DOCKER_ARCHIVE
            else f"load it first: 'skopeo copy {reference} docker-daemon:NAME:TAG'",
        )
    try:
        return dict(engine.inspect_image(reference.name))  # type: ignore[no-untyped-call]
    except ImageNotFound:
        if reference.where is Where.ENGINE:
            raise _not_found(reference.name, "the engine has none of that name") from None
    first, slash, _ = reference.name.partition("/")
    if not slash or not ({".", ":"} & set(first) or first == "localhost"):
        raise _not_found(reference.name, "the engine has none of that name")
    said = ""
    try:
        with progress.step(f"pull {reference.name}"):
            for event in engine.pull(reference.name, stream=True, decode=True):
                said = str(event.get("error", said))
        return dict(engine.inspect_image(reference.name))  # type: ignore[no-untyped-call]
    except NotFound:
        raise _not_found(reference.name, _one_line(said) or "it cannot be pulled") from None


def _start(
    engine: APIClient, settings: ContainerSettings, options: RunOptions, progress: Progress
) -> str:
    """Start a container; without GPUs or at another port where that is allowed; return its id."""
    has_gpus = settings.has_gpus
    port = settings.container_port if options.port is None else options.port
    others = set(settings.other_ports.values())
    ports = {settings.container_port: port} | {one: one * (one != port) for one in others}
    while True:
        try:
            return _started(engine, settings, options.name, ports, has_gpus=has_gpus)
        except _RefusedStartError as refused:
            if (taken := refused.taken_of(ports)) in others:
                progress.note(f"port {taken} is in use here: another one is taken")
                ports[taken] = 0
            elif refused.is_port and options.port is None and port:
                progress.note(f"port {port} is in use here: another one is taken")
                ports[settings.container_port] = port = 0
            elif refused.is_gpu and not settings.must_have_gpus:
                progress.note(
                    "the image can use a GPU, and the engine offers none: it runs without"
                )
                has_gpus = False
            else:
                raise refused.problem(port) from refused


class _RefusedStartError(Exception):
    def __init__(self, said: str, *, has_gpus: bool) -> None:
        super().__init__(said)
        self._said = _one_line(said)
        bound = _BOUND.search(said)
        self._bound = int(bound[1]) if bound else 0
        self.is_port = any(one in said for one in _TAKEN)
        self.is_gpu = has_gpus and any(one in said for one in _NO_GPU)

    def taken_of(self, ports: Mapping[int, int]) -> int:
        """Return the port in the container whose port here is said to be in use; 0: it is not said."""
        named = [inside for inside, port in ports.items() if self._bound and port == self._bound]
        return named[0] if named and self.is_port else 0

    def problem(self, port: int) -> ModelpackError:
        if self.is_port:
            return PortInUseError(
                f"port {port} is in use", hint="choose another with '--port', or 0 for a free one"
            )
        if self.is_gpu:
            return EngineError(
                "the engine offers no GPU",
                hint="install the NVIDIA driver and its container toolkit, or leave '--gpus' out",
            )
        return EngineError(f"the engine did not start it: {self._said}")


def _started(
    engine: APIClient,
    settings: ContainerSettings,
    name: str | None,
    ports: Mapping[int, int],
    *,
    has_gpus: bool,
) -> str:
    from docker.errors import APIError
    from docker.types import DeviceRequest

    host = dict(settings.host)
    if has_gpus:
        host["device_requests"] = [DeviceRequest(count=settings.gpu_count, capabilities=[["gpu"]])]
    # No number lets the engine choose a free port.
    host["port_bindings"] = {
        inside: (ADDRESS, port) if port else (ADDRESS,) for inside, port in ports.items()
    }
    config = engine.create_host_config(**host)
    identity = ""
    try:
        made = engine.create_container(name=name, host_config=config, **settings.config)
        identity = str(made["Id"])
        engine.start(identity)
    except BaseException as cause:
        if identity:
            _remove(engine, identity, grace_s=0)
        if isinstance(cause, APIError):
            said = str(cause.explanation or cause)
            raise _RefusedStartError(said, has_gpus=has_gpus) from cause
        raise
    return identity


def _host_port(engine: APIClient, identity: str, container_port: int) -> int:
    ports = engine.inspect_container(identity)["NetworkSettings"]["Ports"] or {}
    bound = ports.get(f"{container_port}/tcp")
    if bound:
        return int(bound[0]["HostPort"])
    _refuse_ended(engine, identity)
    raise EngineError("the engine did not publish the port of the container")


def _wait(engine: APIClient, identity: str, port: int, within_s: float) -> None:
    """Return when the container answers; raises NotReadyError."""
    deadline = time.monotonic() + within_s
    while not _answers(port):
        _refuse_ended(engine, identity)
        if time.monotonic() > deadline:
            raise NotReadyError(
                f"it did not answer within {within_s:g} s",
                hint="'modelpack image inspect' shows its entry point and port",
                log_lines=_last_lines(engine, identity),
            )
        time.sleep(_ASK_EVERY_S)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=2)
    try:
        connection.request("GET", "/readyz", headers={"Host": "localhost"})
        return connection.getresponse().status != http.HTTPStatus.SERVICE_UNAVAILABLE
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _refuse_ended(engine: APIClient, identity: str) -> None:
    inspected = engine.inspect_container(identity)
    state = inspected["State"]
    if state.get("Running"):
        return
    status = int(state.get("ExitCode") or 0)
    hint = None
    message = f"the container ended with status {status} before it was ready"
    if _was_out_of_memory(inspected):
        message = "the container was out of memory before it was ready"
        hint = "give it more with '--memory'"
    lines = _last_lines(engine, identity)
    if hint is None and lines:
        hint = f"it said at last: {lines[-1]}"
    raise NotReadyError(message, hint=hint, log_lines=lines)


def _was_out_of_memory(inspected: dict[str, Any]) -> bool:
    """Say so also when the engine does not: it hears of it beside the end, and may be too late.

    Nothing else sends SIGKILL to a container that has a limit and that nobody stops.
    """
    state, limit = inspected["State"], inspected["HostConfig"].get("Memory")
    return bool(state.get("OOMKilled") or (limit and state.get("ExitCode") == _KILLED))


def _last_lines(engine: APIClient, identity: str) -> list[str]:
    said = engine.logs(identity, tail=_LAST_LINES).decode(errors="replace")
    return [_one_line(line) for line in said.splitlines() if line.strip()]


def _remove(engine: APIClient, identity: str, *, grace_s: int) -> None:
    from docker.errors import APIError, NotFound

    with suppress(NotFound):
        if grace_s:
            with suppress(APIError):
                engine.stop(identity, timeout=grace_s)
        engine.remove_container(identity, v=True, force=True)


def _not_found(name: str, why: str) -> NotFoundError:
    return NotFoundError(
        f"no image '{shown(name)}': {why}",
        hint="'modelpack containerize' makes one, 'docker images' lists them",
    )


@contextmanager
def _engine(what: str) -> Iterator[APIClient]:
    """Give a client and turn what goes wrong into errors of ours."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    from modelpack.image import connect

    try:
        with connect() as client:
            yield client
    except (DockerException, RequestException) as cause:
        said = str(getattr(cause, "explanation", None) or cause)
        raise EngineError(f"the engine did not {what}: {_one_line(said)}") from cause


def _one_line(text: str) -> str:
    return shown(" ".join(text.split()))
