"""Torch for processors or for CUDA: what uv is told, and what is stopped before it is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.environment import make_environment
from modelpack.archive.inputs import Inputs
from modelpack.archive.lock import ensure_lock, target_platform
from modelpack.archive.lockfile import LockedPackage
from modelpack.archive.platforms import host_platform
from modelpack.archive.torch import (
    backend_of,
    check_backend,
    check_backend_name,
    cuda_packages,
    torch_arguments,
)
from modelpack.archive.wheelhouse import fetch_wheels
from modelpack.errors import BuildError, UsageError

CUDA = ("nvidia-cublas-cu12", "12.6.4.1")


def package(name: str, version: str) -> LockedPackage:
    return LockedPackage(name, version, None, ("sha256:" + "0a" * 32,))


@pytest.mark.parametrize("backend", ["cpu", "cu126", "auto"])
def test_uv_is_told_the_build(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []

    def run(arguments: list[str], **_: Any) -> str:
        commands.append(arguments)
        return "tiny==1.0 --hash=sha256:" + "0a" * 32 + "\n"

    monkeypatch.setattr("modelpack.archive.compiling.run_uv", run)
    inputs = Inputs(("torch",), "3.11", target_platform(), torch_backend=backend)
    ensure_lock(inputs, tmp_path / "requirements.lock")
    assert [one for one in commands[0] if "torch" in one] == [f"--torch-backend={backend}"]


def test_nothing_is_said_to_uv_when_nothing_was_asked_for() -> None:
    assert torch_arguments(None) == []


@pytest.mark.parametrize("name", ["cpu --index-url=x", "--offline", "gpu", "cu", "CPU", ""])
def test_a_build_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="not a build of Torch"):
        check_backend_name(name)


def test_the_build_of_a_lock_is_seen_by_its_version() -> None:
    assert backend_of([package("numpy", "2.0"), package("torch", "2.9.0+cpu")]) == "cpu"
    assert backend_of([package("torchvision", "0.24+cu126")]) == "cu126"
    assert backend_of([package("torch", "2.9.0"), package("other", "1.0+cpu")]) is None


def test_a_lock_with_cuda_is_not_written_where_processors_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = "".join(
        f"{name}=={version} --hash=sha256:{'0a' * 32}\n"
        for name, version in (("torch", "2.9.0"), CUDA)
    )
    monkeypatch.setattr("modelpack.archive.compiling.run_uv", lambda *_, **__: answer)
    file = tmp_path / "requirements.lock"
    inputs = Inputs(("torch",), "3.11", target_platform(), torch_backend="cpu")
    with pytest.raises(BuildError, match=r"bring CUDA .*nvidia-cublas-cu12 12\.6\.4\.1") as caught:
        ensure_lock(inputs, file)
    assert "nothing was downloaded" in (caught.value.hint or "")
    assert not file.exists()


def test_cuda_is_fine_where_it_was_asked_for_or_nothing_was() -> None:
    packages = [package("torch", "2.9.0+cu126"), package(*CUDA), package("triton", "3.5")]
    for backend in (None, "cu126", "auto"):
        check_backend(packages, backend)
    assert cuda_packages(packages) == [
        "nvidia-cublas-cu12 12.6.4.1",
        "torch 2.9.0+cu126",
        "triton 3.5",
    ]
    assert cuda_packages([package("torch", "2.9.0+cpu"), package("numpy", "2")]) == []


@pytest.mark.parametrize("step", ["wheels", "environment"])
def test_whoever_installs_or_fetches_asks_for_the_build_that_is_locked(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the lock says so: a bundle names no index."""
    commands = []

    def run(arguments: list[str], **_: Any) -> str:
        commands.append(arguments)
        return 'lock-version = "1.0"\ncreated-by = "uv"\npackages = []\n'

    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path))
    for module in ("wheelhouse", "environment"):
        monkeypatch.setattr(f"modelpack.archive.{module}.run_uv", run)
    lock = f"torch==2.9.0+cpu --hash=sha256:{'0a' * 32}\n"
    if step == "wheels":
        with pytest.raises(BuildError, match="no wheel of 'torch'"):
            fetch_wheels(lock, "3.11", [host_platform()])
    else:
        make_environment(tmp_path / "env", lock, "3.11")
    told = [word for command in commands for word in command if word.startswith("--torch")]
    assert told == ["--torch-backend=cpu"]
