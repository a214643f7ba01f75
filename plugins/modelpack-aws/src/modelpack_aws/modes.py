"""What a service of AWS must be able to do to run deployments: the seam inside this package.

    target (one flow for all) ──► AwsMode: ecs, ec2, lambda, sagemaker
        notes, cost, render, parameters      pure: from what is wanted, and what was read
        around, look, lines                  reads: the account, the deployment, its log
        promote                              after it was found healthy: the rest of the way

A mode is one stack of CloudFormation.  What a stack cannot say (shares that move while somebody looks
on, calls that no template has) a mode does in ``promote``, each call safe to repeat.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

from modelpack.deploy import Answer, Cost, Fact, Mode, Progress, Sight, Status
from modelpack_aws.session import Clients
from modelpack_aws.stack import Stack, Stacks
from modelpack_aws.template import Template
from modelpack_aws.wanted import Wanted

COMMON = frozenset(
    {"mode", "region", "env", "secrets", "labels", "cpu", "memory_bytes", "min_replicas"}
)
"""Settings that every mode heeds."""

NETWORK = frozenset({"public", "vpc", "subnets", "security_groups", "allow"})


SCHEMES = ("arn", "secretsmanager", "ssm")
"""What may stand before the colon of a secret's reference."""


class AwsMode(Mode):
    """One service of AWS; has no state."""

    heeds: ClassVar[frozenset[str]] = COMMON
    schemes: ClassVar[tuple[str, ...]] = SCHEMES

    needs_network: ClassVar[bool] = False
    """True when the stack needs a VPC and subnets, given or the account's own."""

    def check(self, wanted: Wanted) -> None:
        """Raise UsageError for what the service does not have; not asked of former revisions."""

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

    def promote(self, stacks: Stacks, stack: Stack, wanted: Wanted, progress: Progress) -> None:
        """Go the rest of the way once it was found healthy; safe to repeat.

        Raises DeployError when the new revision does not hold; it is taken back then.
        """
