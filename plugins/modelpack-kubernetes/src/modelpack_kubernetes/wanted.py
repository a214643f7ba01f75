"""What a deployment asks of a cluster, in the words of this package.

    DeploymentSpec + Options ──wanted_from──► Wanted ──► workload, exposure, scaling … ──► manifests

A ``Wanted`` has nothing of a cluster in it: the same spec with the same options gives the same one.

    names     every object is called ``resource_name(NAME)``, a canary's ``…-canary``
    labels    of every object: name of the bundle, instance, version, managed-by; a selector takes
              ``instance``, ``managed-by`` and ``track``, which no revision changes
    secrets   ``k8s:SECRET/KEY`` is one of the cluster; ``env:`` and ``file:`` are values of whoever
              deploys, for which a Secret of the revision is made at apply; no manifest holds one
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from modelpack.deploy import GROUPS, DeploymentSpec, DeploySettings
from modelpack.errors import UsageError
from modelpack_kubernetes.options import Options, read
from modelpack_kubernetes.words import (
    CANARY,
    DEPLOYMENT,
    INSTANCE_LABEL,
    MANAGED_BY_LABEL,
    MANAGER,
    NAME_LABEL,
    REVISION,
    STABLE,
    TRACK,
    VERSION_LABEL,
    is_dns_name,
    label_value,
    own_labels,
    resource_name,
)

MODES = ("deployment", "kserve", "knative", "seldon")
"""What the workload is; the first one unless ``deploy.mode`` says otherwise."""

SCHEMES = ("k8s", "env", "file")
"""What may stand before the colon of a secret's reference."""

CONTAINER = "service"
CONTAINER_PORT = 3000
SERVICE_PORT = 80
PORT_NAME = "http"

GRPC_PORT, METRICS_PORT = "MODELPACK_GRPC_PORT", "MODELPACK_METRICS_PORT"
"""Variables that open one port more."""

OWN_METRICS_PORT = 9464
"""Where metrics are when the service's own port is open to others than the namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKey:
    """One value in a Secret."""

    secret: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One deployment of one bundle."""

    deployment: str
    """Name of the deployment, as people say it."""
    bundle: str
    """``NAME:VERSION``."""
    revision: str
    pods: str
    """Digits that name the pods: another number of replicas makes no other pods."""
    image: str
    """Reference that nodes pull."""
    digest: str
    """Of the bundle's manifest: what a registry has it under."""
    mode: str
    settings: DeploySettings
    options: Options
    canonical: str
    """The spec as canonical JSON."""
    secrets: Mapping[str, SecretKey] = field(default_factory=dict)
    """Where each secret variable is read from."""
    serial: int = 1
    """Which values of ``env:`` and ``file:`` it has: the first ones, or others since."""

    @property
    def name(self) -> str:
        """Name of every object."""
        return resource_name(self.deployment)

    @property
    def canary_name(self) -> str:
        """Name of the workload of a canary."""
        return f"{self.name}-{CANARY}"

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the Services by which it is reached in its cluster."""
        if self.mode == "seldon":  # the operator makes one for each predictor
            return (f"{self.name}-{STABLE}", f"{self.name}-{CANARY}")
        return (self.name,)

    @property
    def namespace(self) -> str:
        """Namespace of every object."""
        return self.options.namespace

    @property
    def scales(self) -> bool:
        """Whether the number of replicas is left to something in the cluster."""
        return self.settings.most_replicas > max(1, self.settings.min_replicas) or (
            self.settings.min_replicas == 0 and self.options.wake is not None
        )

    @property
    def is_open(self) -> bool:
        """Whether somebody outside the namespace may reach it."""
        return self.settings.public or bool(self.settings.allow)

    def labels(self) -> dict[str, str]:
        """Return the labels of every object: those of ``deploy.labels``, and ours."""
        bundle, _, version = self.bundle.partition(":")
        return own_labels(self.settings.labels) | {
            NAME_LABEL: label_value(bundle),
            INSTANCE_LABEL: self.name,
            VERSION_LABEL: label_value(version),
            MANAGED_BY_LABEL: MANAGER,
        }

    def selector(self, track: str | None = None) -> dict[str, str]:
        """Return what finds the pods: of one track, or of both."""
        found = selector_of(self.name)
        return found if track is None else found | {TRACK: track}

    def pod_labels(self, track: str = STABLE) -> dict[str, str]:
        """Return the labels of the pods of a track."""
        return self.labels() | {TRACK: track}

    def metadata(self, name: str | None = None, **annotations: str) -> dict[str, object]:
        """Return the metadata of an object; ``annotations`` by key."""
        return {
            "name": name or self.name,
            "namespace": self.namespace,
            "labels": self.labels(),
            "annotations": {DEPLOYMENT: self.deployment, **annotations},
        }

    def pod_metadata(self, track: str = STABLE) -> dict[str, object]:
        """Return the metadata of the pods of a track."""
        return {"labels": self.pod_labels(track), "annotations": {REVISION: self.pods}}

    @property
    def other_ports(self) -> dict[str, int]:
        """Ports besides the first, by name: what the environment opens, and metrics of their own.

        What is open to others than the namespace would show them its metrics too.
        """
        given = dict(self.settings.env)
        if self.is_open and self.mode in ("deployment", "seldon"):
            given.setdefault(METRICS_PORT, str(OWN_METRICS_PORT))
        found = {"grpc": given.get(GRPC_PORT, ""), "metrics": given.get(METRICS_PORT, "")}
        return {name: int(port) for name, port in found.items() if port.isdecimal() and int(port)}


def wanted_from(
    spec: DeploymentSpec, options: Mapping[str, str] | None = None, *, serial: int = 1
) -> Wanted:
    """Return what a spec asks for.

    options  those of the target; what the manifests do not depend on is passed over
    serial   which values of its own secrets it has

    Raises UsageError for a mode, a secret, a label or a combination that cannot be.
    """
    chosen = read(options or {})
    mode = spec.settings.mode or MODES[0]
    if mode not in MODES:
        raise UsageError(
            f"deploy.mode: Kubernetes has no '{mode}' here", hint=f"it is {_or(MODES)}"
        )
    own_labels(spec.settings.labels)
    return Wanted(
        deployment=spec.name,
        bundle=spec.bundle,
        revision=spec.revision,
        pods=pods_of(spec),
        image=image_of(spec, chosen),
        digest=spec.digest,
        mode=mode,
        settings=spec.settings,
        options=chosen,
        canonical=spec.canonical(),
        secrets=_secrets(spec, serial),
        serial=serial,
    )


def image_of(spec: DeploymentSpec, options: Options) -> str:
    """Return the reference of the image that nodes pull.

    With a registry it is ``REGISTRY/BUNDLE:VERSION-DIGEST``, which never means another image later.
    """
    bundle, _, version = spec.bundle.partition(":")
    if options.registry is None:
        return spec.image or spec.bundle
    digest = spec.digest.removeprefix("sha256:")[:12]
    return f"{options.registry}/{bundle}:{version[:100]}-{digest}"


def selector_of(name: str) -> dict[str, str]:
    """Return the labels by which everything of a deployment is found; ``name`` is its objects'."""
    return {INSTANCE_LABEL: name, MANAGED_BY_LABEL: MANAGER}


def own_secret(wanted: Wanted) -> str:
    """Return the name of the Secret that an apply makes for ``env:`` and ``file:``."""
    return own_secret_name(wanted.deployment, wanted.pods, wanted.serial)


def own_secret_name(deployment: str, pods: str, serial: int = 1) -> str:
    """Return the name of the Secret of a revision's pods; other values have the next ``serial``."""
    name = f"{resource_name(deployment)}-{pods}"
    return name if serial == 1 else f"{name}-{serial}"


def pods_of(spec: DeploymentSpec) -> str:
    """Return twelve hex digits of all that the pods depend on: what scales them does not count."""
    plain = DeploySettings()
    same = {name: getattr(plain, name) for name in (*GROUPS["scaling"], "canary_percent", "bake_s")}
    return replace(spec, settings=replace(spec.settings, **same)).revision


def _secrets(spec: DeploymentSpec, serial: int) -> dict[str, SecretKey]:
    found = {}
    for variable, reference in spec.settings.secrets.items():
        scheme, _, rest = reference.partition(":")
        if scheme in ("env", "file"):
            own = own_secret_name(spec.name, pods_of(spec), serial)
            found[variable] = SecretKey(secret=own, key=variable)
        elif scheme == "k8s":
            found[variable] = _of_the_cluster(variable, rest)
        else:  # the reference is not repeated: it may be the secret itself
            raise UsageError(
                f"deploy.secrets.{variable}: not a reference that Kubernetes follows",
                hint="write k8s:SECRET/KEY, env:VARIABLE or file:PATH",
            )
    return found


def _of_the_cluster(variable: str, rest: str) -> SecretKey:
    secret, slash, key = rest.partition("/")
    usable = key.replace("-", "").replace("_", "").replace(".", "")
    if not slash or not is_dns_name(secret) or not (usable.isalnum() and usable.isascii()):
        raise UsageError(
            f"deploy.secrets.{variable}: not the name and key of a Secret",
            hint="write k8s:SECRET/KEY, such as k8s:digits-token/token",
        )
    return SecretKey(secret=secret, key=key)


def _or(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
