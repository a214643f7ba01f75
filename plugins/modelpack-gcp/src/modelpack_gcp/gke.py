"""The target ``gke``: a cluster of Google Kubernetes Engine, driven as any other cluster is.

    --option cluster=NAME ──clusters.get──► address, authority   ──┐
    application default credentials ──access token, each minute──► └──► KubernetesTarget

Google says where the cluster is and takes an access token of the caller's own for it; what that one may
do, the roles of the project and of the cluster decide.  A cluster without an address for its API server
has a name in DNS for it, whose certificate is one of the public web.  All else is the target
``kubernetes``, with its options.  Images go to Artifact Registry with the caller's own login.

Sources: Kubernetes Engine API v1, ``projects.locations.clusters``; GKE documentation, "Customize your
network isolation" (the two kinds of endpoints) and "Authenticate to the Kubernetes API server".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

from modelpack_kubernetes.connecting import Endpoint, decoded, from_endpoint
from modelpack_kubernetes.options import read
from modelpack_kubernetes.target import OPTIONS as KUBERNETES
from modelpack_kubernetes.target import KubernetesTarget

from modelpack.deploy import DeploymentSpec, Progress, refuse_unknown
from modelpack.deploy.pushing import Login, Push, Pushed, push_image
from modelpack.errors import CredentialsError, DeployError, NotFoundError, UsageError
from modelpack_gcp.options import COMMON, check, settled
from modelpack_gcp.session import Google, Session

MAKE = "gcloud container clusters create-auto NAME"

OPTIONS: Mapping[str, str] = {
    **COMMON,
    "cluster": "cluster of Google Kubernetes Engine, by name",
    "region": "region of the cluster, or its zone; default: GOOGLE_CLOUD_REGION",
    **{key: one for key, one in KUBERNETES.items() if key not in ("context", "kubeconfig")},
}
"""Options by name, with a line about each."""

_API = "container.projects.locations.clusters.get"
_NOT_THERE = frozenset({"PROVISIONING", "STOPPING", "ERROR"})
_REGISTRIES = ("-docker.pkg.dev", ".gcr.io")


@dataclass(frozen=True, slots=True)
class GkeTarget(KubernetesTarget):
    """Deploys to one namespace of one cluster of Google Kubernetes Engine."""

    name: ClassVar[str] = "gke"
    where: ClassVar[tuple[str, ...]] = ("cluster", "endpoint", "namespace", "project", "region")

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Make the target; Google is asked at the first call.  Raises UsageError, ToolMissingError."""
        refuse_unknown(cls.name, options, OPTIONS)
        check(options, may_be_zone=True)
        read(options)
        options = settled(options)
        session = Session(
            project_id=options.get("project"),
            region_name=options.get("region"),
            endpoint=options.get("endpoint"),
            credentials=options.get("credentials"),
        )
        session.require()
        return cls.over(session, options)

    @classmethod
    def over(cls, google: Google, options: Mapping[str, str], push: Push = push_image) -> Self:
        """Make the target over calls of Google; raises UsageError."""
        name = options.get("cluster")
        if not name:
            raise UsageError(
                "the target 'gke' needs '--option cluster=NAME'", hint=f"'{MAKE}' makes one"
            )
        return cls(
            connect=from_endpoint(partial(endpoint_of, google, name)),
            given=dict(options),
            push=partial(_push, google, push),
        )


def endpoint_of(google: Google, name: str) -> Endpoint:
    """Ask Google where a cluster is; raises NotFoundError, CredentialsError, DeployError."""
    where = f"projects/{google.project}/locations/{google.region}"
    try:
        found = google.call(_API, f"find the cluster '{name}'", name=f"{where}/clusters/{name}")
    except NotFoundError as cause:
        raise NotFoundError(
            f"there is no cluster '{name}' in '{google.region}' of '{google.project}'",
            hint=f"'{MAKE}' makes one; of one in a zone, '--option region=' names the zone",
        ) from cause
    state = str(found.get("status") or "")
    if state in _NOT_THERE:
        raise DeployError(
            f"the cluster '{name}' cannot be used: it is {state.lower()}",
            hint=f"see 'gcloud container clusters describe {name}'",
        )
    server, authority = _address(found, name)
    return Endpoint(server=server, authority=authority, token=partial(_token, google))


def _address(found: Mapping[str, Any], name: str) -> tuple[str, bytes | None]:
    """Return address and authority of an API server; no authority: it is one of the public web."""
    kinds = found.get("controlPlaneEndpointsConfig") or {}
    by_name, by_address = kinds.get("dnsEndpointConfig") or {}, kinds.get("ipEndpointsConfig")
    if by_address is not None and not by_address.get("enabled"):
        if by_name.get("endpoint") and by_name.get("allowExternalTraffic"):
            return f"https://{by_name['endpoint']}", None
        raise DeployError(
            f"the cluster '{name}' has no address that can be asked from outside of Google",
            hint=f"gcloud container clusters update {name} --enable-dns-access",
        )
    try:
        authority = decoded(str(found["masterAuth"]["clusterCaCertificate"]))
        return f"https://{found['endpoint']}", authority
    except (KeyError, TypeError, ValueError) as cause:
        raise DeployError(
            f"what Google says of the cluster '{name}' cannot be read",
            hint=f"see whether 'gcloud container clusters get-credentials {name}' works",
        ) from cause


def _token(google: Google) -> str:
    """Return an access token that is good now; raises CredentialsError without credentials."""
    found = google.token()
    if found is None:
        raise CredentialsError(
            "a cluster of Google asks who calls, and there are no credentials",
            hint="run 'gcloud auth application-default login'",
        )
    return found


def _push(
    google: Google,
    push: Push,
    spec: DeploymentSpec,
    reference: str,
    *,
    find_login: Any,
    base: str | None,
    progress: Progress,
) -> Pushed:
    """Push an image, to a registry of Google with the caller's own login."""

    def find(host: str) -> Any:
        if host != "gcr.io" and not host.endswith(_REGISTRIES):
            return find_login(host)
        token = google.token()
        return None if token is None else Login("oauth2accesstoken", token)

    return push(spec, reference, find_login=find, base=base, progress=progress)
