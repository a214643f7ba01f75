"""A replica gets the next pair there is, a deployment the least machine that has what it asks for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelpack_azure.sizes import GIB, MACHINES, machine_of, profile_of, size_notes, size_of

from modelpack.deploy import DeploySettings
from modelpack.errors import UsageError


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, (0.5, "1Gi")),
        ({"cpu": 0.1}, (0.25, "0.5Gi")),
        ({"cpu": 1.1}, (1.25, "2.5Gi")),
        ({"memory_bytes": 3 * GIB}, (1.5, "3Gi")),
        ({"cpu": 4.0, "memory_bytes": 8 * GIB}, (4.0, "8Gi")),
        ({"accelerator": "nvidia-t4:1"}, (8.0, "56Gi")),
        ({"accelerator": "nvidia-a100:1", "cpu": 2.0}, (2.0, "220Gi")),
        ({"instance": "big", "cpu": 6.0}, (6.0, "12Gi")),
    ],
)
def test_a_replica_gets_a_pair_that_there_is(
    settings: dict[str, Any], size: tuple[float, str]
) -> None:
    found = size_of(DeploySettings(**settings))
    assert (found.cpu, found.memory) == size


@given(cpu=st.floats(0.01, 4), gib=st.floats(0.01, 8))
def test_a_pair_is_never_less_than_asked_for_and_always_one_of_azures(
    cpu: float, gib: float
) -> None:
    settings = DeploySettings(cpu=cpu, memory_bytes=max(1, int(gib * GIB)))
    found = size_of(settings)
    assert found.cpu >= cpu
    assert found.gib * GIB >= int(gib * GIB)
    assert found.gib == found.cpu * 2
    assert (found.cpu / 0.25).is_integer()
    assert size_notes(settings) or (found.cpu, found.gib) == (cpu, gib)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cpu": 5.0}, "at most 4 processors and 8 GiB"),
        ({"accelerator": "nvidia-t4:1", "cpu": 9.0}, "has 8 processors and 56 GiB"),
    ],
)
def test_more_than_there_is_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        size_of(DeploySettings(**settings))


def test_a_machine_is_no_profile_and_a_profile_no_machine() -> None:
    assert profile_of(DeploySettings(instance="big-one")) == "big-one"
    with pytest.raises(UsageError, match="is a machine, and Container Apps has workload profiles"):
        profile_of(DeploySettings(instance="Standard_DS3_v2"))
    with pytest.raises(UsageError, match="'big-one' is no type of machine"):
        machine_of(DeploySettings(instance="big-one"))
    assert machine_of(DeploySettings(instance="Standard_HB120rs_v3"))[0] == "Standard_HB120rs_v3"


@given(cpu=st.integers(1, 32), gib=st.integers(1, 256), gpus=st.integers(0, 4))
def test_no_smaller_machine_of_the_family_would_do(cpu: int, gib: int, gpus: int) -> None:
    wanted: dict[str, Any] = {"accelerator": f"nvidia-t4:{gpus}"} if gpus else {}
    settings = DeploySettings(cpu=float(cpu), memory_bytes=gib * GIB, **wanted)
    try:
        name, _ = machine_of(settings)
    except UsageError:
        assert not any(_fits(one, cpu, gib, gpus) for one in MACHINES)
        return
    [chosen] = [one for one in MACHINES if one.name == name]
    assert _fits(chosen, cpu, gib, gpus)
    before = MACHINES[: MACHINES.index(chosen)]
    assert not any(_fits(one, cpu, gib, gpus) for one in before)


def _fits(one: Any, cpu: int, gib: int, gpus: int) -> bool:
    kind = "nvidia-t4" if gpus else None
    return one.cpu >= cpu and one.gib >= gib and one.count >= gpus and one.accelerator == kind
