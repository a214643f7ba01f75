"""An image for GPUs says at once when it got none, and what to do."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from modelpack.config.settings import ServerSettings
from modelpack.errors import DeviceMissingError
from modelpack.server.life import driver
from modelpack.server.life.driver import Driver, built_for, check_driver, lack_of

GPU_IMAGE = {"NVIDIA_VISIBLE_DEVICES": "all", "CUDA_VERSION": "12.6.3"}
NOTHING = Driver(cuda=None, has_devices=False)
FINE = Driver(cuda=(12, 8), has_devices=True)


@pytest.mark.parametrize(
    ("found", "what", "hint"),
    [
        (NOTHING, "no NVIDIA driver is in the container", "--gpus all"),
        (Driver(None, has_devices=True), "libcuda.so.1", "NVIDIA_DRIVER_CAPABILITIES"),
        (Driver((12, 8), has_devices=False), "shows no GPU", "--gpus all"),
        (Driver((11, 8), has_devices=True), "CUDA 11.8 at most", "update the driver"),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(found: Driver, what: str, hint: str) -> None:
    lack = lack_of((12, 6), found)

    assert lack is not None
    assert "CUDA 12.6" in lack.what
    assert what in lack.what
    assert hint in lack.hint


@pytest.mark.parametrize(
    ("built", "found"),
    [
        ((12, 6), FINE),
        ((12, 9), FINE),  # a driver for 12.0 runs all of 12
        ((12, 6), Driver((13, 0), has_devices=True)),
        (None, Driver((11, 0), has_devices=True)),
    ],
)
def test_a_driver_that_will_do_is_not_spoken_of(
    built: tuple[int, int] | None, found: Driver
) -> None:
    assert lack_of(built, found) is None


def test_without_a_gpu_it_is_a_warning_and_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        lack = check_driver(ServerSettings(), GPU_IMAGE, NOTHING)

    assert lack is not None
    (record,) = caplog.records
    assert record.message == "no-gpu"
    assert record.__dict__["fields"]["runs_on"] == "cpu"
    assert "CUDA 12.6" in record.__dict__["fields"]["reason"]


@pytest.mark.parametrize("devices", ["cuda:0", "cpu,cuda:1"])
def test_where_a_gpu_was_named_it_is_an_error(devices: str) -> None:
    with pytest.raises(DeviceMissingError, match="no NVIDIA driver") as caught:
        check_driver(ServerSettings(devices=devices), GPU_IMAGE, NOTHING)
    assert "--gpus all" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("environ", "devices"),
    [
        ({}, "auto"),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, "auto"),
        ({"NVIDIA_VISIBLE_DEVICES": "none"}, "cuda:0"),
        ({"NVIDIA_VISIBLE_DEVICES": ""}, "auto"),
        (GPU_IMAGE, "cpu"),
    ],
)
def test_where_no_gpu_is_wanted_none_is_missed(environ: Mapping[str, str], devices: str) -> None:
    assert check_driver(ServerSettings(devices=devices), environ, NOTHING) is None


@pytest.mark.parametrize(
    ("said", "built"),
    [("12.6.3", (12, 6)), ("13.0", (13, 0)), ("", None), ("12", None), ("twelve.six", None)],
)
def test_the_base_says_what_it_was_built_for(said: str, built: tuple[int, int] | None) -> None:
    assert built_for({"CUDA_VERSION": said}) == built


def test_the_wheels_say_it_where_the_base_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "nvidia-cuda-runtime-cu12":
            return "12.8.90"
        raise driver.PackageNotFoundError

    monkeypatch.setattr(driver, "version", version)
    assert built_for({}) == (12, 8)


def test_devices_are_seen_without_asking_the_driver(tmp_path: Path) -> None:
    assert not Driver.here(tmp_path).has_devices
    (tmp_path / "nvidiactl").touch()
    assert not Driver.here(tmp_path).has_devices
    (tmp_path / "nvidia7").touch()
    assert Driver.here(tmp_path).has_devices


@pytest.mark.gpu
def test_a_real_driver_says_its_version() -> None:
    found = Driver.here()
    assert found.has_devices
    assert found.cuda is not None
    assert found.cuda >= (11, 0)
    assert lack_of(found.cuda, found) is None
