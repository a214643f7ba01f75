"""The client of Azure Resource Manager: who is asked, what is waited for, and what is said of errors."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_azure.arm import Arm

from modelpack.deploy import rollout
from modelpack.errors import (
    CredentialsError,
    DeployError,
    NotFoundError,
    RefusedError,
    UnreachableError,
    UsageError,
)
from modelpack.testing import spec_of

from .azure_cases import target_of
from .fake_azure import GROUP, FakeAzure, Refused

PATH = f"{GROUP}/providers/Microsoft.App/containerApps/digits"
API = "2026-07-01"


def answers(azure: FakeAzure, status: int, code: str, message: str) -> Arm:
    def answer(*_: Any) -> Any:
        raise Refused(status, code, message)

    azure.answer = answer  # type: ignore[method-assign]
    return azure.arm()


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, CredentialsError, "cannot make 'containerApps/digits': no"),
        (403, RefusedError, "not permitted to make 'containerApps/digits': no"),
        (404, NotFoundError, "cannot make"),
        (400, DeployError, "cannot make"),
        (429, DeployError, "cannot make"),
    ],
)
def test_what_azure_refuses_is_said_in_our_words(
    azure: FakeAzure, status: int, error: type[Exception], words: str
) -> None:
    arm = answers(azure, status, "SomeCode", "no\nway")
    with pytest.raises(error, match=words) as caught:
        arm.put(PATH, API, {})
    assert "\n" not in str(caught.value)


def test_what_is_not_azure_is_said_so(azure: FakeAzure) -> None:
    azure.answer = lambda *_: (200, {}, b"<html>")  # type: ignore[method-assign]
    with pytest.raises(DeployError, match="what answered is not Azure"):
        azure.arm().get(PATH, API)


def test_nobody_there_is_said_so() -> None:
    arm = Arm(endpoint="http://127.0.0.1:9", retries=0)
    with pytest.raises(UnreachableError, match="cannot read 'containerApps/digits'"):
        arm.get(PATH, API)
    arm.close()


@pytest.mark.parametrize("endpoint", ["http://example.org", "ftp://x", "nonsense", "http://"])
def test_tokens_never_go_in_the_clear(endpoint: str) -> None:
    with pytest.raises(UsageError, match="option 'endpoint'"):
        Arm(endpoint=endpoint)


def test_an_emulator_on_this_machine_gets_no_token(azure: FakeAzure) -> None:
    arm = azure.arm()
    arm.credential = object()  # whoever asks it fails
    seen: list[Any] = []
    whole = azure.answer

    def answer(method: str, url: str, headers: Any, data: bytes) -> Any:
        seen.append(headers["Authorization"])
        return whole(method, url, headers, data)

    azure.answer = answer  # type: ignore[method-assign]
    assert arm.get(PATH, API) is None
    assert arm.token("anything") == "none"
    assert seen == [None]


def test_another_change_that_is_under_way_is_waited_for(azure: FakeAzure) -> None:
    whole, refusals = azure.answer, iter(["ContainerAppOperationInProgress"] * 3)

    def answer(method: str, *rest: Any) -> Any:
        if method == "DELETE" and (code := next(refusals, None)):
            raise Refused(409, code, "another operation is under way")
        return whole(method, *rest)

    azure.answer = answer  # type: ignore[method-assign]
    azure.arm().delete(PATH, API)
    assert next(refusals, None) is None


def test_a_region_elsewhere_and_too_much_for_a_replica_are_refused(azure: FakeAzure) -> None:
    target = target_of(azure)
    for more, words in (
        ({"region": "eastus"}, "the environment is in 'West Europe', not in 'eastus'"),
        ({"cpu": 5.0}, "at most 4 processors and 8 GiB"),
        ({"accelerator": "nvidia-t4:2"}, "has one, got 2"),
        ({"accelerator": "nvidia-h100:1"}, "Container Apps has no 'nvidia-h100'"),
        ({"vpc": "v"}, "the network is that of the environment"),
        ({"max_replicas": 2000}, "at most 1000 replicas"),
        ({"secrets": {"T": "keyvault:https://x"}}, "not the address of a secret"),
        ({"mode": "ml"}, "'ml' is none of this target"),
    ):
        with pytest.raises(UsageError, match=words):
            rollout.plan_deployment(target, spec_of(**more))
    with pytest.raises(NotFoundError, match="no workload profile 'gpu-t4'") as caught:
        rollout.plan_deployment(target, spec_of(accelerator="nvidia-t4:1"))
    assert "Consumption-GPU-NC8as-T4" in str(caught.value.hint)
    assert rollout.plan_deployment(target, spec_of(region="westeurope")).target == target.name


def test_nobody_logged_in_is_said_in_one_line() -> None:
    """The library tells of every place where it found nothing; people are told what to do."""
    from azure.core.exceptions import ClientAuthenticationError

    class Nobody:
        def get_token(self, *_: Any, **__: Any) -> Any:
            raise ClientAuthenticationError(
                "DefaultAzureCredential failed to retrieve a token\nfrom"
            )

    with pytest.raises(CredentialsError, match="nobody is logged in to Azure") as caught:
        Arm(credential=Nobody()).token("anything")
    assert "az login" in str(caught.value.hint)
