"""What an API server says when it refuses, and what whoever deploys is told to do."""

from __future__ import annotations

import pytest
from modelpack_kubernetes.answers import ApiError, as_ours, as_status

from modelpack.errors import (
    ConflictError,
    CredentialsError,
    DeployError,
    RefusedError,
    UnreachableError,
)

QUOTA = (
    'services "digits" is forbidden: exceeded quota: small, requested: services=1, '
    "used: services=5, limited: services=5"
)
RIGHT = (
    'deployments.apps "digits" is forbidden: User "system:serviceaccount:ml:ci" cannot patch '
    'resource "deployments" in API group "apps" in the namespace "ml"'
)
POLICY = (
    'pods "digits" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation'
)
CORE = (
    'secrets is forbidden: User "ci" cannot list resource "secrets" in API group "" in the '
    'namespace "ml"'
)


@pytest.mark.parametrize(
    ("status", "message", "kind", "hint"),
    [
        (401, "Unauthorized", CredentialsError, "log in again"),
        (403, RIGHT, RefusedError, "ask for the right to 'patch' deployments.apps in 'ml'"),
        (403, CORE, RefusedError, "ask for the right to 'list' secrets in 'ml'"),
        (403, QUOTA, RefusedError, "have the namespace's quota raised"),
        (403, POLICY, RefusedError, "a policy of the cluster refuses it"),
        (403, "Forbidden", RefusedError, "ask whoever keeps the cluster"),
        (400, 'admission webhook "x.example" denied the request: no', RefusedError, "a policy of"),
        (409, "the object has been modified", ConflictError, "plan it again"),
        (429, "too many requests", UnreachableError, "is busy"),
        (502, "bad gateway", UnreachableError, "is busy"),
        (422, "spec.replicas: Invalid value", DeployError, ""),
    ],
)
def test_each_refusal_says_what_to_do(
    status: int, message: str, kind: type[Exception], hint: str
) -> None:
    error = as_ours(ApiError(status, {"message": message}, "apply Deployment/digits"))
    assert type(error) is kind
    assert hint in str(error.hint or "")
    assert message in error.message


def test_what_is_said_is_one_line_and_not_endless() -> None:
    error = ApiError(422, {"message": "a\n\tb\x1b[31m" + "c" * 9000}, "apply it")
    assert error.message.startswith("cannot apply it: a b [31mc")
    assert len(error.message) < 450
    assert error.message.endswith("…")


@pytest.mark.parametrize("data", [b"<html>", b"[]", b'{"kind": "Pod"}', b'{"kind": "Status"}'])
def test_what_others_answer_is_not_taken_for_a_status(data: bytes) -> None:
    assert as_status(data) is None
