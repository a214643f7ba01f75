"""Names and labels of Kubernetes, as far as this package writes them.

    "My.digits" ──resource_name──► "my-digits-1f0c9a"      one name for every object of a deployment

Rules: Kubernetes documentation, "Object Names and IDs" (RFC 1035 labels for Services, RFC 1123 for
the others), "Labels and Selectors" (keys and values), "Recommended Labels".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from modelpack.errors import UsageError

Json = dict[str, Any]

MANAGER = "modelpack"
"""Value of ``app.kubernetes.io/managed-by``, and the field manager of what is applied."""

DEPLOYMENT = "modelpack.dev/deployment"
"""Annotation of everything: the name of the deployment, which may be longer than an object's."""
SPEC = "modelpack.dev/spec"
"""Annotation of the workload: what was asked for, as canonical JSON."""
REVISION = "modelpack.dev/revision"
"""Annotation of the workload and its pods."""
TRACK = "modelpack.dev/track"
"""Label of pods: ``stable``, or ``canary`` for the few that take a share."""

STABLE, CANARY = "stable", "canary"

NAME_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
VERSION_LABEL = "app.kubernetes.io/version"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"

MOST_NAME = 45
"""Longest name of ours: KServe and Knative put words behind it, and a label holds 63 characters."""

_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_DNS = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")


def resource_name(name: str) -> str:
    """Return the name of a deployment's objects: small letters, digits and hyphens, 45 at most.

    Where that changes it, six digits of its hash keep two deployments apart.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    if not plain[:1].isalpha():
        plain = f"m-{plain}".strip("-")
    if plain == name and len(plain) <= MOST_NAME:
        return plain
    digits = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{plain[: MOST_NAME - 7].rstrip('-')}-{digits}"


def label_value(text: str) -> str:
    """Return text as the value of a label: 63 of the characters that one may have."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")
    return plain[:63].rstrip("._-")


def is_label_value(text: str) -> bool:
    """Return whether text may be the value of a label as it is."""
    return _LABEL_VALUE.fullmatch(text) is not None


def is_label_key(text: str) -> bool:
    """Return whether text may be the key of a label: a name, with a DNS name and '/' before it."""
    prefix, slash, name = text.rpartition("/")
    if slash and not (len(prefix) <= 253 and _DNS.fullmatch(prefix)):
        return False
    return _LABEL_NAME.fullmatch(name) is not None


def is_dns_name(text: str) -> bool:
    """Return whether text is the name of an object or a host: RFC 1123, 253 characters."""
    return len(text) <= 253 and _DNS.fullmatch(text) is not None


def own_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of ``deploy.labels``; raises UsageError for what Kubernetes does not take."""
    for key, value in labels.items():
        prefix = key.partition("/")[0]
        if key in (INSTANCE_LABEL, MANAGED_BY_LABEL) or prefix == "modelpack.dev":
            raise UsageError(f"deploy.labels.{key}: modelpack sets this one itself")
        if not is_label_key(key) or prefix.endswith(("kubernetes.io", "k8s.io")):
            raise UsageError(
                f"deploy.labels.{key}: not a label that Kubernetes leaves to its users",
                hint="write NAME or DOMAIN/NAME, such as team or example.com/team",
            )
        if not is_label_value(value):
            raise UsageError(
                f"deploy.labels.{key}: a label of Kubernetes cannot be '{value[:63]}'",
                hint="take 63 letters, digits, '.', '_' and '-' at most",
            )
    return dict(labels)
