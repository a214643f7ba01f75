"""Targets are found by name; one that does not load stops nothing else."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from modelpack.deploy import Target, catalog
from modelpack.deploy.catalog import BROUGHT_BY, BUILT_IN, GROUP, Catalog
from modelpack.deploy.docker import DockerTarget
from modelpack.deploy.local import LocalTarget
from modelpack.errors import DeployError, TargetNotFoundError, UsageError


def test_built_in_targets_are_those_that_the_distribution_declares() -> None:
    text = Path(__file__).parents[2].joinpath("pyproject.toml").read_text()
    declared = tomllib.loads(text)["project"]["entry-points"][GROUP]

    assert declared == {point.name: point.value for point in BUILT_IN}


def test_built_in_targets_load() -> None:
    assert catalog.installed().load("local") is LocalTarget
    assert catalog.installed().load("docker") is DockerTarget


def test_a_target_is_made_ready_for_use() -> None:
    assert catalog.target("local") == LocalTarget()


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(UsageError, match="no option 'region'"):
        catalog.target("local", {"region": "eu"})


def test_an_unknown_target_gets_a_suggestion_and_the_known_names() -> None:
    with pytest.raises(TargetNotFoundError) as caught:
        catalog.target("dokcer")

    assert caught.value.exit_code == 3
    assert "did you mean 'docker'?" in caught.value.hint
    assert "docker, local" in caught.value.hint


def test_a_target_of_ours_that_is_not_installed_names_what_brings_it() -> None:
    with pytest.raises(TargetNotFoundError) as caught:
        Catalog.of([]).load("aws")
    with pytest.raises(TargetNotFoundError) as mistyped:
        Catalog.of([]).load("aws-esc")

    assert caught.value.exit_code == 3
    assert caught.value.message == "the target 'aws' is not installed, 'modelpack-aws' brings it"
    assert caught.value.hint == "pip install modelpack-aws"
    assert "did you mean 'aws-ecs'?" in str(mistyped.value.hint)


def test_targets_of_ours_are_those_that_their_distributions_declare() -> None:
    declared: dict[str, str] = {}
    for file in Path(__file__).parents[2].glob("plugins/*/pyproject.toml"):
        project = tomllib.loads(file.read_text())["project"]
        declared |= dict.fromkeys(project.get("entry-points", {}).get(GROUP, ()), project["name"])

    assert declared == BROUGHT_BY


def test_a_plugin_that_does_not_load_is_named_and_stops_nothing_else() -> None:
    broken = EntryPoint("moon", "modelpack_moon:MoonTarget", GROUP)
    found = Catalog.of([broken])

    assert found.names == ["docker", "local", "moon"]
    assert found.load("local") is LocalTarget
    with pytest.raises(DeployError, match=r"'moon' \(modelpack_moon:MoonTarget\).*modelpack_moon"):
        found.load("moon")


def test_nobody_takes_the_name_of_a_built_in_target() -> None:
    thief = EntryPoint("docker", "somebody_else:DockerTarget", GROUP)
    found = Catalog.of([thief])

    assert found.load("docker") is DockerTarget
    assert len(found.problems) == 1
    assert "'somebody_else:DockerTarget' is not" in found.problems[0]


def test_the_own_entry_points_are_no_clash() -> None:
    assert Catalog.of(BUILT_IN).problems == ()


class NoTarget:
    """Has the members and is no target."""

    @classmethod
    def from_options(cls, options):
        return cls()


class Unfinished(Target):
    """Lacks most of what a target must have."""

    name = "unfinished"


@pytest.mark.parametrize(
    ("kind", "what"),
    [("NoTarget", "is no 'modelpack.deploy.Target'"), ("Unfinished", "has no apply, destroy, ")],
)
def test_what_is_not_a_whole_target_is_told_by_its_name(
    kind: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "some_plugin", sys.modules[__name__])
    found = Catalog.of([EntryPoint("half", f"some_plugin:{kind}", GROUP)])
    with pytest.raises(DeployError) as caught:
        found.load("half")
    assert f"the target 'half' (some_plugin:{kind}) {what}" in caught.value.message
