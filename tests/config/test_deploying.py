"""Settings of a deployment: in range, apart and together, and no secret among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelpack.config.deploying import GROUPS, DeploySettings
from modelpack.config.load import load_project
from modelpack.errors import ConfigError

WHOLE = """
deploy:
  target: aws
  mode: ecs
  region: eu-central-1
  resources:
    cpu: 2
    memory: 4GiB
    accelerator: nvidia-l4:2
    instance: auto
  scaling:
    min: 0
    max: 4
    in_flight: 8
    idle_s: 300
    cooldown_up_s: 30
    cooldown_down_s: 300
    every_s: 5
    window_s: 30
    max_up_factor: 2
    max_down_factor: 0.5
    up_tolerance: 0.1
    down_tolerance: 0.2
  traffic:
    canary_percent: 10
    bake_s: 120
  env:
    GREETING: hello
  secrets:
    TOKEN: env:TOKEN
  network:
    public: true
    vpc: vpc-1a
    subnets: [subnet-1, subnet-2]
    security_groups: [sg-1]
    allow: [10.0.0.0/8, "2001:db8::/32", 0.0.0.0/0]
  labels:
    team: ml
"""


def written(folder: Path, text: str) -> DeploySettings:
    (folder / "modelpack.yaml").write_text(text)
    return load_project(folder).deploy


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        written(folder, text)
    return [str(m).removeprefix(f"{folder}/modelpack.yaml:") for m in caught.value.mistakes]


def test_every_word_of_the_file_reaches_its_field(tmp_path: Path) -> None:
    settings = written(tmp_path, WHOLE)
    assert (settings.accelerator_kind, settings.accelerator_count) == ("nvidia-l4", 2)
    assert (settings.min_replicas, settings.max_replicas, settings.in_flight) == (0, 4, 8)
    assert (settings.idle_s, settings.cooldown_up_s, settings.cooldown_down_s) == (300, 30, 300)
    assert (settings.every_s, settings.window_s) == (5, 30)
    assert (settings.max_up_factor, settings.max_down_factor) == (2, 0.5)
    assert (settings.up_tolerance, settings.down_tolerance) == (0.1, 0.2)
    assert (settings.canary_percent, settings.bake_s) == (10, 120)
    assert (settings.public, settings.vpc, settings.subnets) == (
        True,
        "vpc-1a",
        ("subnet-1", "subnet-2"),
    )
    assert settings.allow == ("10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0")
    assert (dict(settings.secrets), dict(settings.labels)) == (
        {"TOKEN": "env:TOKEN"},
        {"team": "ml"},
    )
    default = DeploySettings()
    same = {
        name
        for name in default.__dataclass_fields__
        if getattr(settings, name) == getattr(default, name)
    }
    assert same == {"port", "grpc_port", "host", "ready_timeout_s"}


def test_without_a_word_it_is_private_and_one_replica() -> None:
    settings = DeploySettings()
    assert not settings.public
    assert (settings.min_replicas, settings.most_replicas) == (1, 1)
    assert (settings.accelerator_kind, settings.accelerator_count) == (None, 0)


@pytest.mark.parametrize(("fewest", "most", "is_most"), [(0, None, 1), (3, None, 3), (0, 5, 5)])
def test_most_replicas_is_a_number_always(fewest: int, most: int | None, is_most: int) -> None:
    assert DeploySettings(min_replicas=fewest, max_replicas=most).most_replicas == is_most


@pytest.mark.parametrize(
    "values",
    [
        {"host": "-x"},
        {"host": ""},
        {"host": "a b"},
        {"mode": "-ecs"},
        {"mode": "ECS"},
        {"region": "eu central"},
        {"region": "--endpoint-url=http://x"},
        {"instance": "-rf"},
        {"instance": "g6.xlarge; reboot"},
        {"accelerator": "nvidia-l4:0"},
        {"accelerator": "nvidia l4"},
        {"accelerator": ":1"},
        {"min_replicas": -1},
        {"max_replicas": 0},
        {"in_flight": 0},
        {"idle_s": -1.0, "min_replicas": 0},
        {"cooldown_up_s": float("nan")},
        {"every_s": 0.1},
        {"window_s": -1.0},
        {"max_up_factor": 0.9},
        {"max_down_factor": 1.1},
        {"up_tolerance": -0.1},
        {"down_tolerance": 1.5},
        {"canary_percent": 0},
        {"canary_percent": 100},
        {"vpc": "-x"},
        {"subnets": ("a b",)},
        {"security_groups": ("",)},
        {"allow": ("10.0.0.1/8",)},
        {"allow": ("everybody",)},
        {"allow": ("0.0.0.0/0",)},
        {"allow": ("::/0",)},
        {"labels": {"-x": "y"}},
        {"labels": {"team": "a\nb"}},
        {"env": {"A": "x\x00"}},
    ],
)
def test_what_cannot_be_is_refused_and_names_its_field(values: dict[str, Any]) -> None:
    field = next(iter(values))
    with pytest.raises(ValueError, match=f"^{field}[.:]"):
        DeploySettings(**values)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("scaling: {min: 3, max: 2}", "deploy.scaling.max: must be from 3 to 10000, got 2"),
        ("scaling: {idle_s: 5}", "deploy.scaling.idle_s: has a meaning only when scaling.min is 0"),
        ("traffic: {bake_s: 5}", "deploy.traffic.bake_s: has a meaning only with"),
        ("{env: {A: b}, secrets: {A: 'env:A'}}", "deploy.secrets: stands in 'env' too"),
        ("network: {allow: [0.0.0.0/0]}", "needs network.public: true"),
        ("network: {pubic: true}", "deploy.network: unknown key 'pubic', did you mean 'public'?"),
        ("scaling: {min_replicas: 1}", "deploy.scaling: unknown key 'min_replicas'"),
    ],
)
def test_what_is_wrong_together_is_told_at_its_place(tmp_path: Path, text: str, what: str) -> None:
    found = mistakes(tmp_path, f"deploy: {text}\n" if "{env" in text else f"deploy:\n  {text}\n")
    assert len(found) == 1
    assert what in found[0]


def test_a_mistake_is_not_told_again_of_another_key(tmp_path: Path) -> None:
    text = "deploy: {scaling: {min: 3, max: 2}, secrets: {A: hunter2}, labels: {a: b}}\n"
    found = mistakes(tmp_path, text)
    assert [one.split(": ")[1] for one in found] == ["deploy.scaling.max", "deploy.secrets.A"]


@pytest.mark.parametrize("value", ["hunter2", "hunter 2: x", "", "UPPER:hunter2", "x:\nhunter2"])
def test_a_literal_is_no_secret_and_is_not_repeated(value: str) -> None:
    with pytest.raises(ValueError, match=r"secrets\.TOKEN: must be a reference") as caught:
        DeploySettings(secrets={"TOKEN": value})
    assert "hunter2" not in str(caught.value)


def test_every_group_names_fields_that_there_are() -> None:
    fields = DeploySettings.__dataclass_fields__
    grouped = [name for members in GROUPS.values() for name in members]
    assert len(set(grouped)) == len(grouped)
    assert set(grouped) <= set(fields)
