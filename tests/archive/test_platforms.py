from __future__ import annotations

import pytest

from modelpack.archive.platforms import (
    Platform,
    host_platform,
    of_target,
    parse_platforms,
    target_of,
)
from modelpack.errors import UsageError

AMD64 = Platform("x86_64")
ARM64 = Platform("aarch64")


def test_names_are_those_of_container_tools() -> None:
    assert parse_platforms(["linux/arm64,linux/amd64", "LINUX/AMD64"]) == (ARM64, AMD64)
    assert [one.name for one in (AMD64, ARM64)] == ["linux/amd64", "linux/arm64"]


def test_none_named_is_that_of_this_machine() -> None:
    assert parse_platforms([]) == (host_platform(),)


@pytest.mark.parametrize("name", ["linux/arm65", "windows/amd64", "x86_64", "--platform"])
def test_an_unknown_one_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_platforms([name])
    assert "linux/a" in (caught.value.hint or "")


def test_a_target_is_read_as_it_was_written() -> None:
    target = target_of((ARM64, AMD64))
    assert target == "aarch64-unknown-linux-gnu,x86_64-unknown-linux-gnu"
    assert of_target(target) == (ARM64, AMD64)


@pytest.mark.parametrize(
    ("file", "runs"),
    [
        ("a-1-py3-none-any.whl", True),
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("a-1-cp38-abi3-manylinux_2_28_x86_64.whl", True),
        ("a-1-cp311-cp311-linux_x86_64.whl", True),
        ("a-1-cp312-cp312-manylinux_2_17_x86_64.whl", False),
        ("a-1-cp311-cp311-manylinux_2_17_aarch64.whl", False),
        ("a-1-cp311-cp311-musllinux_1_1_x86_64.whl", False),
        ("a-1-cp311-cp311-win_amd64.whl", False),
    ],
)
def test_which_wheels_run_there(file: str, runs: bool) -> None:
    from packaging.utils import parse_wheel_filename

    tags = frozenset(AMD64.tags("3.11"))
    assert tags.isdisjoint(parse_wheel_filename(file)[3]) is not runs


def test_markers_are_those_of_the_platform_and_not_of_this_machine() -> None:
    from packaging.markers import Marker

    marker = Marker('platform_machine == "aarch64" and sys_platform == "linux"')
    assert marker.evaluate(ARM64.environment("3.12"))
    assert not marker.evaluate(AMD64.environment("3.12"))
    assert Marker('python_version == "3.12"').evaluate(ARM64.environment("3.12"))
