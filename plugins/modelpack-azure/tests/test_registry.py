"""Images go to a registry with the caller's own login, and go when their deployment goes."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_azure.account import Account
from modelpack_azure.registry import Registries, login_of

from modelpack.deploy import SILENT
from modelpack.errors import CredentialsError, DeployError, NotFoundError
from modelpack.testing import spec_of

from .fake_azure import GROUP, REGISTRY, REGISTRY_HOST, FakeAzure


@pytest.fixture
def registries(azure: FakeAzure) -> Registries:
    return Registries(azure.arm(), Account(), azure.push)


def test_an_image_is_named_by_its_bundle_and_known_by_its_digest(
    azure: FakeAzure, registries: Registries
) -> None:
    image = registries.push(spec_of("a"), registries.look(REGISTRY), base=None, progress=SILENT)
    assert image.startswith(f"{REGISTRY_HOST}/modelpack/digits@sha256:")
    assert azure.images == {image}


def test_a_registry_that_is_not_there_is_told_with_what_makes_one(registries: Registries) -> None:
    with pytest.raises(NotFoundError, match="no container registry 'others'") as caught:
        registries.look(REGISTRY.replace("images", "others"))
    assert "az acr create" in str(caught.value.hint)


def test_the_images_of_one_deployment_go_and_no_others(
    azure: FakeAzure, registries: Registries
) -> None:
    ours, others = (f"{REGISTRY_HOST}/modelpack/{name}@sha256:0" for name in ("digits", "digits2"))
    azure.images = {ours, others}
    registries.remove("digits", registries.look(REGISTRY))
    registries.remove("digits", registries.look(REGISTRY))
    assert azure.images == {others}


def test_who_may_not_push_is_told_so_and_no_token_is_shown(azure: FakeAzure) -> None:
    def refuse(*_: Any) -> Any:
        return 401, {}, {"errors": [{"message": "secret-token is not known"}]}

    azure._elsewhere = refuse  # type: ignore[method-assign]
    with pytest.raises(CredentialsError, match="lets nobody in: it answers HTTP 401") as caught:
        login_of(azure.arm(), REGISTRY_HOST)
    assert "secret-token" not in f"{caught.value}{caught.value.hint}"
    assert "AcrPush" in str(caught.value.hint)


def test_images_that_may_not_be_removed_are_said(azure: FakeAzure, registries: Registries) -> None:
    whole = azure._elsewhere

    def answer(method: str, *rest: Any) -> Any:
        return (403, {}, {"no": "way"}) if method == "DELETE" else whole(method, *rest)

    azure._elsewhere = answer  # type: ignore[method-assign]
    with pytest.raises(DeployError, match="cannot remove the images of 'digits'") as caught:
        registries.remove("digits", registries.look(REGISTRY))
    assert "AcrDelete" in str(caught.value.hint)
    assert GROUP not in str(caught.value)
