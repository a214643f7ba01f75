"""F1 to F10: a model that raises, crashes, hangs, lies, or does not load."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

RAISES, KILLS, HANGS, FEW, MANY, NAN = 13, 66, 99, 77, 78, 55


def row(first: float) -> dict[str, list[list[float]]]:
    return {"x": [[first, 1.0]]}


def doubled(first: float) -> list[list[float]]:
    return [[2 * first, 2.0]]


def crowd(poison: float) -> list[dict[str, list[list[float]]]]:
    """Thirty-two requests that arrive together; one in the middle is poison."""
    return [row(poison if n == 17 else 100 + n) for n in range(32)]


def check_mates(answers: list[Any]) -> None:
    for n, answer in enumerate(answers):
        if n != 17:
            assert (answer.status, answer.json()) == (200, doubled(100 + n)), answer


@pytest.fixture(scope="module")
def batched(serve_once: Any) -> Any:
    return serve_once("batched")


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_f01_one_item_makes_the_model_raise_and_only_it_fails(serve: Any, runner: str) -> None:
    served = serve("batched", runner=runner)

    answers = served.call_all("/double", crowd(RAISES))

    check_mates(answers)
    assert (answers[17].status, answers[17].code) == (500, "model-error")
    assert b"thirteen" not in answers[17].body
    assert "thirteen" in served.text()
    assert max(1, served.counter("modelpack_batch_rows_count")) < 32  # they did share batches


def test_f02_one_item_kills_the_process_and_its_mates_succeed(serve: Any) -> None:
    served = serve("batched", runner="process")
    before = served.runners()

    answers = served.call_all("/double", crowd(KILLS))

    check_mates(answers)
    assert (answers[17].status, answers[17].code) == (500, "runner-crashed")
    assert served.post("/double", row(5)).json() == doubled(5)
    assert before
    assert served.runners()
    assert not set(before) & set(served.runners())


def test_f03_a_worker_is_killed_under_load_and_no_request_fails(serve: Any) -> None:
    served = serve("batched", runner="process", replicas=2)

    with served.load("/double", row(3), clients=8) as load:
        for _ in range(3):
            load.wait_for(20)
            served.wait_until(lambda: served.has_runners(2))
            os.kill(served.runners()[0], signal.SIGKILL)
            for _ in range(10):
                assert served.is_ready()
        load.wait_for(50)

    assert load.failed() == []
    served.wait_until(lambda: served.has_runners(2))


def test_f04_an_item_hangs_and_others_are_served_meanwhile(serve: Any) -> None:
    served = serve("batched", runner="process", replicas=2, request_timeout_s=2)
    before = set(served.runners())

    with served.load("/double", row(3), clients=2) as load:
        load.wait_for(5)
        (hung,) = served.call_all("/double", [row(HANGS)])
        load.wait_for(20)

    assert (hung.status, hung.code) == (504, "timeout")
    # A mate of the hung item runs again elsewhere, or its own time is over as well.
    assert all(status == 504 for status, _ in load.failed())
    assert len(load.failed()) <= 2
    served.wait_until(lambda: len(served.runners()) == 2 and set(served.runners()) != before)
    assert all(
        a.status == 200 for a in served.call_all("/double", [row(100 + n) for n in range(16)])
    )


def test_f05_no_worker_can_serve_and_it_heals_by_itself(serve: Any) -> None:
    served = serve("breaks_later", runner="process")
    broken = served.folder / "broken"
    broken.touch()
    os.kill(served.runners()[0], signal.SIGKILL)

    served.wait_until(lambda: not served.is_ready())
    answers = served.call_all("/double", [row(n) for n in range(8)])

    assert {(a.status, a.code) for a in answers} == {(503, "unavailable")}
    assert all(int(a.headers["retry-after"]) >= 1 for a in answers)

    broken.unlink()
    served.wait_until(served.is_ready)
    assert served.post("/double", row(5)).json() == doubled(5)


@pytest.mark.parametrize("wrong", [FEW, MANY])
def test_f06_too_few_or_too_many_answers_fail_the_batch_and_shift_nothing(
    batched: Any, wrong: int
) -> None:
    answers = batched.call_all("/double", crowd(wrong))

    assert (answers[17].status, answers[17].code) == (500, "bad-output")
    for n, answer in enumerate(answers):
        if n != 17:
            assert answer.status in (200, 500)
            assert answer.status == 500 or answer.json() == doubled(100 + n)
    assert batched.post("/double", row(5)).json() == doubled(5)


def test_f07_nan_in_an_answer_is_null_and_never_a_bare_nan(batched: Any) -> None:
    answer = batched.post("/double", row(NAN))

    assert answer.status_code == 200
    assert answer.json() == [[None, 2.0]]
    assert b"NaN" not in answer.content


def test_f08_items_of_different_shape_arrive_together_and_all_succeed(batched: Any) -> None:
    bodies = [{"x": [[1.0] * (1 + n % 5)]} for n in range(40)]

    answers = batched.call_all("/total", bodies)

    assert [a.status for a in answers] == [200] * 40
    assert [a.json() for a in answers] == [[float(1 + n % 5)] for n in range(40)]


@pytest.mark.parametrize(
    "settings",
    [{}, {"runner": "process"}, {"workers": 2}, {"workers": 2, "runner": "process"}],
    ids=lambda one: "-".join(one) or "default",
)
def test_f09_the_model_fails_to_load_and_one_message_says_why(
    serve: Any, settings: dict[str, Any]
) -> None:
    served = serve("breaks_later", ready=False, files=["broken"], **settings)

    assert served.process.wait(30) == 1

    said = [line for line in served.text().splitlines() if not line.startswith("{")]
    assert 1 <= len(said) <= 4, served.text()
    assert said[0].startswith("error[")
    assert served.text().count("weights.bin is gone") <= 2
    assert "weights.bin is gone" in "\n".join(said)
    assert "Traceback" not in "\n".join(said)


def test_f10_a_gpu_that_is_not_there_is_an_error_that_says_what_was_looked_for(serve: Any) -> None:
    served = serve("plain", ready=False, devices="cuda:0")

    assert served.process.wait(30) == 1
    assert "cuda" in served.text()
    assert "help:" in served.text()
    assert "Traceback" not in served.text()


def test_f10_without_a_gpu_auto_takes_the_processor(serve: Any) -> None:
    served = serve("plain", devices="auto")

    assert served.post("/double", row(5)).json() == doubled(5)
