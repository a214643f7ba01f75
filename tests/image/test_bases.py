from __future__ import annotations

from typing import Any

import pytest

from modelpack.archive.platforms import Platform
from modelpack.errors import UsageError
from modelpack.image.bases import PythonFrom, choose_base

CPU = {"numpy": "2.4.6", "onnxruntime": "1.32.0"}
TORCH = {"torch": "2.13.0", "nvidia-cuda-runtime": "13.0.96", "nvidia-cudnn-cu13": "9.20.0.48"}
ORT_12 = {"onnxruntime-gpu": "1.26.0", "numpy": "2.4.6"}
ORT_13 = {"onnxruntime-gpu": "1.31.1", "numpy": "2.4.6"}
CUDA_12_WHEELS = {"nvidia-cuda-runtime-cu12": "12.9.79", "nvidia-cudnn-cu12": "9.28.0.42"}


def test_a_lock_without_gpu_packages_gets_the_slim_base_of_its_python() -> None:
    base, warnings = choose_base(CPU, "3.13")

    assert base.image == "python:3.13-slim"
    assert base.reason == "no package of the lock needs a GPU"
    assert not base.has_gpu
    assert base.size_bytes is not None
    assert warnings == ()


def test_torch_carries_its_cuda_as_wheels_on_the_slim_base() -> None:
    base, warnings = choose_base(TORCH, "3.11")

    assert base.image == "python:3.11-slim"
    assert base.reason == "torch 2.13.0 brings CUDA 13.0 as wheels, so CUDA is carried once"
    assert base.has_gpu
    assert warnings == ()


@pytest.mark.parametrize("package", ["torch", "tensorflow", "xgboost", "nvidia-nccl-cu12"])
def test_a_package_that_only_could_use_a_gpu_does_not_make_a_gpu_image(package: str) -> None:
    """torch+cpu, plain tensorflow, and xgboost, which brings nccl alone."""
    base, _ = choose_base({package: "2.13.0"}, "3.11")

    assert base.image == "python:3.11-slim"
    assert not base.has_gpu


def test_onnxruntime_gpu_with_its_wheels_stays_on_the_slim_base() -> None:
    base, warnings = choose_base({**ORT_12, **CUDA_12_WHEELS}, "3.11")

    assert base.image == "python:3.11-slim"
    assert "onnxruntime-gpu 1.26.0 brings CUDA 12.9 as wheels" in base.reason
    assert warnings == ()


@pytest.mark.parametrize(
    ("packages", "image"),
    [
        (ORT_13, "nvidia/cuda:13.0.3-cudnn-runtime-ubuntu24.04"),
        (ORT_12, "nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04"),
        ({"tensorrt-cu13-libs": "11.4.0.106"}, "nvidia/cuda:13.0.3-cudnn-runtime-ubuntu24.04"),
        ({"jax-cuda12-plugin": "0.10.2"}, "nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04"),
    ],
)
def test_without_cuda_wheels_the_base_brings_the_cuda_of_the_package(
    packages: dict[str, str], image: str
) -> None:
    base, warnings = choose_base(packages, "3.12")

    assert base.image == image
    assert "and the lock brings none" in base.reason
    assert base.has_gpu
    assert warnings == ()


def test_ubuntus_own_python_is_installed_where_it_is_the_locks() -> None:
    base, _ = choose_base(ORT_13, "3.12")

    assert base.python_from is PythonFrom.PACKAGES
    assert base.system_packages == ("python3.12", "python3.12-venv")
    assert base.python_image is None


def test_any_other_python_is_copied_from_an_image_with_an_older_glibc() -> None:
    base, _ = choose_base(ORT_13, "3.13")

    assert base.python_from is PythonFrom.COPY
    assert base.python_image == "python:3.13-slim-bookworm"
    assert "libssl3t64" in base.system_packages


def test_cuda_that_was_asked_for_is_taken_without_any_gpu_package() -> None:
    base, warnings = choose_base(CPU, "3.11", cuda="12.6")

    assert base.image == "nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04"
    assert base.reason == "CUDA 12.6 was asked for"
    assert warnings == ()


def test_a_full_cuda_version_is_taken_as_it_is() -> None:
    base, _ = choose_base(CPU, "3.11", cuda="13.1.1")

    assert base.image == "nvidia/cuda:13.1.1-cudnn-runtime-ubuntu24.04"


def test_cuda_twice_is_warned_of_with_cuda_or_a_cuda_base() -> None:
    cases: list[Any] = [{"cuda": "13.0"}, {"base": "nvidia/cuda:13.0.3-runtime-ubuntu24.04"}]
    for asked in cases:
        _, warnings = choose_base(TORCH, "3.11", **asked)

        assert len(warnings) == 1
        assert warnings[0].startswith("CUDA is carried twice")


def test_cuda_of_another_major_version_than_the_package_is_warned_of() -> None:
    _, warnings = choose_base(ORT_13, "3.12", cuda="12.6")
    assert len(warnings) == 1
    assert warnings[0] == (
        "CUDA 12.6 was asked for, but onnxruntime-gpu 1.31.1 was built for CUDA 13: "
        "it may not find a GPU"
    )

    _, warnings = choose_base({**ORT_13, **CUDA_12_WHEELS}, "3.12")
    assert "the lock brings CUDA 12.9" in warnings[0]


def test_missing_cudnn_wheels_are_warned_of_with_what_to_require() -> None:
    wheels = {"nvidia-cuda-runtime": "13.5.37"}

    _, warnings = choose_base({**ORT_13, **wheels}, "3.11")

    assert len(warnings) == 1
    assert warnings[0] == (
        "onnxruntime-gpu 1.31.1 needs cuDNN too and the lock brings none: "
        "require 'onnxruntime-gpu[cuda,cudnn]' instead"
    )


def test_a_base_that_was_asked_for_is_taken_and_keeps_the_gpu_in_mind() -> None:
    base, _ = choose_base(TORCH, "3.11", base="registry.example.com:5000/team/base:1")

    assert base.image == "registry.example.com:5000/team/base:1"
    assert base.python_from is PythonFrom.BASE
    assert base.has_gpu
    assert base.size_bytes is None


@pytest.mark.parametrize(
    ("packages", "asked", "message"),
    [
        (CPU, {"base": "python:3.11-slim", "cuda": "12.6"}, "both asked for"),
        (CPU, {"cuda": "11.8"}, "no base with CUDA 11.8"),
        (CPU, {"cuda": "12"}, "is no version of CUDA"),
        (CPU, {"cuda": "12.6-x\nRUN evil"}, "is no version of CUDA"),
        (CPU, {"cuda": "12.7"}, "no image with CUDA 12.7 is known"),
        (CPU, {"base": "python:3.11\nRUN evil"}, "is not the name of an image"),
        (CPU, {"base": "--platform=x"}, "is not the name of an image"),
        ({"onnxruntime-gpu": "1.18.1"}, {}, "was built for CUDA 11"),
        ({**ORT_13, "cupy-cuda12x": "14.2.0"}, {}, "needs CUDA 12"),
    ],
)
def test_what_cannot_be_is_refused_with_a_way_out(
    packages: dict[str, str], asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        choose_base(packages, "3.11", **asked)

    assert caught.value.hint


@pytest.mark.parametrize(
    ("base", "is_cuda"),
    [
        ("nvidia/cuda:13.0.3-runtime-ubuntu24.04", True),
        ("registry.example.com:5000/mirror/nvidia/cuda:12.6.3-base", True),
        ("nvidia/cuda@sha256:" + "0" * 64, True),
        ("127.0.0.1:5000/nvidia/cuda", True),
        ("registry.example.com/nvidia/cuda-samples:1", False),
        ("python:3.11-slim", False),
    ],
)
def test_bases_of_nvidia_are_known_from_whichever_registry(*, base: str, is_cuda: bool) -> None:
    chosen, warnings = choose_base(CPU, "3.11", base=base)
    _, twice = choose_base(TORCH, "3.11", base=base)

    assert chosen.has_gpu is is_cuda
    assert warnings == ()
    assert any("carried twice" in one for one in twice) is is_cuda


@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("python:3.11-slim", "python:3.11-slim"),
        ("engine:team/base:1", "team/base:1"),
        ("registry:registry.example.com/base:1", "registry.example.com/base:1"),
        ("oci:/srv/bases/python", None),
        ("oci-archive:base.tar", None),
        ("docker-archive:base.tar", None),
    ],
)
def test_a_base_may_be_named_by_where_it_is(base: str, name: str | None) -> None:
    chosen, _ = choose_base(CPU, "3.11", base=base)

    assert chosen.image == base
    assert chosen.name == name


@pytest.mark.parametrize(
    "base", ["oci:a\nRUN x", "engine:UPPER", "registry:a b", "oci:", "other:a/b"]
)
def test_a_place_that_is_none_is_refused(base: str) -> None:
    with pytest.raises(UsageError):
        choose_base(CPU, "3.11", base=base)


def test_the_size_of_a_base_is_known_where_somebody_measured_it() -> None:
    sizes = {
        machine: choose_base(CPU, "3.13", platform=Platform(machine))[0].size_bytes
        for machine in ("x86_64", "aarch64")
    }

    assert sizes == {"x86_64": 126_250_000, "aarch64": None}
