"""What a deployment runs as: made once, given one right, and nobody else's is touched."""

from __future__ import annotations

import pytest
from modelpack_azure.account import Account
from modelpack_azure.identity import KIND, Identities

from modelpack.errors import ConflictError, DeployError

from .fake_azure import GROUP, REGISTRY, FakeAzure, body_problems


def identities(azure: FakeAzure, **options: str) -> Identities:
    return Identities(azure.arm(), Account(options=options))


def test_making_it_twice_is_making_it_once(azure: FakeAzure) -> None:
    found = identities(azure)
    for _ in range(2):
        found.ensure("digits", "westeurope", "azure", {"team": "vision"})
        found.let_pull("digits", REGISTRY)
    assert len(azure.resources()) == 2
    bodies = [(path.split("/")[-2], body) for _, path, body in azure.sent]
    assert [body_problems(kind, body) for kind, body in bodies] == [[]] * 4

    found.remove("digits", REGISTRY)
    found.remove("digits", REGISTRY)
    assert azure.resources() == []


def test_a_right_that_somebody_has_given_already_is_enough(azure: FakeAzure) -> None:
    found = identities(azure)
    found.ensure("digits", "westeurope", "azure", {})
    found.let_pull("digits", REGISTRY)
    [role] = [path for path in azure.things if "roleassignments" in path]
    azure.things[role.rpartition("/")[0] + "/by-hand"] = azure.things.pop(role)

    found.let_pull("digits", REGISTRY)

    assert len(azure.resources()) == 2


def test_one_of_somebody_else_is_used_and_never_changed(azure: FakeAzure) -> None:
    found = identities(azure, identity="theirs")
    assert found.path("digits") == f"{GROUP}/providers/{KIND}/theirs"
    found.remove("digits", REGISTRY)
    assert azure.sent == []
    azure.things[found.own("digits").lower()] = {"tags": {"modelpack-deployment": "other"}}
    with pytest.raises(ConflictError, match="was not made by modelpack"):
        identities(azure).ensure("digits", "westeurope", "azure", {})


def test_an_identity_that_is_gone_in_between_is_said(azure: FakeAzure) -> None:
    with pytest.raises(DeployError, match="the identity 'modelpack-digits' is gone"):
        identities(azure).let_pull("digits", REGISTRY)
