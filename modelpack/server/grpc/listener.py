"""The port for gRPC, taken before anything is loaded and shared by the workers.

    reserve(host, port) ──► a bound socket that nobody connects to, and that keeps others off
    each process        ──► listens beside it (SO_REUSEPORT); the kernel deals out connections

gRPC opens its sockets itself, and a second server of the same user would silently share the port
with the first.  So the reservation is bound without SO_REUSEPORT, which fails where anybody is, and
gets it afterwards.
"""

from __future__ import annotations

import socket
from importlib.util import find_spec

from modelpack.errors import UsageError
from modelpack.server.http.listening import listen_on


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


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of what it is inside
        return False
