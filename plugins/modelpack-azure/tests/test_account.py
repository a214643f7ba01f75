"""Whose Azure it is: found, or said to be missing; what names nothing is refused."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_azure.account import Account, name_or_id
from modelpack_azure.target import ContainerAppsTarget

from modelpack.deploy import rollout
from modelpack.errors import CredentialsError, UsageError
from modelpack.testing import spec_of

from .azure_cases import APPS
from .fake_azure import ENVIRONMENT, GROUP, REGISTRY, SUBSCRIPTION

REGISTRIES = "Microsoft.ContainerRegistry/registries"


def test_without_a_subscription_there_is_a_plan_and_no_apply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID")
    target = ContainerAppsTarget.from_options(APPS)

    plan = rollout.plan_deployment(target, spec_of())

    assert not plan.is_live_known
    assert "no Azure subscription is set" in plan.warnings
    with pytest.raises(CredentialsError, match="no Azure subscription is set"):
        rollout.apply_plan(target, plan)


def test_the_default_subscription_of_the_azure_cli_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID")
    monkeypatch.setenv("AZURE_CONFIG_DIR", str(tmp_path))
    text = f'{{"subscriptions": [{{"id": "{SUBSCRIPTION}", "isDefault": true}}]}}'
    (tmp_path / "azureProfile.json").write_text(text, encoding="utf-8-sig")
    assert Account().subscription == SUBSCRIPTION
    (tmp_path / "azureProfile.json").write_text("[")
    with pytest.raises(CredentialsError):
        _ = Account().subscription


def test_things_are_named_by_name_or_by_id_and_registries_by_their_host_too() -> None:
    account = Account(options={"registry": "images"})
    assert account.given("registry", REGISTRIES, "make it") == REGISTRY
    assert account.path_of("registry", REGISTRY, REGISTRIES) == REGISTRY
    assert account.path_of("registry", "images.azurecr.io", REGISTRIES) == REGISTRY
    assert account.path("Microsoft.App/jobs", "x") == f"{GROUP}/providers/Microsoft.App/jobs/x"


@pytest.mark.parametrize(
    "found", ["mine", "a-registry", "x" * 51, "images.example.org", ENVIRONMENT]
)
def test_what_can_be_no_registry_is_refused(found: str) -> None:
    with pytest.raises(UsageError, match="option 'registry'"):
        name_or_id("registry", found, REGISTRIES)


@pytest.mark.parametrize("group", ["a.", "", "a/b", "x" * 91, "ü"])
def test_what_can_be_no_resource_group_is_refused(group: str) -> None:
    account = Account(options={"resource_group": group})
    if group:
        with pytest.raises(UsageError, match="option 'resource_group'"):
            account.check()
    else:
        assert account.group == "modelpack"
