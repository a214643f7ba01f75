"""A table of specs for instances of every kind, rendered, linted, and their script read."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from modelpack_aws import ec2, policy
from modelpack_aws.template import Template
from modelpack_aws.wanted import GIB, Accelerator, Network, Scaling, Wanted

from modelpack.errors import UsageError


def wanted(**more: Any) -> Wanted:
    base = {"name": "digits", "bundle": "digits:1", "revision": "a" * 12, "mode": "ec2"}
    return Wanted(**{**base, **more})


SPECS = {
    "the least": wanted(),
    "named": wanted(instance="m7i.2xlarge", cpu=4.0, memory_bytes=8 * GIB),
    "not in the table": wanted(instance="x2iedn.32xlarge"),
    "spot": wanted(spot=True, scaling=Scaling(least=1, most=4, in_flight=4)),
    "gpu": wanted(accelerator=Accelerator(kind="nvidia-l4"), scaling=Scaling(least=2, most=6)),
    "eight gpus": wanted(accelerator=Accelerator(kind="h100", count=8)),
    "spot gpu": wanted(accelerator=Accelerator(kind="nvidia-t4"), spot=True),
    "inferentia": wanted(accelerator=Accelerator(kind="inferentia2", count=6)),
    "trainium": wanted(accelerator=Accelerator(kind="trainium")),
    "secrets": wanted(
        env={"GREETING": "it's ${HOME} $(reboot) `id`"},
        secrets={
            "TOKEN": "secretsmanager:digits/token",
            "ARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x-AbCdEf",
            "SHORT": "ssm:/digits/short",
        },
    ),
    "public": wanted(network=Network(public=True)),
}
SAMPLE = ("spot gpu", "secrets")


@pytest.mark.parametrize("name", SPECS)
def test_every_template_keeps_our_rules(name: str) -> None:
    spec = SPECS[name]
    assert policy.lint(ec2.render(spec).to_json(), public=spec.network.public) == []


@pytest.mark.parametrize(
    "name",
    [one if one in SAMPLE else pytest.param(one, marks=pytest.mark.long) for one in SPECS],
)
def test_every_template_is_without_a_finding(
    name: str, check_template: Callable[..., None]
) -> None:
    spec = SPECS[name]
    check_template(ec2.render(spec), public=spec.network.public)


def launch(template: Template) -> dict[str, Any]:
    return template.resources["Launch"]["Properties"]["LaunchTemplateData"]


def script(template: Template) -> str:
    """The user data with words of their kind in place of what CloudFormation knows."""
    parts = launch(template)["UserData"]["Fn::Base64"]["Fn::Join"][1]
    known = {
        "AWS::Region": "eu-west-1",
        "AWS::StackId": "arn:aws:cloudformation:eu-west-1:1:stack/x/y",
        "Image": "1.dkr.ecr.eu-west-1.amazonaws.com/modelpack/digits@sha256:00",
        "Logs": "logs",
    }
    return "".join(
        part if isinstance(part, str) else known.get(part.get("Ref", ""), "arn:aws:x")
        for part in parts
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("name", SPECS)
def test_bash_can_read_the_script(name: str) -> None:
    done = subprocess.run(
        ["bash", "-n"], input=script(ec2.render(SPECS[name])), text=True, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_no_value_of_a_user_is_read_by_the_shell(tmp_path: Any) -> None:
    text = script(ec2.render(SPECS["secrets"]))
    start = text.index("cat > /etc/modelpack.env")
    end = text.index("MODELPACK_END_OF_FILE\n", start + 60) + len("MODELPACK_END_OF_FILE\n")
    lines = text[start:end].replace("/etc/modelpack.env", str(tmp_path / "env"))
    subprocess.run(["bash", "-euc", lines], check=True, env={"HOME": "/wrong"})
    written = (tmp_path / "env").read_text().splitlines()
    assert "GREETING=it's ${HOME} $(reboot) `id`" in written


def test_a_new_instance_is_ready_before_an_old_one_goes() -> None:
    group = ec2.render(SPECS["gpu"]).resources["Instances"]
    rolling = group["UpdatePolicy"]["AutoScalingRollingUpdate"]
    assert (rolling["MinInstancesInService"], group["Properties"]["MaxSize"]) == (2, "7")
    assert rolling["WaitOnResourceSignals"] is True
    assert group["CreationPolicy"]["ResourceSignal"] == {"Count": 2, "Timeout": "PT420S"}
    assert "tell SUCCESS" in script(ec2.render(SPECS["gpu"]))


@pytest.mark.parametrize(
    ("name", "type_", "image", "words"),
    [
        ("the least", "t3.small", "", ""),
        ("gpu", "g6.xlarge", "gpu/", "--gpus all"),
        ("eight gpus", "p5.48xlarge", "gpu/", "--gpus all"),
        ("inferentia", "inf2.24xlarge", "neuron/", "--device=/dev/neuron5"),
        ("trainium", "trn1.2xlarge", "neuron/", "--device=/dev/neuron0"),
    ],
)
def test_devices_come_with_their_drivers(name: str, type_: str, image: str, words: str) -> None:
    template = ec2.render(SPECS[name])
    assert launch(template)["InstanceType"] == type_
    default = template.parameters["MachineImage"]["Default"]
    assert (
        default == f"/aws/service/ecs/optimized-ami/amazon-linux-2023/{image}recommended/image_id"
    )
    assert words in script(template)


def test_spot_is_asked_for_and_explained() -> None:
    group = ec2.render(SPECS["spot"]).resources["Instances"]["Properties"]
    shares = group["MixedInstancesPolicy"]["InstancesDistribution"]
    assert shares["OnDemandPercentageAboveBaseCapacity"] == 0
    assert "LaunchTemplate" not in group
    assert any("spot instances go" in note for note in ec2.notes(SPECS["spot"]))


def test_containers_get_no_keys_of_the_instance() -> None:
    options = launch(ec2.render(wanted()))["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)


def test_a_script_that_ec2_does_not_take_is_refused() -> None:
    with pytest.raises(UsageError, match="EC2 takes 16384"):
        ec2.render(wanted(env={f"V{number}": "x" * 1000 for number in range(20)}))
