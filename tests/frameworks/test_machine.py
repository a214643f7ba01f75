"""A container's processor limit counts, and copies of a model share what is left."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from modelpack.frameworks.machine import (
    limit_libraries,
    memory_bytes,
    memory_limit,
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
    assert processors(tree(tmp_path, files)) == limit


def tree(folder: Path, files: dict[str, str]) -> Path:
    """Write control groups as the kernel shows them."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


MB = 1024 * 1024
NONE = "9223372036854771712\n"  # what the older hierarchy says where there is no limit


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"memory.max": f"{256 * MB}\n"}, 256 * MB),
        ({"memory.max": "max\n", "memory.high": f"{100 * MB}\n"}, 100 * MB),
        ({"memory.max": f"{256 * MB}\n", "memory.high": f"{100 * MB}\n"}, 100 * MB),
        ({"memory.max": "max\n", "memory.high": "max\n"}, None),
        ({"memory/memory.limit_in_bytes": f"{128 * MB}\n"}, 128 * MB),
        ({"memory/memory.limit_in_bytes": NONE}, None),
        ({"memory.max": ""}, None),
        ({}, None),
    ],
)
def test_the_memory_of_the_control_group_counts(
    tmp_path: Path, files: dict[str, str], limit: int | None
) -> None:
    assert memory_limit(tree(tmp_path, files), tmp_path / "none") == limit


def test_a_group_below_the_top_is_found_and_the_tightest_one_counts(tmp_path: Path) -> None:
    """As for a service of the system, or a container that shares the groups of its host."""
    files = {
        "unit.slice/app.service/cpu.max": "max 100000\n",
        "unit.slice/app.service/memory.max": f"{512 * MB}\n",
        "unit.slice/cpu.max": "100000 100000\n",
        "unit.slice/memory.max": f"{256 * MB}\n",
        "other.slice/cpu.max": "1000 100000\n",
        "other.slice/memory.max": "4096\n",
    }
    own = tmp_path / "own"
    own.write_text("0::/unit.slice/app.service\n")

    assert processors(tree(tmp_path, files), own) == 1
    assert memory_limit(tmp_path, own) == 256 * MB


def test_the_older_hierarchy_names_its_folders_by_controllers(tmp_path: Path) -> None:
    files = {
        "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "100000\n",
        "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "memory/docker/abc/memory.limit_in_bytes": f"{64 * MB}\n",
        "memory/memory.limit_in_bytes": NONE,
    }
    own = tmp_path / "own"
    own.write_text("9:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n0::/\n")

    assert processors(tree(tmp_path, files), own) == 1
    assert memory_limit(tmp_path, own) == 64 * MB


@pytest.mark.parametrize("path", ["/../../elsewhere", "/gone/away", "", "garbage"])
def test_a_group_that_is_not_mounted_here_is_the_top_one(tmp_path: Path, path: str) -> None:
    """So it is in a container: its own group is mounted as the top."""
    own = tmp_path / "own"
    own.write_text(f"0::{path}\n" if path != "garbage" else "garbage\n")
    assert memory_limit(tree(tmp_path, {"memory.max": f"{64 * MB}\n"}), own) == 64 * MB


def test_without_a_limit_there_is_the_memory_of_the_machine(tmp_path: Path) -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    own = tmp_path / "own"
    assert memory_bytes(tmp_path, own) == total
    assert memory_bytes(tree(tmp_path, {"memory.max": f"{64 * MB}\n"}), own) == 64 * MB
    assert memory_bytes(tree(tmp_path, {"memory.max": f"{total * 2}\n"}), own) == total


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
