"""F11 to F16: too much load, clients that leave or drip, and a long run."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import httpx

ROW = b'{"x": [[1.0]]}'


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", *headers]
    head = "\r\n".join([*lines, f"content-length: {len(body)}"])
    return head.encode() + b"\r\n\r\n" + body


def test_f11_excess_is_refused_at_once_and_the_rest_is_served_as_before(serve: Any) -> None:
    # Four rows in 0.1 s: 40 a second.  Within two seconds some 80 can be answered.
    served = serve("slow", request_timeout_s=2)
    served.call_all("/work", [{"x": [[1.0]]}] * 40)  # the server learns what a batch costs

    answers = served.call_all("/work", [{"x": [[1.0]]}] * 320)

    good = [a for a in answers if a.status == 200]
    refused = [a for a in answers if a.status == 429]
    late = [a for a in answers if a.status == 504]
    assert len(good) + len(refused) + len(late) == 320
    # Eight in ten of what there was time for, however busy this machine is with the clients.
    assert len(good) >= 64 * 0.8
    assert len(refused) >= 4 * len(late)
    assert {a.code for a in refused} == {"overloaded"}
    assert all(int(a.headers["retry-after"]) >= 1 for a in refused)
    assert median(a.seconds for a in refused) < median(a.seconds for a in good)


def test_f12_the_items_of_clients_that_hang_up_are_not_computed(serve: Any) -> None:
    served = serve("slow")
    before = served.post("/computed", {}).json()  # the warm-up's
    with ExitStack() as stack:
        for _ in range(64):
            stack.enter_context(served.connect()).sendall(post("/work", ROW))

    served.wait_until(lambda: served.counter("modelpack_in_flight_requests") == 0)
    assert served.post("/computed", {}).json() - before <= 16


def test_f13_a_deadline_that_passes_in_the_queue_is_a_504_without_computing(serve: Any) -> None:
    served = serve("slow")
    before = served.post("/computed", {}).json()
    with served.connect() as first:
        first.sendall(post("/work", b'{"x": [[1.0], [2.0], [3.0], [4.0], [5.0]]}'))
        (late,) = served.call_all("/work", [{"x": [[9.0]]}], headers={"x-request-timeout-ms": "5"})
        first.recv(1)

    assert (late.status, late.code) == (504, "timeout")
    assert served.post("/computed", {}).json() - before == 5


def test_f14_dripping_connections_are_cut_and_good_clients_see_nothing(serve: Any) -> None:
    served = serve("plain", head_timeout_s=1, body_timeout_s=1)
    answers: list[bytes] = []

    def drip() -> None:
        async def one(number: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"POST /double HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n")
            if number % 2:
                writer.write(b"content-length: 1000\r\n\r\n")  # the body never comes
            else:
                dripping = asyncio.ensure_future(_drip(writer))  # the head never ends
            answers.append(await reader.read())
            if not number % 2:
                dripping.cancel()
            writer.close()

        async def all_of_them() -> None:
            await asyncio.gather(*(one(number) for number in range(500)))

        asyncio.run(all_of_them())

    dripper = threading.Thread(target=drip)
    dripper.start()
    with served.load("/double", {"x": [[1.0, 2.0]]}, clients=2) as load:
        dripper.join(60)
        load.wait_for(10)

    assert not dripper.is_alive()
    assert len(answers) == 500
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 408"}
    assert load.failed() == []


async def _drip(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.2)


def test_f15_when_descriptors_run_out_accepting_pauses_and_resumes(serve: Any) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    served = serve("plain", keep_alive_s=60, popen={"preexec_fn": limited})
    data = post("/double", b'{"x": [[1.0, 2.0]]}')
    opened: list[socket.socket] = []
    try:
        assert served.client.get("/livez").status_code == 200
        for _ in range(200):
            opened.append(served.connect())
            opened[-1].sendall(data)
        answered = []
        end = time.monotonic() + 1.5
        before = processor_s(served.pid)
        while time.monotonic() < end:
            answered = [one for one in opened if _has_answer(one)]
            time.sleep(0.05)
        used = processor_s(served.pid) - before
        assert 8 <= len(answered) < 64
        assert served.client.get("/livez").status_code == 200  # a connection from before
        assert used < 0.75  # it waits, it does not spin
        assert served.process.poll() is None

        while len(opened) > 0:  # each that leaves lets another in
            done = [one for one in opened if _has_answer(one)]
            if not done:
                served.wait_until(lambda: any(_has_answer(one) for one in opened))
                continue
            for one in done:
                opened.remove(one)
                assert one.recv(65536).startswith(b"HTTP/1.1 200")
                one.close()
    finally:
        for one in opened:
            one.close()
    assert served.stop() == 0


def _has_answer(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(30)


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def test_f16_memory_stays_flat_over_many_requests(serve: Any) -> None:
    """The million is for the benchmarks; a leak of 100 bytes a request shows here as well."""
    served = serve("plain")
    data = post("/double", b'{"x": [[1.0, 2.0]]}') * 50

    def burst(count: int) -> None:
        with served.connect() as connection, connection.makefile("rb") as file:
            for _ in range(count // 50):
                connection.sendall(data)
                for _ in range(50):
                    assert file.readline().startswith(b"HTTP/1.1 200")
                    while (line := file.readline()) != b"\r\n":
                        if line.startswith(b"content-length"):
                            length = int(line.partition(b":")[2])
                    file.read(length)

    burst(10_000)
    before = resident_bytes(served.pid)
    burst(50_000)

    assert resident_bytes(served.pid) - before < 5 * 1024 * 1024
    assert httpx.get(f"{served.url}/readyz").status_code == 200
