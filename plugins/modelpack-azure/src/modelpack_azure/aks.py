"""The target ``aks``: a cluster of Azure Kubernetes Service, driven as any other cluster is.

    --option cluster=NAME ──listClusterUserCredential──► address, authority, token ──► KubernetesTarget

Azure says where the cluster is and hands out a token: that of the local account, or, where the cluster
knows people by Microsoft Entra, one of the caller's own for it.  All else is the target ``kubernetes``,
with its options.  Images go to a registry of Azure that the cluster may pull from (``az aks update
--attach-acr``); the login is the caller's own.

Facts: AKS REST API, "List Cluster User Credentials"; kubelogin, "Azure Kubernetes Service AAD Server"
(the one application that every cluster of AKS takes tokens for).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

from modelpack_kubernetes.connecting import Endpoint, decoded, from_endpoint
from modelpack_kubernetes.target import OPTIONS as KUBERNETES
from modelpack_kubernetes.target import KubernetesTarget

from modelpack.deploy import DeploymentSpec, Progress, refuse_unknown
from modelpack.deploy.pushing import FindLogin, Login, Push, Pushed, push_image
from modelpack.errors import CredentialsError, DeployError, NotFoundError, UsageError
from modelpack_azure.account import Account
from modelpack_azure.arm import Arm, Calls, Json
from modelpack_azure.registry import login_of

API = "2024-09-01"
KIND = "Microsoft.ContainerService/managedClusters"
MAKE = "az aks create -g GROUP -n NAME --attach-acr REGISTRY"

OPTIONS: Mapping[str, str] = {
    "cluster": "cluster of Azure Kubernetes Service, by name or id",
    "endpoint": "address of Azure Resource Manager, such as that of an emulator",
    "resource_group": "resource group; default: 'modelpack'",
    "subscription": "id of the subscription; default: that of the Azure CLI",
    **{key: one for key, one in KUBERNETES.items() if key not in ("context", "kubeconfig")},
}
"""Options by name, with a line about each."""

# The application that all clusters of AKS take tokens of Microsoft Entra for.
_SCOPE = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"


@dataclass(frozen=True, slots=True)
class AksTarget(KubernetesTarget):
    """Deploys to one namespace of one cluster of Azure Kubernetes Service."""

    name: ClassVar[str] = "aks"
    where: ClassVar[tuple[str, ...]] = (
        "cluster",
        "endpoint",
        "resource_group",
        "subscription",
        "namespace",
    )

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Make the target; Azure is asked at the first call.  Raises UsageError, ToolMissingError."""
        refuse_unknown(cls.name, options, OPTIONS)
        arm = Arm(endpoint=options.get("endpoint"))
        arm.require()
        return cls.over(arm, options)

    @classmethod
    def over(cls, calls: Calls, options: Mapping[str, str], push: Push = push_image) -> Self:
        """Make the target over calls of Azure Resource Manager; raises UsageError."""
        if not options.get("cluster"):
            raise UsageError(
                "the target 'aks' needs '--option cluster=NAME'", hint=f"'{MAKE}' makes one"
            )
        return cls(
            connect=from_endpoint(partial(endpoint_of, calls, options)),
            given=dict(options),
            push=partial(_push, calls, push),
        )


def endpoint_of(calls: Calls, options: Mapping[str, str]) -> Endpoint:
    """Ask Azure where a cluster is and how to log in; raises NotFoundError, CredentialsError."""
    account = Account(options=options)
    path = account.given("cluster", KIND, MAKE)
    name = path.rpartition("/")[2]
    try:
        found = calls.post(f"{path}/listClusterUserCredential", API)
    except NotFoundError as cause:
        raise NotFoundError(
            f"there is no cluster '{name}' in '{account.group}'", hint=f"'{MAKE}' makes one"
        ) from cause
    cluster, user = _read(found, name)
    token = user.get("token")
    if not token and "exec" not in user:
        raise CredentialsError(
            f"the cluster '{name}' lets people in by certificates alone",
            hint="'az aks get-credentials', then the target 'kubernetes'",
        )
    return Endpoint(
        server=str(cluster["server"]),
        authority=decoded(str(cluster["certificate-authority-data"])),
        token=(lambda: str(token)) if token else partial(calls.token, _SCOPE),
    )


def _read(found: Json, name: str) -> tuple[Json, Json]:
    """Return cluster and user of the kubeconfig that Azure gives; nothing of it is in a message."""
    import yaml

    try:
        text = base64.b64decode(str(found["kubeconfigs"][0]["value"]), validate=True)
        config: Any = yaml.safe_load(text)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        if not cluster["server"] or not cluster["certificate-authority-data"]:
            raise ValueError("no address")
        return dict(cluster), dict(user)
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error, yaml.YAMLError):
        # What stands in it may be a token, which a cause would show.
        raise DeployError(
            f"what Azure says of the cluster '{name}' cannot be read",
            hint="see whether 'az aks get-credentials' works",
        ) from None


def _push(
    calls: Calls,
    push: Push,
    spec: DeploymentSpec,
    reference: str,
    *,
    find_login: FindLogin,
    base: str | None,
    progress: Progress,
) -> Pushed:
    """Push an image, to a registry of Azure with the caller's own login."""

    def find(host: str) -> Login | None:
        return login_of(calls, host) if host.endswith(".azurecr.io") else find_login(host)

    return push(spec, reference, find_login=find, base=base, progress=progress)
