"""Talks to a Docker engine, or to whatever speaks its interface: where it is, what it has.

    DOCKER_HOST ─► the context in use ─► the usual socket ──connect──► APIClient

Both of Docker's builders keep their images here: ``DockerImages`` is what they share.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelpack.errors import EngineError, ToolMissingError
from modelpack.image.engines.bases import check_python
from modelpack.image.engines.following import one_line
from modelpack.image.engines.orders import ImageResult
from modelpack.image.engines.scratch import scratch
from modelpack.image.engines.tunnel import CHECK_SSH, tunnel
from modelpack.image.plan import ImagePlan
from modelpack.progress import Progress

if TYPE_CHECKING:
    from docker import APIClient
    from requests import Response

    from modelpack.image.reading import ReadImage

_USUAL_SOCKET = "unix:///var/run/docker.sock"
_NO_ENGINE = (
    "start one, build without with --engine none, or write a Dockerfile and its files with "
    "--dockerfile DIR"
)
_SCHEMES = ("unix://", "tcp://", "ssh://")


@contextmanager
def connect() -> Iterator[APIClient]:
    """Give a client of the local engine; its connections are closed at the end.

    ``DOCKER_HOST`` says where it is, else the Docker context that is in use, else the usual socket.
    Raises ToolMissingError when none answers.
    """
    from docker import APIClient
    from docker.errors import DockerException
    from docker.utils import kwargs_from_env

    address = engine_address()
    url = tunnel(address) if address.startswith("ssh://") else address
    try:
        settings: dict[str, Any] = {**kwargs_from_env(), "base_url": url}
        _knock(url)
        version = _version(settings)
    except (DockerException, OSError) as cause:
        raise ToolMissingError(
            f"no container engine answers at '{address}'",
            hint=CHECK_SSH if address.startswith("ssh://") else _NO_ENGINE,
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


def engine_address() -> str:
    """Return where the engine is: ``unix://``, ``tcp://`` or ``ssh://``."""
    return os.environ.get("DOCKER_HOST") or _context_host() or _USUAL_SOCKET


@dataclass(frozen=True, slots=True)
class DockerImages:
    """The images of a Docker engine."""

    client: APIClient

    def result(self, name: str) -> ImageResult:
        """Return what the engine has under a name."""
        made = inspect(self.client, name)
        return ImageResult(name, str(made["Id"]), int(made["Size"]))

    def ensure_bases(self, plan: ImagePlan, progress: Progress) -> None:
        """Pull what the plan builds on and the engine lacks; raises EngineError."""
        for image in filter(None, (plan.base.python_image, plan.base.image)):
            _ensure_base(self.client, image, progress)
        config = inspect(self.client, plan.base.image).get("Config") or {}
        check_python(plan, config.get("Env") or [])
        for warning in plan.warnings_on(config.get("Env") or []):
            progress.note(f"warning: {warning}")

    def rename(self, image: ImageResult, name: str) -> ImageResult:
        """Give an image another name instead of its own."""
        repository, _, tag = name.rpartition(":")
        with translated(f"name the image '{name}'"):
            self.client.tag(image.id, repository, tag, force=True)
            self.client.remove_image(image.reference, noprune=True)
        return ImageResult(name, image.id, image.size_bytes)

    def remove(self, image: ImageResult) -> None:
        """Remove an image under its name."""
        with translated(f"remove the image '{image.reference}'"):
            self.client.remove_image(image.reference)

    @contextmanager
    def read(self, image: ImageResult) -> Iterator[ReadImage]:
        """Open an image to look into it; it is written into the cache meanwhile."""
        from modelpack.image.reading import open_image

        with scratch("exports") as folder:
            file = folder / "image.tar"
            with file.open("wb") as out, translated(f"hand out '{image.reference}'"):
                for chunk in self.client.get_image(image.reference):
                    out.write(chunk)
            with open_image(f"docker-archive:{file}") as found:
                yield found


@contextmanager
def translated(goal: str) -> Iterator[None]:
    """Turn what the engine or the way to it raises into an error of ours."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as cause:
        said = one_line(str(cause.explanation or cause))
        raise EngineError(f"the engine did not {goal}: {said}") from cause
    except (DockerException, RequestException) as cause:
        raise EngineError(
            f"the engine did not {goal}: {one_line(str(cause))}",
            hint="see whether it still runs, then try again",
        ) from cause


def inspect(client: APIClient, image: str) -> dict[str, Any]:
    """Return what the engine knows of an image."""
    found: dict[str, Any] = client.inspect_image(image)  # type: ignore[no-untyped-call]
    return found


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
    return host if isinstance(host, str) and host.startswith(_SCHEMES) else None


def _ensure_base(client: APIClient, image: str, progress: Progress) -> None:
    from docker.errors import DockerException, ImageNotFound

    try:
        inspect(client, image)
        return
    except ImageNotFound:
        pass
    said = ""
    with progress.step(f"pull {image}"):
        try:
            for event in client.pull(image, stream=True, decode=True):
                said = event.get("error", said)
            inspect(client, image)
        except DockerException as cause:
            why = said or getattr(cause, "explanation", None) or str(cause)
            raise EngineError(
                f"the base '{image}' is not in the engine and cannot be pulled: {one_line(why)}",
                hint="pull or load it beforehand, or name another one with --base",
            ) from cause
