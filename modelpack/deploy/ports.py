"""Takes ports of this machine without a moment in which somebody else could have them.

    reserve(host, port) ──► bound, does not listen: who else binds with SO_REUSEADDR may listen there
    listen(host, port)  ──► listening, with a queue for those who come while nobody accepts

A port that is bound is never given to an outgoing connection, nor to who binds port 0 (ip(7),
``ip_local_port_range``; socket(7), SO_REUSEADDR: on Linux a bound socket gives way to a listening
one only where both have the option).  So a process that is started later finds its port free.
"""

from __future__ import annotations

import errno
import socket

from modelpack.errors import PortInUseError, UsageError

BACKLOG = 2048


def reserve(host: str, port: int = 0) -> socket.socket:
    """Return a socket that keeps the port; 0 takes a free one.

    Raises PortInUseError, and UsageError for an address that this machine does not have.
    """
    return _bound(host, port, listens=False)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there and does not block; raises as ``reserve``."""
    return _bound(host, port, listens=True)


def port_of(holder: socket.socket) -> int:
    """Return the port that a socket is bound to."""
    port: int = holder.getsockname()[1]
    return port


def check_port_is_free(host: str, port: int) -> None:
    """Raise PortInUseError when something listens there; raises as ``reserve``."""
    reserve(host, port).close()


def free_port(host: str) -> int:
    """Return a port that nobody has at this moment."""
    with reserve(host) as holder:
        return port_of(holder)


def _bound(host: str, port: int, *, listens: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    holder = socket.socket(family)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        holder.bind((host, port))
        if listens:
            holder.listen(BACKLOG)
        holder.setblocking(False)
    except OSError as cause:
        holder.close()
        raise _explained(cause, host, port) from cause
    return holder


def _explained(cause: OSError, host: str, port: int) -> PortInUseError | UsageError:
    why = (cause.strerror or str(cause)).lower()
    if cause.errno in (errno.EADDRINUSE, errno.EACCES):
        hint = "choose another with '--port', or 0 for a free one"
        return PortInUseError(f"port {port} of '{host}' cannot be used: {why}", hint=hint)
    hint = "use an address of this machine, such as 127.0.0.1 or 0.0.0.0"
    return UsageError(f"deploy.host: '{host}' cannot be listened at: {why}", hint=hint)
