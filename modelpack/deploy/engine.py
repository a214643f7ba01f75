"""The few calls that the docker target makes: a protocol, and the real thing over the Docker SDK.

    DockerTarget ──► Engine ─┬─ DockerEngine ──► the engine that DOCKER_HOST or the context names
                             └─ a fake, in tests

Every call opens a connection and closes it; what an engine refuses becomes an error of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

from modelpack.errors import EngineError, ModelpackError, PortInUseError, ToolMissingError

if TYPE_CHECKING:
    from docker import APIClient

Description = Mapping[str, Any]
"""What an engine says of a container or an image (``docker inspect``)."""


_NO_DRIVER = "its machine needs NVIDIA's container toolkit, or take out 'resources.accelerator'"

RestartPolicy = Literal["no", "unless-stopped"]


class Engine(Protocol):
    """A container engine.  Every call raises ToolMissingError when none answers, else EngineError."""

    def host(self) -> str | None:
        """Return the name of the engine's machine, or None when it is this one."""

    def image(self, reference: str) -> Description | None:
        """Describe an image, or return None when there is none."""

    def container(self, name: str) -> Description | None:
        """Describe a container, or return None when there is none."""

    def names(self, label: str) -> list[str]:
        """Return the names of all containers that have the label (``KEY`` or ``KEY=VALUE``)."""

    def create(self, name: str, settings: Mapping[str, Any], host: Mapping[str, Any]) -> None:
        """Make a container; it does not run yet."""

    def start(self, name: str) -> None:
        """Run a container that does not run; raises PortInUseError."""

    def stop(self, name: str, *, grace_s: int) -> None:
        """End a container, by force after its grace; it is not started again by the engine."""

    def update(self, name: str, *, restart_policy: RestartPolicy) -> None:
        """Change when the engine starts a container again by itself."""

    def run(self, name: str, argv: Sequence[str]) -> tuple[int, str]:
        """Run a program in a container that runs; returns its exit status and what it wrote."""

    def remove(self, name: str) -> None:
        """Remove a container with its volumes, by force; nothing happens when there is none."""

    def remove_volume(self, name: str) -> None:
        """Remove a volume; nothing happens when there is none."""

    def logs(
        self, name: str, *, follow: bool, tail: int | None, timestamps: bool = False
    ) -> Iterator[bytes]:
        """Yield what a container wrote, in pieces of any length.

        With ``timestamps`` each line begins with its time, RFC 3339, and a space.
        """


class DockerEngine:
    """The engine that ``DOCKER_HOST`` or the Docker context names, else that of this machine."""

    def host(self) -> str | None:
        """Return the name of the engine's machine, or None when it is this one."""
        return self._host

    @cached_property
    def _host(self) -> str | None:
        from modelpack.image.engines.docker import engine_address
        from modelpack.image.engines.tunnel import host_of

        return host_of(engine_address())

    def image(self, reference: str) -> Description | None:
        """Describe an image, or return None when there is none."""
        from docker.errors import NotFound

        with _connect(f"look at the image '{reference}'") as client:
            try:
                return dict(client.inspect_image(reference))  # type: ignore[no-untyped-call]
            except NotFound:
                return None

    def container(self, name: str) -> Description | None:
        """Describe a container, or return None when there is none."""
        from docker.errors import NotFound

        with _connect(f"look at the container '{name}'") as client:
            try:
                return dict(client.inspect_container(name))
            except NotFound:
                return None

    def names(self, label: str) -> list[str]:
        """Return the names of all containers that have the label, running or not."""
        with _connect("list the containers") as client:
            found = client.containers(all=True, filters={"label": label})
        return [one["Names"][0].removeprefix("/") for one in found if one.get("Names")]

    def create(self, name: str, settings: Mapping[str, Any], host: Mapping[str, Any]) -> None:
        """Make a container; it does not run yet."""
        with _connect(f"make the container '{name}'") as client:
            config = client.create_host_config(**host)
            client.create_container(name=name, host_config=config, **settings)

    def start(self, name: str) -> None:
        """Run a container that does not run; raises PortInUseError."""
        with _connect(f"start the container '{name}'") as client:
            client.start(name)

    def stop(self, name: str, *, grace_s: int) -> None:
        """End a container, by force after its grace; it is not started again by the engine."""
        with _connect(f"stop the container '{name}'") as client:
            client.stop(name, timeout=grace_s)

    def update(self, name: str, *, restart_policy: RestartPolicy) -> None:
        """Change when the engine starts a container again by itself."""
        with _connect(f"change the container '{name}'") as client:
            policy: Any = {"Name": restart_policy}
            client.update_container(name, restart_policy=policy)

    def run(self, name: str, argv: Sequence[str]) -> tuple[int, str]:
        """Run a program in a container that runs; returns its exit status and what it wrote."""
        with _connect(f"run a program in the container '{name}'") as client:
            process = client.exec_create(name, list(argv))
            said = client.exec_start(process["Id"])
            status = client.exec_inspect(process["Id"])["ExitCode"]
        return int(status), bytes(said).decode(errors="replace")

    def remove(self, name: str) -> None:
        """Remove a container with its volumes, by force; nothing happens when there is none."""
        from docker.errors import NotFound

        with _connect(f"remove the container '{name}'") as client:
            try:
                client.remove_container(name, v=True, force=True)
            except NotFound:
                return

    def remove_volume(self, name: str) -> None:
        """Remove a volume; nothing happens when there is none."""
        from docker.errors import NotFound

        with _connect(f"remove the volume '{name}'") as client:
            try:
                client.remove_volume(name)
            except NotFound:
                return

    def logs(
        self, name: str, *, follow: bool, tail: int | None, timestamps: bool = False
    ) -> Iterator[bytes]:
        """Yield what a container wrote, in pieces of any length."""
        with _connect(f"read the log of '{name}'") as client:
            last: Literal["all"] | int = "all" if tail is None else tail
            yield from client.logs(
                name, stream=True, follow=follow, tail=last, timestamps=timestamps
            )


@contextmanager
def _connect(what: str) -> Iterator[APIClient]:
    """Give a client for one call and turn what goes wrong into errors of ours."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    from modelpack.image import connect

    try:
        with connect() as client:
            yield client
    except ToolMissingError as error:
        if "'ssh://" not in error.message:
            error.hint = "start one, or deploy with '--target local'"
        raise
    except ModelpackError:
        raise
    except APIError as cause:
        said = str(cause.explanation or cause)
        if "port is already allocated" in said or "address already in use" in said:
            raise PortInUseError(
                f"the engine cannot {what}: its port is in use",
                hint="choose another with '--port', or 0 for a free one",
            ) from cause
        hint = _NO_DRIVER if "could not select device driver" in said else None
        raise EngineError(f"the engine cannot {what}: {_one_line(said)}", hint=hint) from cause
    except (DockerException, RequestException, OSError) as cause:
        raise EngineError(f"the engine did not {what}: {_one_line(str(cause))}") from cause


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:297] + "..."
