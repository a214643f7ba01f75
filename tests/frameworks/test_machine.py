"""A container's processor limit counts, and copies of a model share what is left."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from modelpack.frameworks.machine import (
    limit_libraries,
    processors,
    thread_variables,
    threads_for,
)

ALLOWED = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, ALLOWED),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, ALLOWED),
        ({"cpu.max": "9900000 100000\n"}, ALLOWED),
        ({"cpu.max": ""}, ALLOWED),
        ({}, ALLOWED),
    ],
)
def test_the_limit_of_the_control_group_counts(
    tmp_path: Path, files: dict[str, str], limit: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert processors(tmp_path) == limit


@pytest.mark.parametrize("copies", [1, 2, 1000])
def test_copies_share_the_processors_and_each_has_one_at_least(copies: int) -> None:
    assert threads_for(0, copies) == max(1, processors() // copies)
    assert threads_for(3, copies) == 3


def test_variables_for_a_new_process_leave_alone_what_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)

    variables = thread_variables(2)

    assert variables["MKL_NUM_THREADS"] == "2"
    assert "OMP_NUM_THREADS" not in variables


def test_libraries_that_are_loaded_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in thread_variables(1):
        monkeypatch.delenv(name, raising=False)
    import sklearn.linear_model  # noqa: F401  (loads OpenBLAS and OpenMP)
    from threadpoolctl import threadpool_info

    seen: list[int] = []

    def work() -> None:  # OpenMP keeps the number for each thread
        before = {one["filepath"]: one["num_threads"] for one in threadpool_info()}
        limit_libraries(1)
        seen.extend(one["num_threads"] for one in threadpool_info())
        limit_libraries(max(before.values()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen
    assert set(seen) == {1}


def test_who_set_a_variable_has_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    from threadpoolctl import threadpool_info

    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    before = [one["num_threads"] for one in threadpool_info()]

    limit_libraries(1)

    assert [one["num_threads"] for one in threadpool_info()] == before
