"""The generator is checked against servers whose times are known."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from modelpack.bench.generator import Generator, Tail, Window
from modelpack.bench.lanes import LanePlan
from modelpack.bench.loops import make_lane
from modelpack.bench.running import run_on_fast_loop
from modelpack.bench.shards import Shards
from modelpack.bench.slices import Slice, merged

REQUEST = b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n"


def plan_for(server: Any, **more: Any) -> LanePlan:
    place = server.place
    facts = {"host": place.host, "address": place.address, "port": place.port}
    return LanePlan(**{**facts, "requests": (REQUEST,), **more})


def run(
    plans: list[LanePlan],
    seconds: float,
    *,
    warmup_s: float = 0.0,
    processes: int = 1,
    stops: bool = False,
) -> tuple[list[list[Slice]], Tail]:
    """Return the slices of each second, and what came after the last one.

    ``stops``: the load is stopped once the first second has been seen.
    """
    seen: list[list[Slice]] = []

    def see(stop: asyncio.Event, _number: int, slices: list[Slice]) -> None:
        seen.append(slices)
        if stops:
            stop.set()

    async def running() -> Tail:
        generator = Generator(plans) if processes == 1 else Shards(plans, processes)
        stop = asyncio.Event()
        try:
            await generator.open()
            start = time.perf_counter() + 0.05
            window = Window(start=start, warmup_s=warmup_s, duration_s=seconds)
            return await generator.run(window, partial(see, stop), stop)
        finally:
            await generator.close()

    return seen, run_on_fast_loop(running())


def whole_of(seen: list[list[Slice]], tail: Tail, lane: int = 0) -> Slice:
    return merged([*(one[lane] for one in seen), tail.slices[lane]])


def test_known_service_time_comes_out(known: Any, after: Any) -> None:
    server = known(after(0.02))

    seen, tail = run([plan_for(server, connections=4)], 1.0)

    whole = whole_of(seen, tail)
    assert whole.latencies.at_ms(0) >= 20
    assert whole.latencies.at_ms(50) < 40, "what is added is small beside 20 ms"
    assert whole.good == whole.offered == server.arrived
    assert whole.good <= 4 * 1.3 / 0.02
    assert whole.failed == 0


def test_open_loop_sends_at_its_rate_whatever_the_server_takes(known: Any, after: Any) -> None:
    server = known(after(0.1))

    seen, tail = run([plan_for(server, connections=100, rate=200)], 1.0)

    whole = whole_of(seen, tail)
    assert abs(whole.offered - 200) <= 1
    assert whole.good == whole.offered == server.arrived
    assert whole.latencies.at_ms(0) >= 100


@pytest.mark.parametrize("rate", [None, 200.0])
def test_stall_is_seen_by_the_open_loop_and_hidden_by_the_closed(
    known: Any, stalls: Callable[[int, float], Any], rate: float | None
) -> None:
    """A second in which nothing is answered: half of an open loop's requests waited for it."""
    server = known(stalls(100, 1.0))

    seen, tail = run([plan_for(server, connections=1 if rate is None else 512, rate=rate)], 2.0)

    latencies = whole_of(seen, tail).latencies
    assert latencies.max_ms >= 1000
    if rate is None:
        assert latencies.at_ms(99) < 500
    else:
        assert latencies.at_ms(99) > 900
        assert latencies.share_above(100) > 0.3


def test_requests_without_a_free_connection_count_from_their_own_time(
    known: Any, after: Any
) -> None:
    """One connection that does 10 a second, asked for 50: the queue is part of the latency."""
    server = known(after(0.1))

    seen, tail = run([plan_for(server, connections=1, rate=50)], 1.0)

    whole = whole_of(seen, tail)
    assert abs(whole.offered - 50) <= 1
    assert whole.good + whole.failed == whole.offered, "each is counted, answered or not"
    assert whole.errors.get("unsent", 0) + whole.errors.get("unanswered", 0) == whole.failed > 0
    assert whole.late.max_ms > 500
    assert whole.latencies.max_ms > 1000
    assert whole.clock_late.at_ms(50) < 50


def test_what_is_answered_too_late_is_given_up_and_counts_with_its_wait(known: Any) -> None:
    def answer(number: int) -> bytes:
        time.sleep(2.0 if number == 3 else 0.005)
        return b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

    seen, tail = run([plan_for(known(answer), connections=2, timeout_s=0.3)], 1.0)

    whole = whole_of(seen, tail)
    assert whole.errors == {"timeout": 1}
    assert whole.latencies.max_ms >= 300
    assert whole.good > 50, "another connection took its place"


def test_server_that_closes_after_each_answer_is_asked_again(known: Any) -> None:
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"

    def answer(_number: int) -> bytes:
        time.sleep(0.005)
        return closing

    server = known(answer)
    for rate in (None, 50.0):
        seen, tail = run([plan_for(server, connections=4, rate=rate)], 0.6)
        whole = whole_of(seen, tail)
        assert whole.failed == 0
        assert whole.good == whole.offered >= 25


def test_connection_that_opens_as_the_load_ends_is_closed(known: Any) -> None:
    async def met_at_the_door() -> Any:
        """Close the lane in the very turn in which its connection is there."""
        lane = make_lane(plan_for(known(lambda _: b"")))
        lane._open_one()
        connect, made = lane._connect, []

        async def connected() -> Any:
            made.append(await connect())
            lane._is_closed = True  # its task was cancelled when the wait was over already
            return made[0]

        lane._connect = connected
        while lane._tasks:
            await asyncio.sleep(0)
        return made[0]

    assert asyncio.run(met_at_the_door()).is_lost


def test_errors_are_told_apart_and_the_first_is_kept(known: Any) -> None:
    answers = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b'HTTP/1.1 500 No\r\ncontent-length: 13\r\n\r\n{"title":"a"}',
        b"HTTP/1.1 429 Full\r\ncontent-length: 0\r\n\r\n",
        b"",
    ]
    seen, tail = run([plan_for(known(lambda n: answers[n % 4]), connections=1)], 0.5)

    whole = whole_of(seen, tail)
    assert set(whole.statuses) == {200, 429, 500}
    assert set(whole.errors) == {"closed"}
    assert whole.refused.count == whole.statuses[429]
    assert whole.latencies.count == whole.statuses[200] + whole.errors["closed"]
    assert tail.failures == ['500 {"title":"a"}']


def test_server_that_goes_away_is_counted_as_such(known: Any, after: Any) -> None:
    server = known(after(0.01))
    plan = plan_for(server, connections=2)

    def close_after_some() -> None:
        deadline = time.monotonic() + 30
        while server.arrived < 10 and time.monotonic() < deadline:
            time.sleep(0.01)
        server.close()

    closing = threading.Thread(target=close_after_some)
    closing.start()
    seen, tail = run([plan], 2.0)
    closing.join()
    whole = whole_of(seen, tail)
    assert whole.good > 0
    assert whole.errors.get("connect", 0) >= 1


def test_nobody_listening_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    plan = LanePlan(host="127.0.0.1", address="127.0.0.1", port=port, requests=(REQUEST,))
    with pytest.raises(ConnectionRefusedError):
        run([plan], 1.0)


def test_warm_up_is_not_counted(known: Any, after: Any) -> None:
    server = known(after(0.01))
    seen, tail = run([plan_for(server, connections=1)], 0.5, warmup_s=0.5)
    whole = whole_of(seen, tail)
    assert 0 < whole.good < server.arrived - 10


def test_seconds_are_whole_and_the_last_piece_is_not_tiny(known: Any, after: Any) -> None:
    seen, tail = run([plan_for(known(after(0.01)), connections=1)], 2.1)
    lengths = [one[0].seconds for one in seen]
    assert len(lengths) == 2
    assert sum(lengths) == pytest.approx(2.1)
    assert tail.slices[0].seconds == 0


def test_load_that_is_stopped_keeps_what_was_measured(known: Any, after: Any) -> None:
    seen, tail = run([plan_for(known(after(0.01)), connections=1)], 60.0, stops=True)
    assert tail.is_cut
    assert whole_of(seen, tail).good > 10
    assert sum(one[0].seconds for one in seen) < 30


def test_lanes_do_not_mix(known: Any, after: Any) -> None:
    quick, slow = known(after(0.005)), known(after(0.05))
    seen, tail = run([plan_for(quick, connections=1), plan_for(slow, connections=1)], 0.6)
    assert whole_of(seen, tail, 0).good == quick.arrived
    assert whole_of(seen, tail, 1).good == slow.arrived
    assert whole_of(seen, tail, 1).latencies.at_ms(0) >= 50


def test_bodies_are_sent_in_turns(known: Any, after: Any) -> None:
    server = known(after(0.01))
    requests = tuple(b"GET /%d HTTP/1.1\r\nhost: h\r\n\r\n" % n for n in range(3))
    run([plan_for(server, requests=requests)], 0.3)
    paths = [head.split()[1] for head in server.heads]
    assert set(paths) == {b"/0", b"/1", b"/2"}
    assert all(a != b for a, b in itertools.pairwise(paths))


def test_several_processes_do_the_same_together(known: Any, after: Any) -> None:
    server = known(after(0.02))

    seen, tail = run([plan_for(server, connections=40, rate=100)], 1.0, processes=2)

    whole = whole_of(seen, tail)
    assert len(tail.cpu_s) == 2
    assert abs(whole.offered - 100) <= 2
    assert whole.good == whole.offered == server.arrived
    assert len(seen) == 1


def test_processes_end_when_the_load_is_stopped(known: Any, after: Any) -> None:
    server = known(after(0.01))
    seen, tail = run([plan_for(server, connections=2)], 60.0, processes=2, stops=True)
    assert tail.is_cut
    assert whole_of(seen, tail).good > 10


def test_processes_report_that_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    plan = LanePlan(host="h", address="127.0.0.1", port=port, requests=(REQUEST,), connections=2)
    with pytest.raises(OSError, match="onnect"):
        run([plan], 1.0, processes=2)
