"""A GPU that was asked for is used or missed by name; ``auto`` makes do with what is there (F10)."""

from __future__ import annotations

import logging

import pytest

from modelpack.errors import DeviceMissingError
from modelpack.frameworks import providers as module
from modelpack.frameworks.providers import CPU_PROVIDER, CUDA_PROVIDER, check, choose
from modelpack.sdk.placement import Placement

CPU_BUILD, GPU_BUILD = [CPU_PROVIDER], ["TensorrtExecutionProvider", CUDA_PROVIDER, CPU_PROVIDER]


@pytest.fixture(autouse=True)
def _said_nothing() -> None:
    module.warn_once.cache_clear()


@pytest.mark.parametrize(
    ("where", "offered", "gpus", "expected"),
    [
        (Placement(device="cpu"), GPU_BUILD, 2, [CPU_PROVIDER]),
        (Placement(), CPU_BUILD, 2, [CPU_PROVIDER]),
        (Placement(), GPU_BUILD, 1, [(CUDA_PROVIDER, {"device_id": 0}), CPU_PROVIDER]),
        (Placement(number=3), GPU_BUILD, 2, [(CUDA_PROVIDER, {"device_id": 1}), CPU_PROVIDER]),
        (
            Placement(number=3, device="cuda:0"),
            GPU_BUILD,
            2,
            [(CUDA_PROVIDER, {"device_id": 0}), CPU_PROVIDER],
        ),
    ],
)
def test_the_device_decides(
    where: Placement, offered: list[str], gpus: int, expected: list[object]
) -> None:
    assert choose(where, offered, gpus) == expected


def test_a_gpu_that_onnxruntime_cannot_use_is_missed_with_what_it_has() -> None:
    with pytest.raises(
        DeviceMissingError, match=r"'cuda:0' .* cannot use CUDA: it has CPUExecution"
    ) as caught:
        choose(Placement(device="cuda:0"), CPU_BUILD, 1)
    assert caught.value.exit_code == 1
    assert "onnxruntime-gpu" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("gpus", "said"), [(0, "shows no GPUs"), (1, "shows 1 GPU to"), (2, "shows 2 GPUs")]
)
def test_a_gpu_that_is_not_there_is_missed_with_how_many_are(gpus: int, said: str) -> None:
    with pytest.raises(DeviceMissingError, match=said):
        choose(Placement(device="cuda:2"), GPU_BUILD, gpus)


def test_auto_without_a_gpu_runs_on_the_cpu_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        results = [choose(Placement(number=n), GPU_BUILD, 0) for n in range(3)]

    assert results == [[CPU_PROVIDER]] * 3
    assert [one.message for one in caplog.records] == [
        "onnxruntime is a build for GPUs, and there is none: models run on the cpu"
    ]


def test_cuda_that_does_not_load_is_an_error_only_when_it_was_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """This very onnxruntime has no CUDA library: what the linker says of it is told."""
    wanted: list[module.Provider] = [(CUDA_PROVIDER, {"device_id": 0}), CPU_PROVIDER]

    with pytest.raises(DeviceMissingError, match=r"CUDA does not load: .*providers_cuda\.so"):
        check(Placement(device="cuda:0"), wanted, [CPU_PROVIDER])
    check(Placement(), wanted, [CPU_PROVIDER])
    check(Placement(device="cuda:0"), wanted, [CUDA_PROVIDER, CPU_PROVIDER])

    assert ["CUDA does not load" in one.message for one in caplog.records] == [True]
