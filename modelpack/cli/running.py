"""Finds the servers that run on this machine, and speaks to them.

run/PID.json ──process alive?──► Running ──ask(method, path, body)──► the answer of its admin socket
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpack import paths
from modelpack.errors import ModelpackError, NotFoundError, UsageError, did_you_mean
from modelpack.server.life.channel import error_from
from modelpack.server.life.sockets import connect


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that runs."""

    pid: int
    service: str
    tag: str
    url: str
    grpc: str | None
    """``HOST:PORT`` of gRPC; None: it is not spoken."""
    socket: Path
    """Where it is managed."""

    @property
    def names(self) -> set[str]:
        """By which it can be named: process id, port, service."""
        ports = {address.rpartition(":")[2] for address in (self.url, self.grpc) if address}
        return {str(self.pid), self.service, *ports}

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        facts = {"pid": self.pid, "service": self.service, "tag": self.tag, "url": self.url}
        return {**facts, "grpc": self.grpc, "socket": str(self.socket)}

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return what the server answers; raises what it refuses with.

        There is no limit of time: a version may take long to load.
        """
        connection = _Connection(self.socket)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            value = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as cause:
            raise ModelpackError(
                f"the server of '{self.service}', process {self.pid}, does not answer",
                hint="see 'modelpack servers list'",
            ) from cause
        finally:
            connection.close()
        if answer.status >= 400:
            raise error_from({**value, "message": value["detail"]})
        return value


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = connect(self._path)


def all_running() -> list[Running]:
    """Return the servers that run, in the order in which they were started; forgets the others."""
    folder = paths.run_dir()
    if not folder.is_dir():
        return []
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    return [found for file in files if (found := _read(file)) is not None]


def find(name: str) -> Running:
    """Return the server of that process id, port or service.

    Raises NotFoundError, and UsageError when several answer to the name.
    """
    running = all_running()
    found = [one for one in running if name in one.names]
    if len(found) == 1:
        return found[0]
    if found:
        pids = ", ".join(str(one.pid) for one in found)
        raise UsageError(f"'{name}' is served {len(found)} times", hint=f"name one by pid: {pids}")
    near = did_you_mean(name, [one.service for one in running])
    raise NotFoundError(
        f"no server '{name}' runs here",
        hint=f"did you mean '{near}'?" if near else "see 'modelpack servers list'",
    )


def _read(file: Path) -> Running | None:
    """Return the server of a note; None, and the note is removed, when it does not run any more."""
    from modelpack.deploy.process import ProcessId

    try:
        value = json.loads(file.read_bytes())
        process = ProcessId.from_json(value)
        found = Running(
            pid=int(value["pid"]),
            service=str(value["service"]),
            tag=str(value["tag"]),
            url=str(value["url"]),
            grpc=str(value["grpc"]) if "grpc" in value else None,
            socket=Path(value["socket"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is just being written, or is no note of ours
    if process is None or not process.is_alive:
        file.unlink(missing_ok=True)
        file.with_suffix(".sock").unlink(missing_ok=True)
        return None
    return found
