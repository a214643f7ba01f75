"""Everything that a deployment is in a cluster, in the order in which it is applied.

    Wanted ──manifests──► [ServiceAccount, NetworkPolicy, Service, …, Deployment, …]   (pure)

What is named by others comes first, so that no pod is ever reached by whom it should not be.  Every
object has the labels of ``Wanted.labels``: by ``instance`` and ``managed-by`` all of a deployment is
found again.  Values of secrets are in none: ``secret`` makes the one object that has them, at apply.
"""

from __future__ import annotations

from collections.abc import Mapping

from modelpack.errors import UsageError
from modelpack_kubernetes import (
    exposure,
    knative,
    kserve,
    monitoring,
    scaling,
    seldon,
    weights,
    workload,
)
from modelpack_kubernetes.checks import problems
from modelpack_kubernetes.values import encoded
from modelpack_kubernetes.wanted import Wanted, own_secret
from modelpack_kubernetes.words import Json


def manifests(wanted: Wanted, *, former: Wanted | None = None) -> list[Json]:
    """Return the objects of a deployment.

    former  in the modes ``knative`` and ``seldon``, what a canary stands beside

    Raises UsageError for what cannot be.
    """
    _check(wanted)
    if wanted.mode == "kserve":
        return kserve.objects(wanted)
    if wanted.mode == "knative":
        return knative.objects(wanted, former)
    if wanted.mode == "seldon":
        return seldon.objects(wanted, former)
    found = [
        workload.service_account(wanted),
        exposure.network_policy(wanted),
        exposure.service(wanted),
        scaling.disruption_budget(wanted),
        workload.deployment(wanted),
        scaling.scaler(wanted),
        exposure.way_in(wanted),
        *monitoring.objects(wanted),
    ]
    return [one for one in found if one is not None]


def checked(wanted: Wanted, *, former: Wanted | None = None) -> list[Json]:
    """Return the objects as ``manifests`` does, after what no schema sees was looked at.

    Raises UsageError that names the first thing that is wrong.
    """
    objects = manifests(wanted, former=former)
    if found := problems(objects):
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise UsageError(f"a cluster could not run this: {found[0]}{more}")
    return objects


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
        "data": encoded(values),
    }


def warnings(wanted: Wanted) -> list[str]:
    """Return what is done otherwise than asked for, and what the cluster must have for it."""
    modes = {"deployment": scaling, "kserve": kserve, "knative": knative, "seldon": seldon}
    return [*modes[wanted.mode].notes(wanted), *weights.notes(wanted)]


def _check(wanted: Wanted) -> None:
    """Raise UsageError for options of another mode."""
    weights.check(wanted)
    if wanted.mode in ("kserve", "knative") and wanted.options.scaler != "cpu":
        raise UsageError(
            f"option 'scaler': the mode '{wanted.mode}' counts requests itself", hint="leave it out"
        )
    for key in ("storage", "transformer"):
        if wanted.mode != "kserve" and getattr(wanted.options, key) is not None:
            raise UsageError(f"option '{key}': goes with the mode 'kserve'", hint="--mode kserve")
