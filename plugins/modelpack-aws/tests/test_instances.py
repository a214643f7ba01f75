"""The table is what EC2 says of its types, and the cheapest that fits is chosen."""

from __future__ import annotations

import gzip
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from modelpack_aws.instances import TABLE, Instance, choose
from modelpack_aws.wanted import GIB, Accelerator

from modelpack.errors import UsageError

KINDS = {
    "T4": "nvidia-t4",
    "L4": "nvidia-l4",
    "A10G": "nvidia-a10g",
    "L40S": "nvidia-l40s",
    "A100": "nvidia-a100",
    "H100": "nvidia-h100",
    "Inferentia": "aws-inferentia",
    "Inferentia2": "aws-inferentia2",
    "Trainium": "aws-trainium",
}


@cache
def recorded() -> dict[str, Any]:
    """Answers of DescribeInstanceTypes, as moto brings them."""
    found = find_spec("moto")
    assert found is not None
    assert found.origin is not None
    file = Path(found.origin).parent / "ec2" / "resources" / "instance_types.json.gz"
    with gzip.open(file) as stream:
        return json.load(stream)


@pytest.mark.parametrize("instance", TABLE, ids=lambda one: one.name)
def test_the_table_is_what_ec2_says(instance: Instance) -> None:
    said = recorded()[instance.name]
    devices = [
        *said.get("GpuInfo", {}).get("Gpus", []),
        *said.get("NeuronInfo", {}).get("NeuronDevices", []),
    ]
    assert said["VCpuInfo"]["DefaultVCpus"] == instance.cpu
    assert said["MemoryInfo"]["SizeInMiB"] == instance.memory_mib
    assert said["ProcessorInfo"]["SupportedArchitectures"] == ["x86_64"]
    assert [
        (KINDS[one["Name"]], one["Count"], one["MemoryInfo"]["SizeInMiB"]) for one in devices
    ] == (
        [(instance.accelerator, instance.devices, instance.device_mib)]
        if instance.accelerator
        else []
    )


@pytest.mark.parametrize(
    ("cpu", "gib", "accelerator", "name"),
    [
        (None, None, None, "t3.small"),
        (1, 2, None, "t3.medium"),
        (2, 8, None, "r7i.large"),  # 8 GiB for the service do not fit beside the system
        (3, 6, None, "c7i.xlarge"),
        (8, 30, None, "m7i.2xlarge"),
        (None, 100, None, "r7i.4xlarge"),
        (None, None, Accelerator(kind="nvidia-l4"), "g6.xlarge"),
        (None, None, Accelerator(kind="L4"), "g6.xlarge"),
        (None, None, Accelerator(kind="gpu"), "g4dn.xlarge"),
        (None, None, Accelerator(kind="nvidia", count=8), "g6.48xlarge"),
        (None, 24, Accelerator(kind="nvidia-a10g"), "g5.2xlarge"),
        (None, None, Accelerator(kind="inferentia"), "inf1.xlarge"),
        (None, None, Accelerator(kind="inferentia2", count=2), "inf2.24xlarge"),
        (None, None, Accelerator(kind="h100"), "p5.4xlarge"),
    ],
)
def test_the_cheapest_that_holds_it_is_chosen(
    cpu: float | None, gib: float | None, accelerator: Accelerator | None, name: str
) -> None:
    memory = None if gib is None else int(gib * GIB)
    found = choose(cpu=cpu, memory_bytes=memory, accelerator=accelerator, instance="auto")
    assert found.instance.name == name
    assert "cheapest" in found.why


def test_a_named_type_is_taken_whether_the_table_knows_it_or_not() -> None:
    assert choose(instance="m7i.large").instance.cpu == 2
    other = choose(instance="x2iedn.32xlarge", accelerator=None)
    assert (other.instance.name, other.instance.usd_hour) == ("x2iedn.32xlarge", None)
    gpu = choose(instance="g7.xlarge", accelerator=Accelerator(kind="gpu", count=1)).instance
    assert gpu.is_gpu


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"instance": "m7i.large", "cpu": 4.0}, "'m7i.large' has 2 vCPU"),
        ({"instance": "t3.small", "memory_bytes": 2 * GIB}, "some of it for the system"),
        ({"instance": "m7i.large", "accelerator": Accelerator(kind="gpu")}, "no accelerator"),
        ({"instance": "m7i large; reboot"}, "is no instance type"),
        (
            {"instance": "g6e.xlarge", "accelerator": Accelerator(kind="nvidia-l4")},
            "has 1 x nvidia-l40s",
        ),
        ({"cpu": 1000.0}, "no instance type has 1000 vCPU"),
        ({"accelerator": Accelerator(kind="tpu-v5e")}, "AWS has no 'tpu-v5e'"),
        ({"accelerator": Accelerator(kind="elastic-inference")}, "ended Elastic Inference"),
    ],
)
def test_what_cannot_be_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose(**asked)
