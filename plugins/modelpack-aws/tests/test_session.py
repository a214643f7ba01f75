"""What boto3 raises is said in our words, in one line, with a hint that helps."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions as aws
from modelpack_aws.session import Session, said
from modelpack_aws.target import AwsTarget

from modelpack.errors import (
    ConflictError,
    CredentialsError,
    DeployError,
    ModelpackError,
    NotFoundError,
    RefusedError,
    ToolMissingError,
    UnreachableError,
    UsageError,
)


def refused(code: str, message: str = "no\nway") -> aws.ClientError:
    return aws.ClientError({"Error": {"Code": code, "Message": message}}, "Call")


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (refused("ExpiredToken"), CredentialsError),
        (refused("UnrecognizedClientException"), CredentialsError),
        (refused("AccessDenied"), RefusedError),
        (refused("UnauthorizedOperation"), RefusedError),
        (refused("RepositoryNotFoundException"), NotFoundError),
        (refused("NoSuchBucket"), NotFoundError),
        (refused("ResourceInUseException"), ConflictError),
        (refused("LimitExceededException"), DeployError),
        (refused("ThrottlingException"), DeployError),
        (aws.NoCredentialsError(), CredentialsError),
        (aws.PartialCredentialsError(provider="env", cred_var="x"), CredentialsError),
        (aws.UnauthorizedSSOTokenError(), CredentialsError),
        (aws.NoRegionError(), CredentialsError),
        (aws.ProfileNotFound(profile="me"), UsageError),
        (aws.ParamValidationError(report="x"), DeployError),
        (aws.EndpointConnectionError(endpoint_url="https://x"), UnreachableError),
        (aws.ReadTimeoutError(endpoint_url="https://x"), UnreachableError),
        (aws.WaiterError(name="x", reason="y", last_response={}), DeployError),
        (aws.IncompleteReadError(actual_bytes=1, expected_bytes=2), DeployError),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else "",
)
def test_every_failure_has_our_words(cause: Exception, kind: type[ModelpackError]) -> None:
    with pytest.raises(kind) as found, said("make the stack"):
        raise cause
    error = found.value
    assert type(error) is kind
    assert error.__cause__ is cause
    assert "\n" not in error.message + (error.hint or "")


def test_an_error_of_ours_passes() -> None:
    with pytest.raises(ConflictError, match=r"^mine$"), said("make the stack"):
        raise ConflictError("mine")


def test_what_aws_says_cannot_steer_a_terminal_or_fill_it() -> None:
    with pytest.raises(DeployError) as found, said("make the stack"):
        raise refused("Odd", "\x1b[31mred\n" + "x" * 5000)
    assert found.value.message.isprintable()
    assert len(found.value.message) < 300


def test_boto3_is_asked_for_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    with pytest.raises(ToolMissingError, match="needs the package 'boto3'"):
        session.require()


def test_a_client_is_made_once_and_anew_in_another_region() -> None:
    session = Session(region_name="us-east-1", endpoint_url="http://127.0.0.1:9")
    first: Any = session.client("sts")
    assert session.client("sts") is first
    session.use("us-east-1")
    assert session.client("sts") is first
    session.use("eu-west-1")
    assert session.client("sts").meta.region_name == "eu-west-1"


@pytest.mark.parametrize(
    ("options", "environ", "region"),
    [
        ({"region": "eu-west-1"}, {"AWS_REGION": "eu-west-2"}, "eu-west-1"),
        ({}, {"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-2"),
        ({}, {"AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3"),
    ],
)
def test_the_region_is_that_of_every_tool_of_aws(
    options: dict[str, str],
    environ: dict[str, str],
    region: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert AwsTarget.from_options(options).options["region"] == region
