"""How a deployment runs: what it may use, how far it grows, who may reach it.

    deploy:                 DeploySettings
      resources: …   ──►    cpu, memory_bytes, accelerator, instance
      scaling: …     ──►    min_replicas, max_replicas, in_flight, idle_s, cooldown_up_s …
      traffic: …     ──►    canary_percent, bake_s
      network: …     ──►    public, vpc, subnets, security_groups, allow

The fields are flat, so that one replaces another of a lower layer by itself; ``GROUPS`` says under
which word people write them.  A target heeds what it can, and the plan says what it cannot.
Nothing here is a secret: ``secrets`` holds references, and a message never repeats one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from modelpack.config.serving import at_least, within

__all__ = ["GROUPS", "DeploySettings", "check_env"]

GROUPS: Mapping[str, tuple[str, ...]] = {
    "resources": ("cpu", "memory_bytes", "accelerator", "instance"),
    "scaling": (
        "min_replicas",
        "max_replicas",
        "in_flight",
        "idle_s",
        "cooldown_up_s",
        "cooldown_down_s",
        "every_s",
        "window_s",
        "max_up_factor",
        "max_down_factor",
        "up_tolerance",
        "down_tolerance",
    ),
    "traffic": ("canary_percent", "bake_s"),
    "network": ("public", "vpc", "subnets", "security_groups", "allow"),
}
"""Fields that people write under a word of their own, such as ``deploy.scaling``."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
# What clouds call things: instance types, networks, subnets.  Never a dash in front.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}")
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:%_-]{0,254}")
_ACCELERATOR = re.compile(r"([a-z0-9]+(?:-[a-z0-9]+)*)(?::([1-9][0-9]{0,3}))?")
_REFERENCE = re.compile(r"[a-z][a-z0-9+.-]*:[\x21-\x7e]{1,2000}")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9 ._:/=+@-]{0,255}")


_RANGES = (
    ("idle_s", 0, 86_400),
    ("cooldown_up_s", 0, 86_400),
    ("cooldown_down_s", 0, 86_400),
    ("bake_s", 0, 86_400),
    ("every_s", 0.5, 3600),
    ("window_s", 0, 86_400),
    ("max_up_factor", 1, 100),
    ("max_down_factor", 0, 1),
    ("up_tolerance", 0, 10),
    ("down_tolerance", 0, 1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploySettings:
    """How a bundle runs at a target."""

    target: str | None = None
    """Name of the target, such as ``docker``; None: the command line must say it."""

    mode: str | None = None
    """Kind of deployment, where a target has several, such as ``ecs``; None: it chooses."""

    region: str | None = None
    """Region of a cloud, such as ``eu-central-1``; None: the one its client is set to."""

    port: int = 3000
    """Port of the deployment on its host; 0 takes a free one."""

    host: str = "127.0.0.1"
    """Address of the deployment on its host."""

    grpc_port: int | None = None
    """Port of the deployment for gRPC, beside ``port``, which answers it as well where the bundle
    speaks it; None: the bundle's own with ``local``, else no other."""

    cpu: float | None = None
    """Processors it may use at most; None: no limit."""

    memory_bytes: int | None = None
    """Memory it may use at most; None: no limit."""

    accelerator: str | None = None
    """Kind and count of accelerators a replica has, such as ``nvidia-l4:1``; None: none."""

    instance: str | None = None
    """Type of machine, such as ``g6.xlarge``; ``auto`` takes one that fits; None: not chosen."""

    min_replicas: int = 1
    """Fewest replicas; 0: none while nobody asks."""

    max_replicas: int | None = None
    """Most replicas; None: as many as the fewest, and at least one."""

    in_flight: int | None = None
    """Requests at once that a replica should have; more make it grow; None: the target's own."""

    idle_s: float | None = None
    """How long nobody has asked before the last replica goes; None: the target's own."""

    cooldown_up_s: float | None = None
    """Least time between two steps up, or how long it must be wanted; None: the target's own."""

    cooldown_down_s: float | None = None
    """Least time between two steps down, or how long it must be wanted; None: the target's own."""

    every_s: float | None = None
    """How often it is decided how many there should be; None: the target's own."""

    window_s: float | None = None
    """Over how long the requests at once are averaged; None: the target's own."""

    max_up_factor: float | None = None
    """Largest growth in one step, of what there is; None: the target's own."""

    max_down_factor: float | None = None
    """Least that one step leaves, of what there is; None: the target's own."""

    up_tolerance: float | None = None
    """Share by which there must be too few before any is added; None: the target's own."""

    down_tolerance: float | None = None
    """Share by which there must be too many before any goes; None: the target's own."""

    canary_percent: int | None = None
    """Share of the requests that a new revision gets at first; None: all of them at once."""

    bake_s: float | None = None
    """How long a canary must do well before it gets all; None: it stays until the next deploy."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables for the running service; never secrets."""

    secrets: Mapping[str, str] = field(default_factory=dict)
    """Variables whose values stand elsewhere, by reference, such as ``TOKEN: env:TOKEN``."""

    public: bool = False
    """Whether it can be reached from the internet."""

    vpc: str | None = None
    """Network of a cloud that it stands in; None: the target's own."""

    subnets: tuple[str, ...] = ()
    """Subnets of that network."""

    security_groups: tuple[str, ...] = ()
    """Security groups that it belongs to."""

    allow: tuple[str, ...] = ()
    """Addresses that may call it, such as ``10.0.0.0/8``; none: the target's own."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels or tags that everything which is made carries."""

    ready_timeout_s: float = 120.0
    """Longest that it may take until it is ready, before the former one comes back."""

    @property
    def most_replicas(self) -> int:
        """``max_replicas``, or what stands for it when it is not set."""
        return max(self.min_replicas, 1) if self.max_replicas is None else self.max_replicas

    @property
    def is_scaling(self) -> bool:
        """Whether the number of replicas follows the requests."""
        return self.min_replicas == 0 or self.most_replicas > self.min_replicas

    @property
    def accelerator_kind(self) -> str | None:
        """What stands before the colon, such as ``nvidia-l4``."""
        return None if self.accelerator is None else self.accelerator.partition(":")[0]

    @property
    def accelerator_count(self) -> int:
        """How many accelerators a replica has."""
        return 0 if self.accelerator is None else int(self.accelerator.partition(":")[2] or 1)

    def __post_init__(self) -> None:
        within("port", self.port, 0, 65535)
        if self.grpc_port is not None:
            within("grpc_port", self.grpc_port, 1, 65535)
            if self.grpc_port == self.port:
                raise ValueError("grpc_port: is 'port', which answers gRPC anyway; leave it out")
        if self.cpu is not None and not 0 < self.cpu <= 1024:
            raise ValueError(f"cpu: must be above 0 and at most 1024, got {self.cpu}")
        if self.memory_bytes is not None:
            at_least("memory_bytes", self.memory_bytes, 6 * 1024 * 1024)
        if self.ready_timeout_s <= 0:
            raise ValueError(f"ready_timeout_s: must be above 0, got {self.ready_timeout_s}")
        self._check_words()
        self._check_scaling()
        self._check_network()
        check_env("env", self.env)
        _check_secrets(self.secrets, self.env)
        _check_labels(self.labels)

    def _check_words(self) -> None:
        if not _HOST.fullmatch(self.host):
            raise ValueError(f"host: not an address or the name of a host: {self.host!r}")
        for name in ("mode", "region"):
            value = getattr(self, name)
            if value is not None and not (len(value) <= 63 and _WORD.fullmatch(value)):
                raise ValueError(f"{name}: must be small letters, digits and '-', got {value!r}")
        if self.instance is not None and not _ID.fullmatch(self.instance):
            raise ValueError(f"instance: not a type of machine: {self.instance!r}")
        if self.accelerator is not None and not _ACCELERATOR.fullmatch(self.accelerator):
            raise ValueError(f"accelerator: must look like nvidia-l4:1, got {self.accelerator!r}")

    def _check_scaling(self) -> None:
        within("min_replicas", self.min_replicas, 0, 10_000)
        if self.max_replicas is not None:
            within("max_replicas", self.max_replicas, max(self.min_replicas, 1), 10_000)
        if self.in_flight is not None:
            at_least("in_flight", self.in_flight, 1)
        for name, least, most in _RANGES:
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name}: must be from {least} to {most}, got {value:g}")
        if self.idle_s is not None and self.min_replicas > 0:
            raise ValueError("idle_s: has a meaning only when scaling.min is 0")
        if self.canary_percent is not None:
            within("canary_percent", self.canary_percent, 1, 99)
        elif self.bake_s is not None:
            raise ValueError("bake_s: has a meaning only with traffic.canary_percent")

    def _check_network(self) -> None:
        import ipaddress  # here: the server of an image reads settings too, and needs none

        if self.vpc is not None and not _ID.fullmatch(self.vpc):
            raise ValueError(f"vpc: not the name of a network: {self.vpc!r}")
        for name in ("subnets", "security_groups"):
            for value in getattr(self, name):
                if not _ID.fullmatch(value):
                    raise ValueError(f"{name}: not the name of one: {value!r}")
        for value in self.allow:
            try:
                network = ipaddress.ip_network(value)
            except ValueError:
                raise ValueError(f"allow: not addresses such as 10.0.0.0/8: {value!r}") from None
            if network.prefixlen == 0 and not self.public:
                raise ValueError(f"allow: {value} is everybody, which needs network.public: true")


def check_env(name: str, env: Mapping[str, str]) -> None:
    """Raise ValueError for what is no variable, or a value with control characters."""
    for key, value in env.items():
        if not _ENV_NAME.fullmatch(key):
            raise ValueError(f"{name}: not a variable name: {key!r}")
        if any(ord(c) < 32 or ord(c) == 127 for c in value):
            raise ValueError(f"{name}.{key}: control characters are not allowed")


def _check_secrets(secrets: Mapping[str, str], env: Mapping[str, str]) -> None:
    """Raise ValueError; the value is never shown, since it may be the secret itself."""
    for key, reference in secrets.items():
        if not _ENV_NAME.fullmatch(key):
            raise ValueError(f"secrets: not a variable name: {key!r}")
        if key in env:
            raise ValueError(f"secrets.{key}: stands in 'env' too")
        if not _REFERENCE.fullmatch(reference):
            raise ValueError(f"secrets.{key}: must be a reference such as env:{key}, not a value")


def _check_labels(labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        if not _LABEL.fullmatch(key):
            raise ValueError(f"labels: not the name of a label: {key!r}")
        if not _LABEL_VALUE.fullmatch(value):
            raise ValueError(f"labels.{key}: not the value of a label: {value!r}")
