"""Changes the number of replicas of a running server, through the Unix socket it is managed on.

scale(socket, 3) ──POST /scale {"replicas": 3}──► the server, 200 once they are there
"""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path

from modelpack.errors import BenchError

_WITHIN_S = 120.0


def scale(admin_socket: Path, replicas: int) -> None:
    """Ask for this many replicas and wait for them; raises BenchError when that is refused."""
    connection = _UnixConnection(admin_socket)
    try:
        body = json.dumps({"replicas": replicas})
        connection.request("POST", "/scale", body, {"content-type": "application/json"})
        with connection.getresponse() as answer:
            said = answer.read()
            if answer.status != 200:
                raise BenchError(f"it does not scale: {_why(said) or answer.status}")
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"it does not answer on its admin socket: {error}") from error
    finally:
        connection.close()


def _why(body: bytes) -> str:
    try:
        said = json.loads(body)
    except ValueError:
        return ""
    return str(said.get("detail") or said.get("title") or "") if isinstance(said, dict) else ""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, file: Path) -> None:
        super().__init__("localhost", timeout=_WITHIN_S)
        self._file = file

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._file))
