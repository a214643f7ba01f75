"""Keeps other machines away while a deployment is changed: a Lease in its namespace.

    hold ──create──► ours ──(renewed every ten seconds)──► deleted
             └─ there is one ─┬─ of this machine, or not renewed for its time ──► taken over
                              └─ else ──► ConflictError

Who holds it on this machine has the lock of this machine, so a Lease of our own is left over from an
apply that was killed.  Where leases may not be written, nothing is held, as without a cluster.

Wire facts: Kubernetes API reference, Lease v1 (``holderIdentity``, ``leaseDurationSeconds``,
``renewTime`` in microseconds).
"""

from __future__ import annotations

import hashlib
import os
import platform
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from modelpack.deploy import check_name
from modelpack.errors import ConflictError, ModelpackError, RefusedError
from modelpack_kubernetes.answers import ApiError, as_ours
from modelpack_kubernetes.cluster import Cluster
from modelpack_kubernetes.kinds import LEASE
from modelpack_kubernetes.words import Json, resource_name

DURATION_S = 30
_RENEW_S = 10.0
_TRIES = 3


@contextmanager
def held(cluster: Cluster, name: str) -> Iterator[None]:
    """Hold a deployment; raises ConflictError at once when another machine does."""
    if not _take(cluster, name):
        yield
        return
    is_over = threading.Event()
    thread = threading.Thread(target=_renew, args=(cluster, name, is_over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        with suppress(ModelpackError):  # it ends by itself
            cluster.delete(LEASE, lease_name(name))


def lease_name(name: str) -> str:
    """Return the name of a deployment's Lease."""
    return f"{resource_name(check_name(name))}-apply"


def identity() -> str:
    """Return who we are: this machine, and whose home it is."""
    home = os.environ.get("MODELPACK_HOME") or os.path.expanduser("~")  # noqa: PTH111
    digits = hashlib.sha256(f"{uuid.getnode()}/{home}".encode()).hexdigest()[:8]
    return f"{platform.node() or 'machine'}-{digits}"


def _take(cluster: Cluster, name: str) -> bool:
    """Take the Lease; return False where leases may not be written."""
    for _ in range(_TRIES):
        try:
            there = cluster.get(LEASE, lease_name(name))
        except RefusedError:
            return False
        if there is not None and not _is_free(there):
            spec = there["spec"]
            raise ConflictError(
                f"'{name}' is being changed by '{spec.get('holderIdentity')}'",
                hint=f"wait until it is done; it is given up {DURATION_S} s after that machine ended",
            )
        try:
            if there is None:
                cluster.create(_lease(name))
            else:
                cluster.replace({**there, "spec": _lease(name)["spec"]})
        except ApiError as error:
            if error.status in (403, 404):  # 404: no such namespace, which is told next
                return False
            if error.status != 409:  # else somebody was quicker: look again
                raise as_ours(error) from error
            continue
        return True
    raise ConflictError(f"'{name}' is being changed by somebody else", hint="try again")


def _is_free(lease: Json) -> bool:
    spec = lease.get("spec") or {}
    if spec.get("holderIdentity") in (None, identity()):
        return True
    try:
        renewed = datetime.fromisoformat(str(spec["renewTime"]))
        ends = renewed + timedelta(seconds=float(spec["leaseDurationSeconds"]))
    except (KeyError, ValueError):
        return True
    return datetime.now(UTC) > ends


def _lease(name: str) -> Json:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": LEASE.api_version,
        "kind": LEASE.name,
        "metadata": {"name": lease_name(name)},
        "spec": {
            "holderIdentity": identity(),
            "leaseDurationSeconds": DURATION_S,
            "acquireTime": now,
            "renewTime": now,
        },
    }


def _renew(cluster: Cluster, name: str, is_over: threading.Event) -> None:
    while not is_over.wait(_RENEW_S):
        with suppress(ModelpackError):  # the next one may do
            there = cluster.get(LEASE, lease_name(name))
            if there is not None and there["spec"].get("holderIdentity") == identity():
                fresh = _lease(name)["spec"]["renewTime"]
                cluster.replace({**there, "spec": {**there["spec"], "renewTime": fresh}})
