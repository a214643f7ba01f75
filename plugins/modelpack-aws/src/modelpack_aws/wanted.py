"""What a deployment asks of AWS, in the words of this package.

    DeploymentSpec ──wanted_from──► Wanted ──► ecs, ec2, lambda_, sagemaker ──► Template

A ``Wanted`` has nothing of an account in it: the same spec gives the same one everywhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from modelpack.deploy import DeploymentSpec, chosen, marked
from modelpack_aws.given import is_on

PREFIX = "modelpack"

NAME_TAG = "modelpack:deployment"
TARGET_TAG = "modelpack:target"
MODE_TAG = "modelpack:mode"
SETTLED_TAG = "modelpack:settled"
"""On the image repository: the revision that was found healthy last."""

GIB = 1024**3
MIB = 1024**2

CONTAINER_PORT = 3000

# Tag values: letters, digits, spaces and _ . : / = + - @ (AWS tagging rules, "Tag restrictions").
_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9 _.:/=+@-]")


OF_THE_CALLER = frozenset({"base", "endpoint_url", "profile", "region"})
"""Options that say who asks where and how an image is made; all others are of the template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """What a model runs on beside processors."""

    kind: str
    """Name such as ``nvidia-l4``, ``nvidia``, ``inferentia2``."""
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Who may reach the service, and where it stands."""

    public: bool = False
    """True: from the internet."""
    vpc: str | None = None
    """``vpc-…``; None: the account's default one."""
    subnets: tuple[str, ...] = ()
    """``subnet-…``; none: those of the network."""
    security_groups: tuple[str, ...] = ()
    """Groups that the replicas get on top of their own."""
    allow: tuple[str, ...] = ()
    """CIDR blocks that may call; none: the network itself, or everybody when public."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How many replicas, and when there are more of them."""

    least: int = 1
    most: int = 1
    in_flight: float | None = None
    """Requests in work at once that one replica shall have; None: processor time alone decides."""
    idle_s: float | None = None
    """Without a request for so long: none, where ``least`` is 0."""
    out_cooldown_s: int = 60
    in_cooldown_s: int = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """How a new revision takes over."""

    canary_percent: float = 0
    """Share that it gets first; 0: all at once."""
    bake_s: float = 0
    """How long it is watched at that share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One deployment of one bundle."""

    name: str
    bundle: str
    """``NAME:VERSION``."""
    revision: str
    image: str | None = None
    """Reference of the image as ``containerize`` names it; where it is pushed to is ours."""
    target: str = "aws"
    """Name of the target that it was sent to."""
    mode: str = "ecs"
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    """By variable: name (ARN) of a secret of Secrets Manager, or of a parameter of Systems Manager."""
    labels: Mapping[str, str] = field(default_factory=dict)
    cpu: float | None = None
    """Processors of one replica."""
    memory_bytes: int | None = None
    accelerator: Accelerator | None = None
    instance: str | None = None
    """Instance type; ``auto`` or None: chosen from the table."""
    spot: bool = False
    scaling: Scaling = Scaling()
    traffic: Traffic = Traffic()
    network: Network = Network()
    ready_timeout_s: float = 120.0
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of the target that the template depends on, such as ``certificate``."""

    @property
    def version(self) -> str:
        """Version of the bundle."""
        return self.bundle.partition(":")[2]

    @property
    def mark(self) -> str:
        """What tells it from others: the revision, and six digits for the options, if any."""
        return marked(self.revision, of_the_template(self.options))

    @property
    def stack(self) -> str:
        """Name of its stack."""
        return stack_name(self.name)

    @property
    def repository(self) -> str:
        """Name of its image repository."""
        return f"{PREFIX}/{_mangled(self.name, '._-')}"

    def tags(self) -> dict[str, str]:
        """Return the tags that everything of the deployment has; they stay from revision to revision."""
        own = {NAME_TAG: self.name, TARGET_TAG: self.target, MODE_TAG: self.mode}
        return {key: tag_value(value) for key, value in self.labels.items()} | own


def wanted_from(
    spec: DeploymentSpec,
    *,
    target: str = "aws",
    mode: str = "ecs",
    options: Mapping[str, str] | None = None,
) -> Wanted:
    """Return what a spec asks for at a mode; ``options`` are those of the target."""
    settings = spec.settings
    accelerator = None
    if settings.accelerator_kind is not None:
        accelerator = Accelerator(kind=settings.accelerator_kind, count=settings.accelerator_count)
    cooldowns = {
        key: int(value)
        for key, value in (
            ("out_cooldown_s", settings.cooldown_up_s),
            ("in_cooldown_s", settings.cooldown_down_s),
        )
        if value is not None
    }
    return Wanted(
        name=spec.name,
        bundle=spec.bundle,
        revision=spec.revision,
        image=spec.image,
        target=target,
        mode=mode,
        env=dict(settings.env),
        secrets=dict(settings.secrets),
        labels=dict(settings.labels),
        cpu=settings.cpu,
        memory_bytes=settings.memory_bytes,
        accelerator=accelerator,
        instance=settings.instance,
        spot=is_on(options or {}, "spot"),
        scaling=Scaling(
            least=settings.min_replicas,
            most=settings.most_replicas,
            in_flight=settings.in_flight,
            idle_s=settings.idle_s,
            **cooldowns,
        ),
        traffic=Traffic(canary_percent=settings.canary_percent or 0, bake_s=settings.bake_s or 0.0),
        network=Network(
            public=settings.public,
            vpc=settings.vpc,
            subnets=settings.subnets,
            security_groups=settings.security_groups,
            allow=settings.allow,
        ),
        ready_timeout_s=settings.ready_timeout_s,
        options=dict(options or {}),
    )


def of_the_template(options: Mapping[str, str]) -> dict[str, str]:
    """Return those options that decide what runs, by name."""
    return chosen(options, OF_THE_CALLER)


def stack_name(name: str) -> str:
    """Return the name of the stack of a deployment: letters, digits and hyphens."""
    return f"{PREFIX}-{_mangled(name, '-')}"


def tag_value(text: str) -> str:
    """Return text as the value of a tag: 256 of the characters that every service takes."""
    return _NOT_IN_TAGS.sub("-", text)[:256]


def _mangled(name: str, separators: str) -> str:
    """Return a name whose parts, letters and digits, have one of ``separators`` between them.

    Where that changes it, six digits of its hash keep two deployments apart.
    """
    first = separators[-1]
    plain = re.sub(rf"[^a-z0-9{re.escape(separators)}]", first, name)
    plain = re.sub(rf"[{re.escape(separators)}]{{2,}}", first, plain).strip(separators)
    if plain != name:
        plain += "-" + hashlib.sha256(name.encode()).hexdigest()[:6]
    return plain
