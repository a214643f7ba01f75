"""What is asked for becomes the least that Google has of it."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_gcp.sizes import Machine, RunSize, fits_cloud_run, machine_for, run_size

from modelpack.deploy import DeploySettings
from modelpack.errors import UsageError

GIB = 1024**3


def asked(cpu: float | None = None, gib: float | None = None, **more: Any) -> DeploySettings:
    memory = None if gib is None else int(gib * GIB)
    return DeploySettings(cpu=cpu, memory_bytes=memory, **more)


@pytest.mark.parametrize(
    ("cpu", "gib", "found"),
    [
        (None, None, (1, 2.0)),
        (0.5, 0.25, (1, 0.5)),
        (1, 4, (1, 4.0)),
        (1, 4.1, (2, 4.1)),
        (3, None, (4, 2.0)),
        (4, 1, (4, 2.0)),
        (5, 1, (6, 4.0)),
        (8, 32, (8, 32.0)),
        (None, 32, (8, 32.0)),
    ],
)
def test_an_instance_of_cloud_run_is_the_least_that_fits(
    cpu: float | None, gib: float | None, found: tuple[int, float]
) -> None:
    size = run_size(asked(cpu, gib))

    assert (size.cpu, size.memory_mib / 1024) == (found[0], pytest.approx(found[1], abs=0.001))


@pytest.mark.parametrize(("cpu", "gib"), [(9, None), (None, 33), (8, 32.5)])
def test_more_than_an_instance_has_is_refused(cpu: float | None, gib: float | None) -> None:
    assert not fits_cloud_run(asked(cpu, gib))
    with pytest.raises(UsageError, match="Cloud Run has no instance") as caught:
        run_size(asked(cpu, gib))
    assert "up to 8 processors and 32 GiB" in str(caught.value.hint)


@pytest.mark.parametrize("word", ["nvidia:1", "gpu:1", "nvidia-l4:1"])
def test_an_accelerator_brings_its_least_instance(word: str) -> None:
    assert run_size(asked(accelerator=word)) == RunSize(
        cpu=4, memory_mib=16 * 1024, accelerator="nvidia-l4"
    )


@pytest.mark.parametrize("word", ["nvidia-l4:2", "nvidia-h100:1", "tpu:1"])
def test_accelerators_that_cloud_run_does_not_have_are_refused(word: str) -> None:
    with pytest.raises(UsageError, match=f"Cloud Run has no '{word}'"):
        run_size(asked(accelerator=word))


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (asked(), "n1-standard-2"),
        (asked(3), "n1-standard-4"),
        (asked(None, 20), "n1-standard-8"),
        (asked(accelerator="nvidia-l4:1"), "g2-standard-4"),
        (asked(None, 100, accelerator="nvidia-l4:1"), "g2-standard-32"),
        (asked(accelerator="nvidia-l4:4"), "g2-standard-48"),
        (asked(accelerator="nvidia-h100:8"), "a3-highgpu-8g"),
        (asked(accelerator="nvidia-t4:2"), "n1-standard-4"),
        (asked(instance="auto"), "n1-standard-2"),
        (asked(instance="g2-standard-24"), "g2-standard-24"),
        (asked(instance="c9-standard-4-lssd"), "c9-standard-4-lssd"),
    ],
)
def test_a_machine_of_vertex_is_the_least_that_fits_or_the_one_that_is_named(
    settings: DeploySettings, found: str
) -> None:
    assert machine_for(settings).type == found


def test_a_named_machine_brings_the_accelerators_that_are_built_in() -> None:
    assert machine_for(asked(instance="g2-standard-24")).describe() == (
        "g2-standard-24 (24 vCPU, 96 GiB) with 2 x NVIDIA_L4"
    )
    assert machine_for(asked(instance="c9-standard-4")) == Machine(type="c9-standard-4")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (asked(33), "no machine of the table has 33 processors"),
        (asked(accelerator="nvidia-l4:3"), "a machine has 1, 2, 4, 8 of 'nvidia-l4', not 3"),
        (asked(accelerator="nvidia-l5:1"), "no machine of the table has 'nvidia-l5:1'"),
        (asked(instance="n1-standard-4", accelerator="nvidia-l4:1"), "has no 'nvidia-l4:1'"),
        (asked(instance="ml.banana"), "'ml.banana' is no machine type of Google"),
    ],
)
def test_machines_that_there_are_none_of_are_refused(settings: DeploySettings, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        machine_for(settings)
    assert words in caught.value.message
    assert caught.value.hint
