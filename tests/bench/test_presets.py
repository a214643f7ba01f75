"""Each suite makes its table on a real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelpack.bench.inputs import Input
from modelpack.bench.load import Load
from modelpack.bench.opening import Opened
from modelpack.bench.place import place_of
from modelpack.bench.presets import PRESETS, Bench, run_suite, seconds_of, suites_of
from modelpack.bench.scaling import REPLICAS
from modelpack.bench.served import Served

STEP = Load(duration_s=0.25, warmup_s=0.05)


@pytest.fixture
def bench(real: Served) -> Bench:
    server = Opened(place_of(real.url))
    return Bench(
        aims=server.aims(["predict"], Input(), {}),
        every=lambda: server.every_aim({}),
        base=STEP,
    )


def test_throughput_finds_the_knee_and_the_capacity(bench: Bench) -> None:
    suite = run_suite("throughput", bench)
    tried = [int(row[0]) for row in suite.rows]
    assert tried[:6] == [1, 2, 4, 8, 16, 32]
    assert bench.capacity == max(one.rate for one in suite.results)
    assert "/s with" in suite.finding
    assert bench.capacity >= suite.results[0].rate


def test_latency_has_one_connection(bench: Bench) -> None:
    suite = run_suite("latency", bench)
    assert [row[0] for row in suite.rows] == ["1"]
    assert suite.results[0].load.concurrency == 1


def test_ping_asks_for_the_health_alone(bench: Bench) -> None:
    suite = run_suite("ping", bench)
    assert suite.results[0].target["path"] == "/livez"
    assert suite.results[0].whole.failed == 0


def test_load_offers_a_share_of_what_was_found(bench: Bench) -> None:
    bench.capacity = 200.0
    suite = run_suite("load", bench)
    (result,) = suite.results
    assert result.load.rate == pytest.approx(140)
    assert result.load.arrivals == "poisson"
    assert result.load.duration_s == pytest.approx(5 * STEP.duration_s)


def test_load_finds_the_capacity_itself_when_it_is_not_known(bench: Bench) -> None:
    (result,) = run_suite("load", bench).results
    assert bench.capacity is not None
    assert result.load.rate == pytest.approx(max(1.0, bench.capacity * 0.7))


def test_multiple_models_loads_every_api_at_once(bench: Bench) -> None:
    suite = run_suite("multiple-models", bench)
    assert [row[0] for row in suite.rows] == ["predict", "greet"]
    assert all(one.whole.good > 0 for one in suite.results)


def test_concurrency_doubles_up_to_256(bench: Bench) -> None:
    suite = run_suite("concurrency", bench)
    assert [int(row[0]) for row in suite.rows] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert all(len(row) == len(suite.head) for row in suite.rows)


def test_repeated_scale_says_why_it_is_not_run(bench: Bench, tmp_path: Path) -> None:
    assert "--admin-socket" in run_suite("repeated-scale", bench).skipped
    bench.admin_socket = tmp_path / "no.sock"
    assert "does not answer on its admin socket" in run_suite("repeated-scale", bench).skipped


class Admin:
    """An admin socket that does what it is told, or says why not."""

    def __init__(self, file: Path, answers: list[bytes]) -> None:
        self.file = file
        self.asked: list[bytes] = []
        self._answers = answers
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(file))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                data = b""
                while not data.endswith(b"}"):
                    data += connection.recv(65536)
                self.asked.append(data.rpartition(b"\r\n\r\n")[2])
                answer = self._answers[min(len(self.asked), len(self._answers)) - 1]
                connection.sendall(answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


DONE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
BODY = b'{"detail": "this server runs no more than one"}'
NOT = b"HTTP/1.1 409 No\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(BODY), BODY)


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Any]:
    made: list[Admin] = []

    def make(*answers: bytes) -> Admin:
        made.append(Admin(tmp_path / "admin.sock", list(answers)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_repeated_scale_goes_up_and_down_under_load(bench: Bench, admin: Any) -> None:
    asked = admin(DONE)
    bench.admin_socket = asked.file

    suite = run_suite("repeated-scale", bench)

    assert [row[0] for row in suite.rows] == [str(n) for n in REPLICAS]
    assert asked.asked == [b'{"replicas": %d}' % n for n in REPLICAS]
    assert suite.finding == "no request was lost in 4 changes of the number of replicas"


def test_repeated_scale_passes_on_why_the_server_refuses(bench: Bench, admin: Any) -> None:
    bench.admin_socket = admin(NOT).file
    suite = run_suite("repeated-scale", bench)
    assert suite.skipped == "it does not scale: this server runs no more than one"
    assert suite.rows == []


def test_change_that_is_refused_under_load_is_told(bench: Bench, admin: Any) -> None:
    bench.admin_socket = admin(DONE, DONE, NOT).file
    suite = run_suite("repeated-scale", bench)
    assert "in 1 changes" in suite.finding
    assert "no more than one" in suite.finding


def test_all_is_every_suite_and_its_time_is_stated() -> None:
    assert suites_of("all") == PRESETS[:-1]
    assert suites_of("ping") == ("ping",)
    step = Load(duration_s=3, warmup_s=1)
    assert sum(seconds_of(name, step) for name in suites_of("all")) < 200
