"""Load from several processes, for servers that are faster than one Python process can ask.

    Shards ──plans, start──► python -m modelpack.bench.shards ──slices a line──► Shards ──merged──►

Each process takes an even share of connections and rate of every lane.  They count by the same
clock, so their slices are merged second by second.  A process whose standard input closes ends.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from modelpack.bench.generator import Generator, OnSlices, Tail, Window
from modelpack.bench.lanes import LanePlan
from modelpack.bench.slices import Slice

_LINE_BYTES = 256 * 1024 * 1024


def shares(plan: LanePlan, count: int) -> list[LanePlan]:
    """Return the plan parted into ``count`` that together do the same."""
    low, extra = divmod(plan.connections, count)
    rate = None if plan.rate is None else plan.rate / count
    return [
        replace(plan, connections=low + (i < extra), rate=rate, seed=plan.seed * 1000 + i)
        for i in range(count)
    ]


class Shards:
    """The same as a ``Generator``, spread over processes."""

    def __init__(self, plans: Sequence[LanePlan], processes: int) -> None:
        if any(plan.connections < processes for plan in plans):
            raise ValueError("each process needs a connection of its own")
        parted = [shares(plan, processes) for plan in plans]
        self._plans = [[lane[i] for lane in parted] for i in range(processes)]
        self._children: list[asyncio.subprocess.Process] = []
        self._seen: dict[int, list[list[Slice]]] = {}

    async def open(self) -> None:
        """Start the processes, which connect; raises OSError when one cannot."""
        for plans in self._plans:
            child = await asyncio.create_subprocess_exec(
                # -P: nothing in the current folder stands in for a module of Python.
                sys.executable, "-P", "-m", "modelpack.bench.shards",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                limit=_LINE_BYTES,
                # Ctrl-C is for the parent, which then tells its children; they end with it.
                start_new_session=True,
            )  # fmt: skip
            self._children.append(child)
            self._tell(child, [_plain(plan) for plan in plans])
        for child in self._children:
            said = await self._hear(child)
            if "ready" not in said:
                raise OSError(said.get("error", "a generator process ended"))

    async def run(self, window: Window, on_slices: OnSlices, stop: asyncio.Event) -> Tail:
        """Send the load from all of them; see ``Generator.run``."""
        for child in self._children:
            self._tell(child, asdict(window))
        told = asyncio.create_task(self._tell_to_stop(stop))
        try:
            tails = await asyncio.gather(*(self._follow(c, on_slices) for c in self._children))
        finally:
            told.cancel()
        # Stopped between two seconds, one process may have begun a second that others had not.
        for number in sorted(self._seen):
            on_slices(number, self._joined(self._seen.pop(number)))
        whole = tails[0]
        for tail in tails[1:]:
            for mine, theirs in zip(whole.slices, tail.slices, strict=True):
                mine.merge(theirs)
            whole.cpu_s += tail.cpu_s
            whole.failures = [a or b for a, b in zip(whole.failures, tail.failures, strict=True)]
            whole.is_cut |= tail.is_cut
        return whole

    async def _follow(self, child: asyncio.subprocess.Process, on_slices: OnSlices) -> Tail:
        while True:
            said = await self._hear(child)
            slices = [Slice.from_json(one) for one in said.get("slices", ())]
            if "cpu_s" in said:
                return Tail(slices, said["cpu_s"], said["failures"], said["is_cut"])
            if "number" not in said:
                raise OSError("a generator process ended")
            self._gather(said["number"], slices, on_slices)

    def _gather(self, number: int, slices: list[Slice], on_slices: OnSlices) -> None:
        parts = self._seen.setdefault(number, [])
        parts.append(slices)
        if len(parts) == len(self._children):
            on_slices(number, self._joined(self._seen.pop(number)))

    @staticmethod
    def _joined(parts: list[list[Slice]]) -> list[Slice]:
        """Return the slices of one second, one a lane, of all processes that had it."""
        for other in parts[1:]:
            for mine, theirs in zip(parts[0], other, strict=True):
                mine.merge(theirs)
        return parts[0]

    async def _tell_to_stop(self, stop: asyncio.Event) -> None:
        await stop.wait()
        for child in self._children:
            self._tell(child, "stop")

    async def close(self) -> None:
        """End the processes, if they still run."""
        for child in self._children:
            if child.stdin is not None:
                child.stdin.close()
        for child in self._children:
            try:
                await asyncio.wait_for(child.wait(), 10)
            except TimeoutError:
                child.kill()
                await child.wait()

    @staticmethod
    def _tell(child: asyncio.subprocess.Process, what: object) -> None:
        if child.stdin is not None and not child.stdin.is_closing():
            child.stdin.write(json.dumps(what).encode() + b"\n")

    @staticmethod
    async def _hear(child: asyncio.subprocess.Process) -> dict[str, Any]:
        line = await child.stdout.readline() if child.stdout is not None else b""
        said: dict[str, Any] = json.loads(line) if line else {}
        return said


def _plain(plan: LanePlan) -> dict[str, Any]:
    plain = asdict(plan)
    plain["requests"] = [base64.b64encode(one).decode() for one in plan.requests]
    return plain


def _plan(plain: dict[str, Any]) -> LanePlan:
    requests = tuple(base64.b64decode(one) for one in plain.pop("requests"))
    return LanePlan(requests=requests, **plain)


async def _serve_parent() -> None:
    """Be one of the processes: read plans and window, print slices, end with the input."""

    def say(what: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()

    generator = Generator([_plan(plain) for plain in json.loads(sys.stdin.readline())])
    try:
        await generator.open()
    except OSError as error:
        say({"error": str(error)})
        return
    say({"ready": True})
    line = await asyncio.to_thread(sys.stdin.readline)
    if not line:
        return
    stop = asyncio.Event()
    _watch_input(asyncio.get_running_loop(), stop.set)
    tail = await generator.run(
        Window(**json.loads(line)),
        lambda number, slices: say({"number": number, "slices": _plain_slices(slices)}),
        stop,
    )
    say(
        {
            "cpu_s": tail.cpu_s,
            "failures": tail.failures,
            "is_cut": tail.is_cut,
            "slices": _plain_slices(tail.slices),
        }
    )


def _plain_slices(slices: Sequence[Slice]) -> list[dict[str, Any]]:
    return [one.to_json(is_encoded=False) for one in slices]


def _watch_input(loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> None:
    """Stop when a line comes, or when the parent is gone."""

    def wait() -> None:
        sys.stdin.readline()
        loop.call_soon_threadsafe(stop)

    threading.Thread(target=wait, daemon=True).start()


def _main() -> None:
    from modelpack.bench.running import run_on_fast_loop

    run_on_fast_loop(_serve_parent())
    sys.stdout.flush()
    # The thread still reads; nothing is left to be done.
    os._exit(0)


if __name__ == "__main__":
    _main()
