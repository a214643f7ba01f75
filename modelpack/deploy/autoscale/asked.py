"""The policy that the settings of a deployment ask for, on one machine.

    deploy.scaling ──policy_of──► Policy, for the keeper of the port

Clouds have scalers of their own; their plugins translate the same settings.
"""

from __future__ import annotations

import json

from modelpack.config.deploying import DeploySettings
from modelpack.deploy.autoscale.policy import Policy

IN_FLIGHT = 8
"""Requests at once that a replica should have, when nobody says how many.

A server takes that many off one batch (32 rows by default) without a second run, and where a
method runs one call at a time the last of them waits for seven others.
"""

_NAMES = {"cooldown_up_s": "up_s", "cooldown_down_s": "down_s"}
"""What the formula calls them; the others have one name."""

_OPTIONAL = (
    "idle_s", "cooldown_up_s", "cooldown_down_s", "every_s", "window_s", "max_up_factor",
    "max_down_factor", "up_tolerance", "down_tolerance",
)  # fmt: skip


def policy_of(settings: DeploySettings) -> Policy | None:
    """Return how a deployment on one machine is scaled; None: it has one number of replicas.

    What is not set is as ``Policy`` has it, but for ``IN_FLIGHT``.
    """
    if not settings.is_scaling:
        return None
    chosen = {
        _NAMES.get(name, name): value
        for name in _OPTIONAL
        if (value := getattr(settings, name)) is not None
    }
    return Policy(
        min_replicas=settings.min_replicas,
        max_replicas=settings.most_replicas,
        in_flight=float(settings.in_flight or IN_FLIGHT),
        **chosen,
    )


def policy_words(policy: Policy, serial: float) -> str:
    """Return a policy as the keeper reads it: ``SERIAL POLICY``, without further spaces.

    That is the value of ``$MODELPACK_SLEEPS``, and the end of the order ``scale GROUP``.  Of two
    policies of a group the one with the higher serial number counts; a Unix time will do.
    """
    return f"{serial!r} {json.dumps(policy.to_json(), separators=(',', ':'))}"
