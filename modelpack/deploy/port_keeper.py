"""Holds the port of a deployment, and says how many servers stand at it; standard library only.

    clients ──► listening socket, its queue ◄──accept── servers, each with a copy of the socket
    server ──join──► keeper ──accept, with the socket──► server takes connections by itself
    deploy ──switch──► keeper ──accept──► new group … all accepting ──pause──► every other group
    servers ──load──► keeper ──formula──► Pool.want(group, count) ──► servers start and end

    python -I -S -c PROGRAM serve              keep MODELPACK_HOST:MODELPACK_PORT until SIGTERM
    python -I -S -c PROGRAM ask WORD …         give one order and print the answer, JSON

No byte of a request passes through here: the keeper hands out its listening socket (SCM_RIGHTS,
unix(7)) and the kernel does the rest.  What always holds: the socket stays open whatever becomes of
the servers, so who connects while nobody accepts waits and is not refused; the old group is paused
only when the new one accepts; a server that is gone is forgotten as its line ends.  A server that
may not accept any more hands its open connections back, and who accepts gets them; while nobody
does they wait here, and what their clients send waits in the kernel.

Lines are SOCK_SEQPACKET on ``MODELPACK_PORT_KEEPER``, one packet a message, words by spaces.

* A server says ``join GROUP HOST`` (behind it ``also``: it accepts at several sockets), ``ready``, ``unready``, ``accepting``, ``paused``, ``leaving``,
  ``load NOW EVER`` (requests that run and wait there; those it ever answered), ``adopt`` with a
  connection.  It is told ``accept SLOT`` with two descriptors (the socket, the shared counts),
  ``also`` with another socket to accept at, ``pause``, ``adopt`` with a connection.
* Process 1 of a container that sleeps says ``sleeps GROUP HOST STATE SERIAL POLICY`` (its state is
  ``asleep``, ``awake`` or ``ending``; the policy is JSON without spaces, and the one with the
  highest serial number counts), then ``awake``, ``ending``, ``asleep``, ``crashed STATUS``.  It is
  told ``start``, ``stop``, and ``ready`` once its server has joined.
* Orders: ``hold GROUP …``; ``wake GROUP COUNT`` (for a trial, whatever the load: as many as the group
  that has the port, if that has more; not done while no policy of it is known); ``switch GROUP COUNT
  SECONDS`` (of a group that is scaled as many as are wanted, whatever COUNT says); ``scale GROUP
  SERIAL POLICY``; ``status``.

Without an order ever, as after a restart of the machine, every group accepts: what an engine
starts again by itself was found healthy once.  The parts are in ``modelpack.deploy.keeping``.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from pathlib import Path

from modelpack.deploy.keeping.keeper import BACKLOG, Keeper, say

__all__ = ["Keeper", "ask", "listen", "main", "say", "serve"]


def listen(address: tuple[str, int]) -> socket.socket:
    """Return a listening socket with a long queue; raises OSError."""
    listener = socket.create_server(address, backlog=BACKLOG)
    listener.setblocking(False)
    return listener


def serve(path: Path, address: tuple[str, int]) -> None:
    """Keep the port and say which; ends with SystemExit at SIGTERM and SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # process 1 has no default for them
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # each parked connection is a descriptor
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    listener = listen(address)
    keeper = Keeper(listener, path.with_suffix(".json"))
    keeper.open(path)
    say({"event": "keeping-port", "port": listener.getsockname()[1]})
    while True:
        keeper.turn()


def ask(path: Path, words: list[str]) -> str:
    """Give one order; returns the answer, raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.connect(str(path))
        line.send(" ".join(words).encode())
        return line.recv(65536).decode()


def main(words: list[str]) -> int:
    """Do what the first word says; returns the exit status."""
    env = os.environ
    path = Path(env["MODELPACK_PORT_KEEPER"])
    if words[0] == "serve":
        serve(path, (env["MODELPACK_HOST"], int(env["MODELPACK_PORT"])))
    try:
        sys.stdout.write(ask(path, words[1:]) + "\n")
    except OSError as error:
        sys.stderr.write(f"the keeper of the port does not answer: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
