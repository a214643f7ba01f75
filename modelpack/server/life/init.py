"""Process 1 of a container: passes signals on, buries the dead, says how the end came.

    the engine's signals ──► process 1 ──► the program, its child
    orphans that end     ──► process 1, which reaps them
    the program's end    ──► the status of the container

The kernel gives process 1 two duties that no ordinary program knows of.  A signal that it has no
handler for does nothing, so a container that is stopped while its program still starts would hang
until it is killed; and every process whose parent is gone becomes its child and stays a zombie
unless it is reaped.  Here process 1 has nothing else to do: the program is its child, and what the
program starts is waited for by the program alone.

Two ways in, the same duties:

* ``stand_by()`` forks an interpreter that has hardly begun: the server's way, for about a millisecond;
* ``python3 -I -S init.py PROGRAM ARGUMENT ...`` starts any program: this file, alone, is the entry
  point of the image of a wrapped one, under whatever Python 3.7 or later its base has.

So nothing of modelpack is imported here.  In any other process than 1 there are no such duties.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

CGROUP = "/sys/fs/cgroup"
MORE_MEMORY = "give it more memory, or let it need less: fewer replicas, smaller batches"

TOLD = (signal.SIGTERM, signal.SIGINT)
"""Signals that are always passed on: they mean the end."""
_OTHERS = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
HEARD = (*TOLD, *_OTHERS, signal.SIGCHLD)

_EXIT_NOT_FOUND, _EXIT_NOT_STARTED, _EXIT_BY_SIGNAL = 127, 126, 128  # as shells have it
_NO_LIMIT = 1 << 60  # the older control group says a number near 2**63


def stand_by() -> None:
    """Let what follows run in a child of process 1; returns in that child alone.

    In any other process it does nothing, unless ``$MODELPACK_SLEEPS`` says that it is to wait until a
    server is wanted (``sleeping``).  To be called before there are threads.
    """
    if os.environ.get("MODELPACK_SLEEPS"):
        from modelpack.server.life.sleeping import sleep

        sleep()
        return
    if os.getpid() != 1:
        return
    child = fork(hold(HEARD))
    if child:
        os._exit(_watch(child, is_picky=True))


def main(words: list[str]) -> int:
    """Run a program to its end; returns its status, 128 and the signal's number when one ended it."""
    if os.getpid() != 1:
        return _become(words)
    child = fork(hold(HEARD))
    if child == 0:
        os._exit(_become(words))
    return _watch(child)


def hold(numbers: tuple[int, ...]) -> set[int | signal.Signals]:
    """Hold signals back until they are waited for; returns which ones were held back before."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, nobody would be told of the dead
    return signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


def fork(before: set[int | signal.Signals]) -> int:
    """Fork while signals are held back; the child gets a group of its own, and they are free there.

    A terminal's Ctrl-C goes to the group in front, so that the child gets it once: not from the
    terminal and from process 1.
    """
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        _come_to_the_front()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return child


def _come_to_the_front() -> None:
    """Let this process's group be the one that the terminal speaks to, where there is one."""
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # from the back it would stop us
    with suppress(OSError):
        os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, before)


def _become(words: list[str]) -> int:
    """Become the program; returns a status when that fails."""
    for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them, and a program would inherit that
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvp(words[0], words)  # noqa: S606 - the program that the image was made for
    except FileNotFoundError:
        _say(f"error[not-found]: '{words[0]}' is not there, or what it needs to start is not")
        _say("  help: link it statically, or build on a base with its loader and libraries")
        return _EXIT_NOT_FOUND
    except OSError as error:
        _say(f"error[not-started]: '{words[0]}' does not start: {error.strerror}")
        _say("  help: it must be executable, and made for the processor of this machine")
        return _EXIT_NOT_STARTED


def _watch(child: int, *, is_picky: bool = False) -> int:
    """Do the duties until the child has ended; returns the status for the container.

    ``is_picky``: other signals than the two that mean the end are passed on only to a child that
    has a handler for them, as it would be were it process 1 itself.
    """
    while True:
        number = signal.sigwait(HEARD)
        if number == signal.SIGCHLD:
            status = bury_the_dead(child)
            if status is not None:
                return status_of(status)
        elif number in TOLD or not is_picky or handles(child, number):
            with suppress(ProcessLookupError):
                os.kill(child, number)


def bury_the_dead(child: int) -> int | None:
    """Reap everybody who has ended; returns how the child did, if it was among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = status


def handles(pid: int, number: int) -> bool:
    """Say whether a process has a handler of its own for a signal."""
    with suppress(OSError):
        for line in _lines(f"/proc/{pid}/status"):
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def status_of(status: int) -> int:
    """Return the status for the container from what the kernel says, and say why it was killed."""
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    if why := why_killed(number):
        _say(f"error[out-of-memory]: killed, because {why}")
        _say(f"  help: {MORE_MEMORY}")
    return _EXIT_BY_SIGNAL + number


def why_killed(number: int, cgroup: str = CGROUP) -> str | None:
    """Return why a process of this container was probably ended by a signal; None: unknown.

    Without a limit there is no container, or the count is that of a whole machine since it started.
    """
    limit = memory_limit(cgroup)
    if number != signal.SIGKILL or limit is None or not was_out_of_memory(cgroup):
        return None
    return f"the container's memory limit of {limit / 1e6:.0f} MB was reached"


def was_out_of_memory(cgroup: str = CGROUP) -> bool:
    """Say whether the kernel has killed a process of this container for want of memory."""
    for name in ("memory.events", "memory/memory.oom_control"):
        with suppress(OSError, ValueError):
            pairs = (line.split() for line in _lines(f"{cgroup}/{name}"))
            return any(pair[0] == "oom_kill" and int(pair[1]) > 0 for pair in pairs)
    return False


def memory_limit(cgroup: str = CGROUP) -> int | None:
    """Return how many bytes this container may use; None: as many as there are."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError, IndexError):  # "max" is no number
            limit = int(_lines(f"{cgroup}/{name}")[0])
            return limit if limit < _NO_LIMIT else None
    return None


def _lines(path: str) -> list[str]:
    with open(path) as file:  # noqa: PTH123 - pathlib takes longer to load than all of this to run
        return file.read().splitlines()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        _say("usage: init.py PROGRAM ARGUMENT ...")
        sys.exit(2)
    sys.exit(main(sys.argv[1:]))
