"""Everything that a deployment is in a cluster, in the order in which it is applied.

    Wanted ──manifests──► [ServiceAccount, NetworkPolicy, Service, …, Deployment, …]   (pure)

What is named by others comes first, so that no pod is ever reached by whom it should not be.  Every
object has the labels of ``Wanted.labels``: by ``instance`` and ``managed-by`` all of a deployment is
found again.  Values of secrets are in none: ``secret`` makes the one object that has them, at apply.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from modelpack_kubernetes import exposure, scaling, workload
from modelpack_kubernetes.wanted import Wanted, own_secret
from modelpack_kubernetes.words import Json


def manifests(wanted: Wanted) -> list[Json]:
    """Return the objects of a deployment; raises UsageError for what cannot be."""
    return _plain(wanted)


def secret(wanted: Wanted, values: Mapping[str, str]) -> Json:
    """Return the Secret of the revision with the values of ``env:`` and ``file:`` references.

    For ``apply`` alone: it is never shown, rendered or noted.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": wanted.metadata(own_secret(wanted)),
        "type": "Opaque",
        "immutable": True,
        "data": {
            key: base64.b64encode(value.encode()).decode() for key, value in sorted(values.items())
        },
    }


def warnings(wanted: Wanted) -> list[str]:
    """Return what is done otherwise than asked for."""
    return scaling.notes(wanted)


def _plain(wanted: Wanted) -> list[Json]:
    found = [
        workload.service_account(wanted),
        exposure.network_policy(wanted),
        exposure.service(wanted),
        scaling.disruption_budget(wanted),
        workload.deployment(wanted),
        scaling.scaler(wanted),
        exposure.way_in(wanted),
    ]
    return [one for one in found if one is not None]
