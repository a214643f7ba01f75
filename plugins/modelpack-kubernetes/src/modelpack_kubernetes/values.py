"""Which Secret of the cluster holds the values of a revision as they are now.

    env:, file: ──resolve──► values ──compared with──► Secrets NAME-PODS, NAME-PODS-2 … ──► a serial

A Secret that was made never changes.  Other values behind the same references are the next one, so
pods are replaced as for any other change, one by one, and those of before have what they began with:
also when the new values do not work and the former revision is put back.  Values are compared in
memory; nothing of them, no digest either, is in a plan, a name or a note.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from modelpack.deploy import DeploymentSpec
from modelpack.deploy.references import resolve
from modelpack.errors import UsageError
from modelpack_kubernetes.cluster import Cluster
from modelpack_kubernetes.kinds import SECRET
from modelpack_kubernetes.wanted import own_secret_name, pods_of, selector_of
from modelpack_kubernetes.words import resource_name


def own_references(spec: DeploymentSpec) -> dict[str, str]:
    """Return the references whose values come from whoever deploys, by variable."""
    given = spec.settings.secrets.items()
    return {key: one for key, one in given if not one.startswith("k8s:")}


def encoded(values: Mapping[str, str]) -> dict[str, str]:
    """Return values as a Secret holds them."""
    return {key: base64.b64encode(one.encode()).decode() for key, one in sorted(values.items())}


def serial_of(cluster: Cluster, spec: DeploymentSpec) -> int:
    """Return the number of the Secret that has the values, or that will have them.

    Where they cannot be read here, it is the newest one that is there: an apply says what is missing.
    """
    own = own_references(spec)
    if not own:
        return 1
    there = _serials(cluster, spec)
    try:
        wanted = encoded(resolve(own))
    except UsageError:
        return max(there, default=1)
    same = [serial for serial, data in there.items() if data == wanted]
    return max(same, default=1 + max(there, default=0))


def _serials(cluster: Cluster, spec: DeploymentSpec) -> dict[int, Mapping[str, str]]:
    """Return what the Secrets of a revision's pods hold, by their numbers."""
    first = own_secret_name(spec.name, pods_of(spec))
    found = {}
    for one in cluster.find(SECRET, selector_of(resource_name(spec.name)))[0]:
        name = str(one["metadata"]["name"])
        rest = name.removeprefix(f"{first}-")
        if name == first:
            found[1] = one.get("data") or {}
        elif rest != name and rest.isdecimal():
            found[int(rest)] = one.get("data") or {}
    return found
