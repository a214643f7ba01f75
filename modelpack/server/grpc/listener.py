"""The port for gRPC, taken before anything is loaded and shared by the workers.

    reserve(host, port) ──► a bound socket that nobody connects to, and that keeps others off
    each process        ──► listens beside it (SO_REUSEPORT); the kernel deals out connections

gRPC opens its sockets itself, and a second server of the same user would silently share the port
with the first.  So the reservation is bound without SO_REUSEPORT, which fails where anybody is, and
gets it afterwards.

A process that ends lets the kernel ignore newcomers on the sockets that gRPC listens on, and empties
their queues first (``turn_away``): closing them would reset whoever stands there, and a client of gRPC
that is reset asks nobody else for a second.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

from modelpack.errors import UsageError
from modelpack.server.http.listening import is_readable, listen_on, refuse_newcomers

_OWN = Path("/proc/self/fd")
_STEP_S = 0.01
_QUIET_STEPS = 3


def reserve(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address, which does not listen; port 0 takes a free one.

    Raises PortInUseError, and UsageError when it is no address of this machine or the extra
    ``grpc`` is not installed.
    """
    for module in ("grpc", "google.protobuf"):
        if not _is_installed(module):
            raise UsageError(
                f"gRPC needs the extra 'grpc': '{module}' is not installed",
                hint="pip install 'modelpack-cli[grpc]', or leave --grpc-port out; "
                "a bundle is built with it when modelpack.yaml sets grpc_port",
            )
    holder = listen_on(host, port, flag="--grpc-port", listens=False)
    # Once bound, whoever does not share the port as gRPC does is kept off.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return holder


def target_of(host: str, port: int) -> str:
    """Return an address as gRPC writes it, of the family that ``reserve`` takes."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return f"[{address[0]}]:{port}" if family == socket.AF_INET6 else f"{address[0]}:{port}"


async def turn_away(port: int, limit_s: float) -> None:
    """Return when nobody waits to be accepted on the port by this process, and nobody will."""
    listeners = listening_on(port)
    try:
        for one in listeners:
            refuse_newcomers(one.fileno())
        end, quiet = monotonic() + limit_s, 0
        while listeners and quiet < _QUIET_STEPS and monotonic() < end:
            quiet = 0 if any(is_readable(one.fileno()) for one in listeners) else quiet + 1
            await asyncio.sleep(_STEP_S)
    finally:
        for one in listeners:
            one.close()


def listening_on(port: int) -> list[socket.socket]:
    """Return copies of this process's sockets that listen on a port, as gRPC has opened them.

    None where there is no ``/proc``.
    """
    found = []
    for entry in _OWN.iterdir() if _OWN.is_dir() else ():
        with suppress(OSError):  # closed by now
            if not entry.is_socket():
                continue
            one = socket.socket(fileno=os.dup(int(entry.name)))
            is_listening = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if is_listening and one.family != socket.AF_UNIX and one.getsockname()[1] == port:
                found.append(one)
            else:
                one.close()
    return found


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of what it is inside
        return False
