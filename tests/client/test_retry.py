"""What is sent again, when, and with what in its head; against a server that plays what it is told."""

from __future__ import annotations

import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from modelpack import CallError, Retry
from modelpack.client.errors import (
    CallLostError,
    CallOverloadedError,
    CallRefusedError,
    CallTimeoutError,
)
from modelpack.client.retry import seconds_of
from modelpack.errors import UsageError
from tests.client.conftest import DOCUMENT, HANG_UP, answer

QUICK = Retry(first_s=0.001, longest_s=0.002)
BUSY = answer(429, b'{"code":"overloaded","title":"too many requests","status":429}',
              kind="application/problem+json")  # fmt: skip
Asks = Any
Play = Any


# --- a schedule without a clock -----------------------------------------------------------------


def busy(retry_after_s: float | None = None) -> CallOverloadedError:
    return CallOverloadedError("busy", retry_after_s=retry_after_s)


def test_pauses_double_up_to_the_longest_and_are_shortened_by_half_at_most() -> None:
    retry = Retry(attempts=6, first_s=0.1, longest_s=0.5)

    longest = [retry.wait_s(busy(), n, 60, draw=lambda: 1.0) for n in range(1, 6)]
    shortest = [retry.wait_s(busy(), n, 60, draw=lambda: 0.0) for n in range(1, 6)]

    assert longest == [0.1, 0.2, 0.4, 0.5, 0.5]
    assert shortest == [0.05, 0.1, 0.2, 0.25, 0.25]


def test_the_server_is_not_asked_again_before_it_wants_to_be() -> None:
    retry = Retry(first_s=0.1)

    assert retry.wait_s(busy(3.0), 1, 60, draw=lambda: 0.0) == 3.0
    assert 3.0 < (retry.wait_s(busy(3.0), 1, 60, draw=lambda: 1.0) or 0) <= 3.1


def test_there_is_no_pause_that_ends_after_the_time_of_the_call() -> None:
    assert Retry().wait_s(busy(5.0), 1, 4.9) is None


def test_the_last_attempt_is_the_last() -> None:
    assert Retry(attempts=3).wait_s(busy(), 3, 60) is None
    assert Retry(attempts=1).wait_s(busy(), 1, 60) is None


@pytest.mark.parametrize("error", [CallError("x"), CallRefusedError("x"), CallTimeoutError("x")])
def test_other_errors_stand(error: CallError) -> None:
    assert Retry().wait_s(error, 1, 60) is None


def test_what_may_have_run_is_repeated_only_when_that_does_no_harm() -> None:
    lost = CallLostError("x")
    lost.may_have_run = True

    assert Retry().wait_s(lost, 1, 60) is None
    assert Retry(repeats_lost=True).wait_s(lost, 1, 60) is not None


@pytest.mark.parametrize(
    "options", [{"attempts": 0}, {"first_s": -1}, {"first_s": 2, "longest_s": 1}]
)
def test_a_schedule_that_is_none_is_refused(options: Any) -> None:
    with pytest.raises(UsageError):
        Retry(**options)


def test_retry_after_is_a_number_or_a_date() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)

    assert seconds_of(" 12 ") == 12
    assert seconds_of(format_datetime(now + timedelta(seconds=90), usegmt=True), now) == 90
    assert seconds_of(format_datetime(now - timedelta(seconds=90), usegmt=True), now) == 0
    assert seconds_of("soon") is None
    assert seconds_of("-3") is None


# --- on the wire --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_is_asked_again(asks: Asks, script: Play, status: int) -> None:
    server = script(answer(status), answer(status), answer(200, b"7"))

    found = asks(server.url, retry=QUICK).call("predict", {"n": 1})

    assert (found.value, found.attempts) == (7, 3)


def test_all_attempts_have_one_id_and_say_what_is_left_of_the_time(
    asks: Asks, script: Play
) -> None:
    server = script(BUSY, BUSY, answer(200))

    asks(server.url, retry=Retry(first_s=0.05)).call("predict", {"n": 1}, timeout_s=30)

    assert len({one.header("x-request-id") for one in server.heard}) == 1
    left = [int(one.header("x-request-timeout-ms")) for one in server.heard]
    assert left == sorted(left, reverse=True)
    assert 29_000 < left[-1] < left[0] <= 30_000
    assert {one.body for one in server.heard} == {b'{"n":1}'}


def test_another_call_has_another_id(asks: Asks, script: Play) -> None:
    server = script(answer(200))
    client = asks(server.url)

    client.call("predict", {"n": 1})
    client.call("predict", {"n": 1})

    first, second = (one.header("x-request-id") for one in server.heard)
    assert first != second


def test_without_a_limit_of_time_none_is_sent(asks: Asks, script: Play) -> None:
    server = script(answer(200))

    asks(server.url, timeout_s=None).call("predict", {"n": 1})

    assert server.heard[0].header("x-request-timeout-ms") == ""


def test_retry_after_is_kept(asks: Asks, script: Play) -> None:
    server = script(answer(503, b"", "retry-after: 1"), answer(200))

    asks(server.url, retry=QUICK).call("predict", {"n": 1})

    first, second = (one.at for one in server.heard)
    assert second - first >= 1


def test_a_retry_after_beyond_the_time_of_the_call_ends_it_at_once(
    asks: Asks, script: Play
) -> None:
    server = script(answer(503, b"", "retry-after: 20"))
    began = time.monotonic()

    with pytest.raises(CallOverloadedError) as caught:
        asks(server.url).call("predict", {"n": 1}, timeout_s=10)

    assert time.monotonic() - began < 5
    assert (caught.value.retry_after_s, caught.value.attempts) == (20, 1)


def test_the_error_of_the_last_attempt_is_told(asks: Asks, script: Play) -> None:
    server = script(BUSY)

    with pytest.raises(CallOverloadedError) as caught:
        asks(server.url, retry=QUICK).call("predict", {"n": 1})

    assert (caught.value.code, caught.value.attempts, len(server.heard)) == ("overloaded", 4, 4)


@pytest.mark.parametrize("status", [400, 413, 422, 500, 502, 504])
def test_other_statuses_are_not_repeated(asks: Asks, script: Play, status: int) -> None:
    server = script(answer(status))

    with pytest.raises(CallError) as caught:
        asks(server.url, retry=QUICK).call("predict", {"n": 1})

    assert (caught.value.status, len(server.heard)) == (status, 1)


def test_a_connection_that_breaks_after_the_request_is_not_repeated(
    asks: Asks, script: Play
) -> None:
    server = script(HANG_UP)

    with pytest.raises(CallLostError) as caught:
        asks(server.url, retry=QUICK).call("predict", {"n": 1})

    assert caught.value.may_have_run
    assert len(server.heard) == 1


def test_it_is_repeated_when_the_caller_says_that_it_does_no_harm(asks: Asks, script: Play) -> None:
    server = script(HANG_UP, answer(200, b"5"))
    retry = Retry(first_s=0.001, repeats_lost=True)

    assert asks(server.url, retry=retry).call("predict", {"n": 1}).value == 5


def test_a_server_that_is_not_there_yet_is_waited_for(asks: Asks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]

    def appear() -> None:
        with socket.create_server(("127.0.0.1", port)) as listener:
            connection, _ = listener.accept()
            with connection:
                for body in (DOCUMENT, b"3"):
                    connection.recv(65536)
                    connection.sendall(answer(200, body))

    later = threading.Timer(0.3, appear)
    later.start()
    try:
        retry = Retry(attempts=50, first_s=0.05, longest_s=0.05)
        found = asks(f"http://127.0.0.1:{port}", retry=retry).call("predict", {"n": 1})
    finally:
        later.join()

    assert found.value == 3


def test_a_name_that_there_is_not_is_not_tried_again(asks: Asks) -> None:
    with pytest.raises(CallLostError) as caught:
        asks("http://no-such-host.invalid", retry=Retry(first_s=5)).call("predict", {"n": 1})

    assert caught.value.attempts == 1
    assert not caught.value.may_have_run


@pytest.mark.flaky(reruns=3, reruns_delay=2)  # on a machine that has no time for it
def test_attempts_and_pauses_together_are_within_the_time(asks: Asks, script: Play) -> None:
    server = script(BUSY)
    began = time.monotonic()

    with pytest.raises(CallOverloadedError):
        asks(server.url, timeout_s=0.5, retry=Retry(attempts=1000, first_s=0.05)).call(
            "predict", {"n": 1}
        )

    assert time.monotonic() - began < 5
    assert 1 < len(server.heard) < 100
