"""What a service of AWS must be able to do to run deployments: the seam inside this package.

    target (one flow for all) ──► Mode: ecs, ec2, lambda, sagemaker
        notes, cost, render, parameters      pure: from what is wanted, and what was read
        around, look, lines                  reads: the account, the deployment, its log
        promote                              after it was found healthy: the rest of the way

A mode is one stack of CloudFormation.  What a stack cannot say (shares that move while somebody looks
on, calls that no template has) a mode does in ``promote``, each call safe to repeat.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from modelpack.deploy import Answer, Cost, Fact, Progress, State, Status
from modelpack_aws.session import Clients
from modelpack_aws.stack import Stack, Stacks
from modelpack_aws.template import Template
from modelpack_aws.wanted import Wanted

COMMON = frozenset(
    {"mode", "region", "env", "secrets", "labels", "cpu", "memory_bytes", "min_replicas"}
)
"""Settings that every mode heeds."""

NETWORK = frozenset({"public", "vpc", "subnets", "security_groups", "allow"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """How the service behind a complete stack is."""

    state: State
    detail: str | None = None
    """Why it is not running, in a few words."""
    url: str | None = None
    """Where it answers; None: not to be called from here."""
    restarts: int = 0
    """How often replicas of the newest revision have ended by themselves."""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """What runs, where it may differ from what was applied: under the keys of a spec's facts."""


class Mode(ABC):
    """One service of AWS; has no state."""

    word: ClassVar[str]
    """What ``deploy.mode`` says, such as ``ecs``."""

    heeds: ClassVar[frozenset[str]] = COMMON
    """Fields of ``DeploySettings`` that it does."""

    reasons: ClassVar[Mapping[str, str]] = {}
    """Why it does not do others, by field."""

    options: ClassVar[Mapping[str, str]] = {}
    """Options of the target that it knows beside those of all modes, and what they mean."""

    needs_network: ClassVar[bool] = False
    """True when the stack needs a VPC and subnets, given or the account's own."""

    def notes(self, wanted: Wanted) -> list[str]:  # noqa: ARG002
        """Return what is done otherwise than asked for; raises UsageError for what cannot be."""
        return []

    def cost(self, wanted: Wanted) -> Cost | None:  # noqa: ARG002
        """Return what the least of it costs; None when it is not known."""
        return None

    @abstractmethod
    def render(self, wanted: Wanted, former: Wanted | None = None) -> Template:
        """Return the template; pure; raises UsageError for what cannot be.

        ``former`` is what was found healthy last, for modes that keep it beside a canary.
        """

    def parameters(self, wanted: Wanted, around: Mapping[str, Fact]) -> dict[str, str]:  # noqa: ARG002
        """Return values of the template's parameters but for the image and the network's."""
        return {}

    def around(self, clients: Clients, wanted: Wanted) -> dict[str, Fact]:  # noqa: ARG002
        """Return what else of the account the parameters depend on; reads only."""
        return {}

    @abstractmethod
    def look(self, clients: Clients, stack: Stack, wanted: Wanted) -> Sight:
        """Return how the service is; the stack is complete.  Reads only."""

    @abstractmethod
    def lines(
        self, clients: Clients, stack: Stack, *, follow: bool, tail: int | None
    ) -> Iterator[str]:
        """Yield the lines of its log, oldest first."""

    def verify(self, clients: Clients, stack: Stack, status: Status) -> tuple[str, ...] | None:  # noqa: ARG002
        """Check it in its own way, as ``Target.verify`` does; None: by the common probe."""
        return None

    def fetch(
        self,
        clients: Clients,  # noqa: ARG002
        stack: Stack,  # noqa: ARG002
        path: str,  # noqa: ARG002
        *,
        body: bytes | None = None,  # noqa: ARG002
        timeout_s: float,  # noqa: ARG002
    ) -> Answer | None:
        """Make one call of the probe at a path such as ``/readyz``; None: at the service's URL.

        The revision that was applied last is asked, whoever else answers for it at the URL.  Raises
        OSError when there is no answer.
        """
        return None

    def promote(  # noqa: B027  most have nothing to do
        self, stacks: Stacks, stack: Stack, wanted: Wanted, progress: Progress
    ) -> None:
        """Go the rest of the way once it was found healthy; safe to repeat.

        Raises DeployError when the new revision does not hold; it is taken back then.
        """
