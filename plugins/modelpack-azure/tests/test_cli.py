"""What people type and read, from the plan to the end of a deployment, over the small Azure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .azure_cli import Cli, cli

__all__ = ["cli"]

APPS = ("--option", "registry=images", "--option", "environment=env")
ML = ("--option", "workspace=work")


def settings(**deploy: Any) -> None:
    text = {"name": "words", "service": "service:Words", "deploy": deploy}
    Path("modelpack.yaml").write_text(json.dumps(text))


@pytest.mark.parametrize(("target", "options"), [("azure", APPS), ("azure-ml", ML)])
def test_a_deployment_goes_its_whole_way(cli: Cli, target: str, options: tuple[str, ...]) -> None:
    assert "4 to create" in cli.deploy(target, *options, "--plan").out
    assert cli.azure.resources() == [], "a plan has changed something"
    done = cli.deploy(target, *options, "--yes")
    assert done.status == 0, done.err
    assert "deployment 'words' is running: words:1" in done.err

    shown = cli("deployments", "status", "words").out
    assert "state     running" in shown
    assert "words:1" in cli("deployments", "list").out
    assert "this is it" in cli("deployments", "logs", "words").out
    assert cli("deployments", "logs", "words", "--tail", "1").out == "asked for /readyz\n"

    settings(env={"A": "1"}, traffic={"canary_percent": 25})
    done = cli.deploy(target, *options, "--save", "kept.plan")
    assert "25 % of the calls until the next deploy" in done.out + done.err
    done = cli("apply", "kept.plan", "--yes")
    assert done.status == 0, done.err
    assert "has 25 % of the calls, 'words:1' the rest" in cli("deployments", "status", "words").out
    assert cli("deployments", "rollback", "words", "--yes").status == 0
    assert "% of the calls" not in cli("deployments", "status", "words").out
    assert len(cli("deployments", "history", "words").out.splitlines()) == 1 + 3

    done = cli("deployments", "scale", "words", "--min", "2", "--yes")
    assert done.status == 0, done.err
    done = cli("deployments", "destroy", "words", "--yes")
    assert done.status == 0, done.err
    assert cli.azure.resources() == []
    cli("deployments", "status", "words").failed_well(3)


def test_a_canary_goes_on_without_its_share(cli: Cli) -> None:
    cli.deploy("azure-container-apps", *APPS, "--yes")
    settings(env={"A": "1"}, traffic={"canary_percent": 25})
    cli.deploy("azure-container-apps", *APPS, "--yes")
    settings(env={"A": "1"})

    done = cli.deploy("azure-container-apps", *APPS, "--yes")

    assert done.status == 0, done.err
    assert list(cli.azure.apps.moves[-1].values()) == [100]
    assert "% of the calls" not in cli("deployments", "status", "words").out


def test_what_would_be_sent_is_written_without_an_account(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID")
    assert cli.deploy("azure-container-apps", "--output", "out").status == 0
    assert cli.deploy("azure-ml", "--output", "ml").status == 0
    assert json.loads(Path("out/template.json").read_text())["resources"]
    names = sorted(one.name for one in Path("ml").iterdir())
    assert names == ["deployment.json", "endpoint.json", "environment.json"]


WRONG: tuple[tuple[str, tuple[str, ...], int, str], ...] = (
    ("azure", ("--option", "registri=images"), 2, "registri"),
    ("azure", ("--option", "registry=images"), 2, "needs '--option environment=NAME'"),
    ("azure", ("--option", "environment=env"), 2, "needs '--option registry=NAME'"),
    ("azure-ml", (), 2, "needs '--option workspace=NAME'"),
    ("azure", (*APPS, "--option", "registry=x"), 2, "5 to 50 letters"),
    ("azure", (*APPS, "--option", "environment=a b"), 2, "'a b' is no name"),
    ("azure", (*APPS, "--option", "identity=/subscriptions/x"), 2, "option 'identity'"),
    ("azure", (*APPS, "--option", "subscription=mine"), 2, "no id of a subscription"),
    ("azure", (*APPS, "--option", "resource_group=a/b"), 2, "option 'resource_group'"),
    ("azure", (*APPS, "--option", "grpc=maybe"), 2, "must be yes or no"),
    ("azure", (*APPS, "--option", "timeout=9"), 2, "is for the mode 'ml'"),
    ("azure-ml", (*ML, "--option", "timeout=900"), 2, "must be 1 to 180"),
    ("azure-ml", (*ML, "--option", "mirror=60"), 2, "must be 1 to 50"),
    ("azure-ml", (*ML, "--option", "environment=env"), 2, "no option 'environment'"),
    ("azure", (*APPS, "--mode", "aks"), 2, "'aks' is none of this target"),
    ("azure-ml", (*ML, "--instance", "ml.m5.large"), 2, "no type of machine of Azure"),
    ("azure-ml", (*ML, "--instance", "Standard_ds3_v2"), 2, "did you mean 'Standard_DS3_v2'"),
    ("azure-container-apps", (*APPS, "--instance", "Standard_DS3_v2"), 2, "is a machine"),
    ("azure-container-apps", (*APPS, "--instance", "gpu.t4"), 2, "no name of a workload profile"),
    ("azure", (*APPS, "--region", "mars"), 2, "the environment is in 'West Europe'"),
    ("azure", (*APPS, "--option", "environment=other"), 3, "no Container Apps environment"),
    ("azure", (*APPS, "--option", "registry=others"), 3, "no container registry 'others'"),
    ("azure-ml", ("--option", "workspace=other"), 3, "there is no workspace 'other'"),
    ("azure", (*APPS, "--option", "resource_group=other"), 3, "in 'other'"),
)


@pytest.mark.parametrize(("target", "words", "status", "said"), WRONG)
def test_what_is_wrong_is_said_before_anything_is_done_and_mostly_before_azure_is_asked(
    cli: Cli, target: str, words: tuple[str, ...], status: int, said: str
) -> None:
    if status == 2 and "mars" not in words:
        done = cli.deploy(target, *words, "--plan", "--offline")
        done.failed_well(status)
        assert said in done.err, done.err
        assert cli.azure.calls == []
    done = cli.deploy(target, *words, "--yes")
    done.failed_well(status)
    assert said in done.err, done.err
    assert cli.azure.sent == []
