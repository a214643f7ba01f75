"""Clients of AWS, and what they raise in our words.

    Session(region, profile, endpoint_url) ──client("ecs")──► boto3 client ──said──► our errors

Credentials, region and endpoint are those of every AWS tool (environment, profiles, roles); what is
given here stands above them.  boto3 is imported when the first client is made.  boto3 tries again by
itself (standard mode: botocore's guide "Retries"); what it raises in the end is said in our words.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from modelpack.deploy import one_line
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

_ATTEMPTS = 5
_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60

NO_CREDENTIALS = (
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run 'aws sso login'"
)

# Codes that mean the same in every service, from the services' "Common Errors" pages.
_UNKNOWN_CALLER = {
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_FORBIDDEN = {
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "NotAuthorized",
    "OptInRequired",
    "UnauthorizedOperation",
}
_TAKEN = {"AlreadyExistsException", "ConflictException", "ResourceInUseException"}
_LIMITS = ("LimitExceeded", "QuotaExceeded", "TooMany")


class Clients(Protocol):
    """Who gives clients: a ``Session``, or a stub in a test."""

    @property
    def region(self) -> str | None:
        """Name of the region; None when nothing says it."""

    @property
    def endpoint_url(self) -> str | None:
        """The one address of an emulator; None: AWS itself."""

    def use(self, region: str) -> None:
        """Ask another region from now on."""

    def client(self, service: str) -> Any:
        """Return the client of a service, such as ``ecs``; the same one each time."""


@dataclass(slots=True, kw_only=True)
class Session:
    """Where AWS is and who asks; clients are made once, for all threads."""

    region_name: str | None = None
    """Region; None: that of the environment or the profile."""
    profile: str | None = None
    """Profile of the AWS configuration files; None: that of the environment."""
    endpoint_url: str | None = None
    """One address for all services, such as that of an emulator; None: AWS itself."""

    _boto: Any = field(default=None, init=False, repr=False)
    _clients: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def region(self) -> str | None:
        """Name of the region; None when neither option, environment nor profile says it."""
        if self.region_name:
            return self.region_name
        with said("read the AWS configuration"):
            found = self._session().region_name
        return str(found) if found else None

    def require(self) -> None:
        """Raise ToolMissingError when boto3 is not there, UsageError for an unknown profile."""
        self._session()

    def use(self, region: str) -> None:
        """Ask another region from now on."""
        with self._lock:
            if region != self.region_name:
                self.region_name = region
                self._boto = None
                self._clients.clear()

    def client(self, service: str) -> Any:
        """Return the client of a service; raises ToolMissingError, CredentialsError without a region."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._make(service)
            return self._clients[service]

    def _make(self, service: str) -> Any:
        boto = self._session()
        from botocore.config import Config

        config = Config(
            retries={"max_attempts": _ATTEMPTS, "mode": "standard"},
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            user_agent_extra="modelpack",
        )
        with said(f"speak to {service}"):
            return boto.client(
                service,
                region_name=self.region_name,
                endpoint_url=self.endpoint_url,
                config=config,
            )

    def _session(self) -> Any:
        if self._boto is None:
            try:
                import boto3
            except ImportError as cause:
                raise ToolMissingError(
                    "the target 'aws' needs the package 'boto3', which is not installed",
                    hint="pip install 'modelpack-aws'",
                ) from cause
            with said("read the AWS configuration"):
                self._boto = boto3.session.Session(
                    profile_name=self.profile, region_name=self.region_name
                )
        return self._boto


@contextmanager
def said(what: str) -> Iterator[None]:
    """Say in our words what boto3 raises while it tries to do ``what``, such as ``make the stack``.

    Raises CredentialsError for missing or refused credentials and for a missing region, RefusedError
    for a missing permission, NotFoundError, ConflictError, UnreachableError, UsageError for a missing
    profile, and DeployError for the rest.
    """
    from botocore import exceptions as aws
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ModelpackError:
        raise
    except aws.ClientError as cause:
        raise refusal(cause, what) from cause
    except (aws.NoCredentialsError, aws.PartialCredentialsError) as cause:
        raise CredentialsError(
            f"cannot {what}: there are no AWS credentials", hint=NO_CREDENTIALS
        ) from cause
    except (aws.TokenRetrievalError, aws.UnauthorizedSSOTokenError, aws.SSOTokenLoadError) as cause:
        raise CredentialsError(
            f"cannot {what}: the login has expired", hint="run 'aws sso login'"
        ) from cause
    except aws.NoRegionError as cause:  # AWS is not set up here: there is nobody to ask
        raise CredentialsError(
            f"cannot {what}: no AWS region is set", hint="set deploy.region or AWS_REGION"
        ) from cause
    except aws.ProfileNotFound as cause:
        raise UsageError(one_line(str(cause)), hint="see 'aws configure list-profiles'") from cause
    except aws.ParamValidationError as cause:
        raise DeployError(f"cannot {what}: {one_line(str(cause))}") from cause
    except (aws.EndpointConnectionError, aws.HTTPClientError) as cause:
        raise UnreachableError(
            f"cannot {what}: {one_line(str(cause))}",
            hint="see whether this machine has a network, and whether the region is right",
        ) from cause
    except aws.WaiterError as cause:
        raise DeployError(f"cannot {what}: {one_line(str(cause))}") from cause
    except ResponseParserError as cause:
        raise DeployError(
            f"cannot {what}: what answered is not AWS",
            hint="see what AWS_ENDPOINT_URL and '--option endpoint_url' lead to",
        ) from cause
    except aws.BotoCoreError as cause:
        raise DeployError(f"cannot {what}: {one_line(str(cause))}") from cause


def error_code(cause: Exception) -> str:
    """Return the word of AWS for an error, such as ``ThrottlingException``; empty for others."""
    response = getattr(cause, "response", None)
    error = response.get("Error", {}) if isinstance(response, dict) else {}
    return str(error.get("Code", ""))


def error_message(cause: Exception) -> str:
    """Return what AWS says of an error, in one line."""
    response = getattr(cause, "response", None)
    error = response.get("Error", {}) if isinstance(response, dict) else {}
    return one_line(str(error.get("Message") or error.get("Code") or cause))


def refusal(cause: Exception, what: str) -> ModelpackError:
    """Return the error that says what AWS answered when it was asked to do ``what``."""
    code, told = error_code(cause), error_message(cause)
    if code in _UNKNOWN_CALLER:
        return CredentialsError(f"cannot {what}: {told}", hint=NO_CREDENTIALS)
    if code in _FORBIDDEN:
        return RefusedError(
            f"not permitted to {what}: {told}",
            hint="docs/how-to/deploy-to-aws.md lists the permissions that a deploy needs",
        )
    if code.endswith(("NotFoundException", "NotFound")) or code.startswith("NoSuch"):
        return NotFoundError(f"cannot {what}: {told}")
    if code in _TAKEN:
        return ConflictError(f"cannot {what}: {told}")
    if any(word in code for word in _LIMITS):
        return DeployError(
            f"cannot {what}: {told}", hint="ask for a higher quota, or destroy what is not needed"
        )
    return DeployError(f"cannot {what}: {told}", hint=f"AWS calls this {code}" if code else None)
