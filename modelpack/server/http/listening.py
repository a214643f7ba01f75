"""Takes the address to listen on, for this process alone.

    host, port ──listen_on──► listening socket, or PortInUseError / UsageError
    socket ──url_of──► http://127.0.0.1:3000

The socket listens from the first moment: two servers that start at once cannot both believe that
the port is theirs, and connections that come during start-up wait instead of failing.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

from modelpack.config.settings import ServerSettings
from modelpack.errors import PortInUseError, UsageError

BACKLOG = 2048


def listen_on(host: str, port: int, *, flag: str = "--port", listens: bool = True) -> socket.socket:
    """Return a listening socket, or one that is only bound; port 0 takes a free one.

    ``flag`` chooses the port.  Raises PortInUseError and UsageError.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as cause:
        raise UsageError(f"'{host}' is not a host to listen on", hint=_HOST_HINT) from cause
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        # Lets a restart bind while old connections linger; it never shares a port on Linux.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        listener.bind(address)
        if listens:
            listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as cause:
        listener.close()
        raise _explained(cause, host, port, flag) from cause
    return listener


_HOST_HINT = "use an address of this machine, such as 127.0.0.1 or 0.0.0.0"


def _explained(cause: OSError, host: str, port: int, flag: str) -> PortInUseError | UsageError:
    if cause.errno == errno.EADDRINUSE:
        return PortInUseError(
            f"{_join(host, port)} is in use",
            hint=f"stop what listens there, or choose another with {flag}",
        )
    if cause.errno == errno.EACCES:
        return UsageError(
            f"may not listen on port {port}", hint=f"choose one of 1024 or above with {flag}"
        )
    return UsageError(f"'{host}' is not an address of this machine", hint=_HOST_HINT)


def url_of(listener: socket.socket, *, is_tls: bool = False) -> str:
    """Return a URL that reaches the socket from this machine."""
    host, port = listener.getsockname()[:2]
    return f"http{'s' if is_tls else ''}://{_join(_ANYWHERE.get(host, host), port)}"


_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (compared, not bound)


def addresses(url: str, settings: ServerSettings) -> dict[str, Any]:
    """Return where a server answers: its URL, and for gRPC an address of the same form."""
    if settings.grpc_port is None:
        return {"url": url}
    host = _ANYWHERE.get(settings.host, settings.host)
    return {"url": url, "grpc": _join(host, settings.grpc_port)}


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def refuse_newcomers(fd: int) -> None:
    """Let the kernel ignore new connections on a listening socket; those begun can be completed.

    Closing a listening socket resets the connections that the kernel has finished, or is just
    finishing, for it.  With their first packets dropped no new ones begin, the queue can be
    emptied, and a client that tries meanwhile tries again a second later.  Linux only; elsewhere
    it does nothing, and a connection of that very moment may be lost.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    # Classic BPF over the TCP header: drop what has SYN set in the flags at byte 13.
    load_flags, test_syn = struct.pack("HBBI", 0x30, 0, 0, 13), struct.pack("HBBI", 0x45, 0, 1, 2)
    drop, keep = struct.pack("HBBI", 0x06, 0, 0, 0), struct.pack("HBBI", 0x06, 0, 0, 0xFFFFFFFF)
    program = ctypes.create_string_buffer(load_flags + test_syn + drop + keep)
    filter_ = struct.pack("HP", 4, ctypes.addressof(program))
    with suppress(OSError), socket.socket(fileno=os.dup(fd)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)


_SO_ATTACH_FILTER = 26


def is_readable(fd: int) -> bool:
    """Say whether something came in on a socket that nobody has read yet."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def unsent_bytes(fd: int) -> int:
    """Return how much the kernel holds of what was written and the peer has not confirmed."""
    import fcntl
    import termios

    try:
        answer = fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0" * 4)
    except (OSError, ValueError):  # it is closed
        return 0
    return int.from_bytes(answer, sys.byteorder)
