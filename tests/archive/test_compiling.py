from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.compiling import compile_lock
from modelpack.archive.inputs import Inputs, Pins
from modelpack.archive.local_wheels import wheel_of
from modelpack.archive.lockfile import LockedPackage, read_lock
from modelpack.archive.platforms import Platform, target_of
from modelpack.errors import BuildError, DigestMismatchError
from modelpack.manifest import sha256_digest

AMD64 = Platform("x86_64")
ARM64 = Platform("aarch64")
BOTH = target_of((ARM64, AMD64))
LINUX = {"x86_64": "cp311-cp311-manylinux_2_17_x86_64", "aarch64": "cp311-cp311-linux_aarch64"}


def locked(inputs: Inputs, folder: Path) -> dict[str, LockedPackage]:
    return {one.name: one for one in read_lock(compile_lock(inputs, folder))}


def digest_of(wheel: Path) -> str:
    return sha256_digest(wheel.read_bytes())


def test_one_lock_holds_the_hashes_of_every_platform(index: Any, tmp_path: Path) -> None:
    wheels = [index.add("fast", "1.0", tag=LINUX[one]) for one in ("x86_64", "aarch64")]
    found = locked(Inputs(("fast",), "3.11", BOTH), tmp_path)
    assert set(found["fast"].hashes) == {digest_of(wheel) for wheel in wheels}
    assert found["fast"].marker is None


def test_what_differs_between_platforms_gets_a_marker(index: Any, tmp_path: Path) -> None:
    index.add("fast", "1.0", tag=LINUX["aarch64"])
    index.add("fast", "2.0", tag=LINUX["x86_64"], requires=("only-intel",))
    index.add("only-intel", "1.0")
    text = compile_lock(Inputs(("fast", "tiny"), "3.11", BOTH), tmp_path)
    found = [(one.name, one.version, one.marker) for one in read_lock(text)]
    assert found == [
        ("fast", "1.0", 'platform_machine == "aarch64"'),
        ("fast", "2.0", 'platform_machine == "x86_64"'),
        ("only-intel", "1.0", 'platform_machine == "x86_64"'),
        ("tiny", "1.1", None),
        ("tiny-helper", "2.5", None),
    ]


@pytest.mark.parametrize("machine", LINUX)
def test_platforms_agree_on_versions_where_they_can(
    index: Any, tmp_path: Path, machine: str
) -> None:
    """The newest has no wheel for one of them: both take the one before."""
    for tag in LINUX.values():
        index.add("fast", "1.0", tag=tag)
    index.add("fast", "2.0", tag=LINUX[machine])
    found = locked(Inputs(("fast",), "3.11", BOTH), tmp_path)
    assert (found["fast"].version, found["fast"].marker) == ("1.0", None)


def test_a_package_without_a_wheel_for_one_platform_is_named_with_it(
    index: Any, tmp_path: Path
) -> None:
    index.add("fast", "1.0", tag=LINUX["x86_64"])
    with pytest.raises(BuildError, match=r"for linux/arm64: .*fast"):
        compile_lock(Inputs(("fast",), "3.11", BOTH), tmp_path)


def test_the_same_inputs_give_the_same_bytes(index: Any, tmp_path: Path) -> None:
    inputs = Inputs(("tiny", "onnxruntime"), "3.11", BOTH)
    assert compile_lock(inputs, tmp_path) == compile_lock(inputs, tmp_path / "elsewhere")


def test_what_is_preferred_is_taken_where_it_fits(index: Any, tmp_path: Path) -> None:
    def version(*preferred: str) -> str:
        inputs = Inputs(("tiny",), "3.11", AMD64.triple, preferred=preferred)
        return locked(inputs, tmp_path)["tiny"].version

    assert [version(), version("tiny==1.0"), version("tiny==0.1")] == ["1.1", "1.0", "1.1"]


# Wheels of one's own


def test_a_wheel_of_ones_own_is_taken_and_not_the_higher_version_of_an_index(
    index: Any, tmp_path: Path
) -> None:
    """Neither when it is required by name nor when another package needs it."""
    own = wheel_in(index, tmp_path, "corp-lib", "1.0")
    index.add("corp-lib", "99.0")
    index.add("app", "1.0", requires=("corp-lib",))
    for line in ("corp-lib", "app"):
        found = locked(Inputs((line,), "3.11", AMD64.triple, wheels=(wheel_of(own),)), tmp_path)
        assert found["corp-lib"].version == "1.0"
        assert found["corp-lib"].hashes == (digest_of(own),)


def test_a_wheel_with_an_odd_version_in_an_odd_folder_is_found(index: Any, tmp_path: Path) -> None:
    own = wheel_of(index.beside(tmp_path / "my own + wheels", "corp-lib", "1.0+corp.2"))
    found = locked(Inputs(("corp-lib",), "3.11", AMD64.triple, wheels=(own,)), tmp_path)
    assert found["corp-lib"] == LockedPackage("corp-lib", "1.0+corp.2", None, (own.hash,))


def test_what_a_stranger_says_of_the_same_version_counts_for_nothing(
    index: Any, tmp_path: Path
) -> None:
    own = wheel_in(index, tmp_path, "corp-lib", "1.0")
    index.add("corp-lib", "1.0", requires=("evil",))
    index.add("evil", "1.0")
    inputs = Inputs(("corp-lib",), "3.11", AMD64.triple, wheels=(wheel_of(own),))
    assert set(locked(inputs, tmp_path)) == {"corp-lib"}


def test_a_wheel_that_nothing_needs_stays_out(index: Any, tmp_path: Path) -> None:
    own = wheel_of(wheel_in(index, tmp_path, "corp-lib", "1.0"))
    inputs = Inputs(("tiny==1.0",), "3.11", AMD64.triple, wheels=(own,))
    assert set(locked(inputs, tmp_path)) == {"tiny"}


def test_a_wheel_that_is_too_old_is_not_replaced_in_silence(index: Any, tmp_path: Path) -> None:
    own = wheel_of(wheel_in(index, tmp_path, "corp-lib", "1.0"))
    index.add("corp-lib", "2.0")
    with pytest.raises(BuildError, match="corp-lib"):
        compile_lock(Inputs(("corp-lib>=2",), "3.11", AMD64.triple, wheels=(own,)), tmp_path)


def test_a_wheel_that_does_not_run_on_one_platform_is_not_taken_from_an_index_there(
    index: Any, tmp_path: Path
) -> None:
    own = wheel_of(wheel_in(index, tmp_path, "corp-lib", "1.0", tag=LINUX["x86_64"]))
    index.add("corp-lib", "1.0")
    with pytest.raises(BuildError, match="does not run on linux/arm64"):
        compile_lock(Inputs(("corp-lib",), "3.11", BOTH, wheels=(own,)), tmp_path)


def test_of_several_wheels_the_one_that_fits_best_is_taken(index: Any, tmp_path: Path) -> None:
    own = [
        wheel_of(wheel_in(index, tmp_path, "corp-lib", "1.0", tag=tag))
        for tag in ("py3-none-any", LINUX["x86_64"], LINUX["aarch64"])
    ]
    found = locked(Inputs(("corp-lib",), "3.11", BOTH, wheels=tuple(own)), tmp_path)
    assert set(found["corp-lib"].hashes) == {own[1].hash, own[2].hash}


# A lock that the project has


def pins_of(wheel: Path, *, version: str = "1.0", are_requirements: bool = True) -> Pins:
    package = LockedPackage("tiny", version, None, (digest_of(wheel), "sha256:" + "0" * 64))
    return Pins("uv.lock", {AMD64: (package,)}, are_requirements)


def test_a_lock_of_the_project_decides_version_and_hash(index: Any, tmp_path: Path) -> None:
    wheel = index.folder / "tiny-1.0-py3-none-any.whl"
    found = locked(Inputs((), "3.11", AMD64.triple, pins=pins_of(wheel)), tmp_path)
    assert found["tiny"] == LockedPackage("tiny", "1.0", None, (digest_of(wheel),))


def test_versions_alone_bring_nothing_in(index: Any, tmp_path: Path) -> None:
    pins = pins_of(index.folder / "tiny-1.0-py3-none-any.whl", are_requirements=False)
    inputs = Inputs(("tiny-helper",), "3.11", AMD64.triple, pins=pins)
    assert set(locked(inputs, tmp_path)) == {"tiny-helper"}


def test_other_bytes_than_the_lock_of_the_project_names_are_refused(
    index: Any, tmp_path: Path
) -> None:
    pins = pins_of(index.add("other", "1.0"))
    with pytest.raises(DigestMismatchError, match=r"other files of 'tiny' 1.0 than 'uv.lock'"):
        compile_lock(Inputs((), "3.11", AMD64.triple, pins=pins), tmp_path)


def wheel_in(index: Any, tmp_path: Path, name: str, version: str, **details: Any) -> Path:
    """Write a wheel into a folder that no index knows."""
    folder = tmp_path / "own"
    folder.mkdir(exist_ok=True)
    made: Path = index.beside(folder, name, version, **details)
    return made
