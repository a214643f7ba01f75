"""The steps of a local deploy: what is remembered, then what the supervisor is told.

    bring_about   remember ─► wanted.json ─► order "load", or start a supervisor
    settle        remember the candidate as settled ─► load ─► it takes requests ─► the former ended
    revert        forget the candidate ─► load ─► it has ended

Each is safe to repeat: whatever a kill leaves behind, the files say what is wanted, and the next
one brings it about from there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelpack.deploy import command as files
from modelpack.deploy import orders, records, revisions, room
from modelpack.deploy.launch import launch
from modelpack.deploy.local_state import TARGET, state_of
from modelpack.deploy.memory import Kept, Memory, clash, keep
from modelpack.deploy.ports import port_of, reserve
from modelpack.deploy.spec import DeploymentSpec
from modelpack.deploy.state import NEEDS_START
from modelpack.errors import DeployError

SWITCH_S = 10.0
"""Longest that replicas which are ready may take to accept at a port that is given to them."""

_ANSWER_S = 10.0
_MARGIN_S = 5.0


@contextmanager
def holding_port(spec: DeploymentSpec, memory: Memory) -> Iterator[int]:
    """Yield the port of the deployment; nobody else can take it meanwhile.

    Raises PortInUseError, and UsageError for an address that this machine does not have.
    """
    host, port = spec.settings.host, spec.settings.port
    kept = [one for one in (memory.candidate, memory.settled) if one is not None]
    mine = [one.address for one in kept if memory.is_running]
    if port == 0:
        port = next((own for at, own in mine if at == host), 0)
    if any(own == port for _, own in mine):
        reserve(host).close()  # is it an address at all?
        yield port  # the supervisor has it
        return
    with reserve(host, port) as holder:
        yield port_of(holder)


def is_sound(name: str, memory: Memory, kept: Kept) -> bool:
    """Return whether a revision runs, or will once it need not give way any more."""
    is_waiting = memory.is_in_turns and kept is memory.settled
    return is_waiting or state_of(name, memory, kept)[0] not in NEEDS_START


def why_in_turns(name: str, memory: Memory, kept: Kept) -> str | None:
    """Return why a new revision cannot have processes beside the settled one; None: it can."""
    settled = memory.settled
    if settled is None or not memory.is_running:
        return None
    if alone := kept.command.alone or settled.command.alone:
        return f"only one at a time can have {alone}"
    group = memory.group(name, settled)
    leaders = [one.child for one in group.replicas if one.child] if group is not None else []
    needed, free = room.memory_of(leaders), room.free_memory()
    if free is None or needed <= free:
        return None
    return f"{needed / 1e6:,.0f} MB more are needed for both, and {free / 1e6:,.0f} MB are free"


def bring_about(name: str, former: Memory, wanted: Memory) -> Memory:
    """Have run what is wanted and return it with who runs it; raises DeployError.

    What is wanted is remembered first, so that one who is interrupted here can go back.
    """
    _keep(name, wanted)
    folder = files.folder_of(name)
    if former.is_running:
        if not _clashes(former, wanted):
            files.write_wanted(folder, wanted.wanted)
            try:
                answer = _ask(name, "load", environ=_environ(wanted))
            except OSError:
                pass  # it is of an older modelpack, or hangs
            else:
                _require_done(name, answer)
                return wanted
        former.stop()
    _keep(name, replace(wanted, supervisor=None))
    files.write_wanted(folder, wanted.wanted)
    started = replace(wanted, supervisor=launch(name, folder))
    _keep(name, started)
    return started


def settle(name: str, memory: Memory) -> None:
    """Give the port to the candidate, and let the former revision end; raises DeployError."""
    settled = memory.candidate or memory.settled
    found = bring_about(name, memory, replace(memory, settled=settled, candidate=None))
    if not _await(name, "switched", SWITCH_S)["done"]:
        if memory.candidate is not None:
            bring_about(name, found, replace(memory, supervisor=found.supervisor))
        raise DeployError(
            f"'{name}' does not take requests at its port",
            hint="the former revision goes on; see 'modelpack deployments logs', then deploy again",
        )
    _finish(name, found, memory.grace_s)


def revert(name: str, memory: Memory) -> None:
    """Let the candidate end, and the settled revision, if there is one, go on; raises DeployError."""
    if memory.settled is None:
        memory.stop()
        remove(name)
        return
    found = bring_about(name, memory, replace(memory, candidate=None))
    _finish(name, found, memory.grace_s)


def remove(name: str) -> None:
    """Leave nothing of a deployment that has been stopped."""
    shutil.rmtree(files.folder_of(name), ignore_errors=True)
    records.forget(name)
    revisions.forget(name)


def _finish(name: str, memory: Memory, grace_s: float) -> None:
    """Return when only the settled revision is left, and remove the bundles of others."""
    _await(name, "alone", grace_s + _MARGIN_S)
    if memory.is_in_turns:
        bring_about(name, memory, replace(memory, is_in_turns=False))
    assert memory.settled is not None  # noqa: S101
    cwd = Path(memory.settled.command.cwd)
    for folder in files.folder_of(name).iterdir():
        if folder.is_dir() and folder not in (cwd, *cwd.parents):
            shutil.rmtree(folder, ignore_errors=True)


def _await(name: str, what: str, within_s: float) -> dict[str, Any]:
    try:
        return _ask(name, "await", what=what, within_s=within_s)
    except OSError as cause:
        raise DeployError(
            f"the supervisor of '{name}' does not answer: {cause.strerror or cause}",
            hint="deploy it again: that starts another one",
        ) from cause


def _ask(name: str, order: str, **more: Any) -> dict[str, Any]:
    timeout_s = _ANSWER_S + float(more.get("within_s", 0.0))
    return orders.ask(files.folder_of(name), timeout_s=timeout_s, order=order, **more)


def _require_done(name: str, answer: dict[str, Any]) -> None:
    if not answer["done"]:
        raise DeployError(f"the supervisor of '{name}' cannot do it: {answer['why']}")


def _clashes(former: Memory, wanted: Memory) -> bool:
    """Return whether the supervisor would have to listen twice at one port."""
    held = {(one.host, one.port) for one in former.wanted.groups}
    needed = {(one.host, one.port) for one in wanted.wanted.groups}
    return any(clash(one, other) for one in held for other in needed)


def _environ(memory: Memory) -> dict[str, str]:
    """Return the variables of this process that secrets are read from."""
    kept = [one for one in (memory.settled, memory.candidate) if one is not None]
    references = [value for one in kept for value in one.command.secrets.values()]
    names = [
        rest for scheme, _, rest in (one.partition(":") for one in references) if scheme == "env"
    ]
    return {name: os.environ[name] for name in names if name in os.environ}


def _keep(name: str, memory: Memory) -> None:
    keep(name, TARGET, memory)
