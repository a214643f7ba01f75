"""What a Docker engine would have to change, as a pure function.

    DeploymentSpec + Live ──changes_of──► image/…, port/…, replicas/…; warnings

The image comes first, for without it nothing else is done; then the port, where that is another
one; then the replicas, with all that decides what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from modelpack.deploy.accelerators import device_requests
from modelpack.deploy.capabilities import written
from modelpack.deploy.container import reachable_from
from modelpack.deploy.engine_words import (
    KEEPER_WORDS,
    SCALING,
    address_id,
    is_scaling,
    wanted_facts,
)
from modelpack.deploy.plan import IMAGE, Change, change_to
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import Live

_IN_PLACE = SCALING | {"state", "checked"}
"""What changes without other replicas."""

MANY = 32
"""More containers than this are worth a warning."""


def changes_of(spec: DeploymentSpec, live: Live) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """Return changes and warnings.

    Raises UsageError for an address or an accelerator that an engine cannot have.
    """
    device_requests(spec.settings)
    around = live.surroundings
    wanted = wanted_of(spec, live)
    changes = [_replicas_change(spec, live, wanted)]
    if address := _address_change(spec, live):
        changes.insert(0, address)
    warnings = []
    is_usable = _is_usable(spec, live)
    if changes[-1].action in ("create", "replace") and not is_usable:
        changes.insert(0, _image_change(spec, live))
    if is_usable and around.get("image_bundle") is None:
        warnings.append(f"the image '{spec.image}' does not say which bundle it holds")
    if spec.settings.grpc_port is not None and is_usable and not _speaks_grpc(spec, live):
        warnings.append(f"grpc_port: the image '{spec.image}' does not say that it speaks gRPC")
    warnings += _scaling_words(spec)
    if address is not None and address.action == "replace" and "port" not in address.after:
        warnings.append("what keeps the port is made anew: the port is away for a moment")
    remote = around.get("engine_host")
    if not reachable_from(str(remote) if remote else None, spec.settings.host):
        warnings.append(
            f"host: '{spec.settings.host}' of the engine's machine '{remote}' is not to be "
            "reached from here"
        )
    return tuple(changes), tuple(warnings)


def wanted_of(spec: DeploymentSpec, live: Live) -> dict[str, Fact]:
    """Return the facts that the spec asks for, with the image that it would run of."""
    wanted = wanted_facts(spec)
    around = live.surroundings
    image_id = around["image_id"] if _is_usable(spec, live) else live.facts.get("image_id")
    return wanted | {"image_id": image_id} if image_id else wanted


def _is_usable(spec: DeploymentSpec, live: Live) -> bool:
    holds = live.surroundings.get("image_bundle")
    return live.surroundings.get("image_id") is not None and holds in (None, spec.digest)


def _speaks_grpc(spec: DeploymentSpec, live: Live) -> bool:
    is_said = live.surroundings.get("image_grpc") is not None
    return is_said or "MODELPACK_GRPC_PORT" in spec.settings.env


def _replicas_change(spec: DeploymentSpec, live: Live, wanted: Mapping[str, Fact]) -> Change:
    change = change_to(f"replicas/modelpack-{spec.name}", live, wanted)
    if change.action == "replace" and not set(change.after) - _in_place(live, wanted):
        return replace(change, action="update")
    return change


def _in_place(live: Live, wanted: Mapping[str, Fact]) -> frozenset[str]:
    """Return the facts that are put right without other replicas: an address nobody keeps, too.

    Replicas whose number is fixed do not sleep, and those that may are made so.
    """
    found = _IN_PLACE if live.facts.get("port") is not None else _IN_PLACE | {"host", "port"}
    is_other = bool(live.surroundings.get("is_scaling")) != is_scaling(wanted)
    return found - SCALING if is_other else found


def _scaling_words(spec: DeploymentSpec) -> list[str]:
    """Return warnings for scaling that costs much, or for its settings where there is none."""
    settings = spec.settings
    if settings.is_scaling:
        most = settings.most_replicas
        if most <= MANY:
            return []
        return [f"scaling.max: {most} containers are made at once; those that sleep take 7 MB each"]
    named = set(spec.facts()) & (SCALING - {"min_replicas", "max_replicas"})
    why = "has a meaning only where 'scaling.max' is above 'scaling.min'"
    return [f"{written(name)}: {why}" for name in sorted(named)]


def _address_change(spec: DeploymentSpec, live: Live) -> Change | None:
    """Return what becomes of the address, when that is another one."""
    wanted = {key: wanted_facts(spec)[key] for key in ("host", "port")}
    former = {key: live.facts.get(key) for key in ("host", "port")}
    resource = f"port/modelpack-{spec.name}-P{address_id(spec)}"
    if former == wanted:
        before, after = _keeper_differences(spec, live)
        if not after:
            return None
        return Change(action="replace", resource=resource, before=before, after=after)
    if spec.settings.grpc_port is not None:
        wanted["grpc_port"] = spec.settings.grpc_port
    if live.is_absent or former["port"] is None:
        return Change(action="create", resource=resource, after=wanted)
    return Change(action="replace", resource=resource, before=former, after=wanted)


def _keeper_differences(
    spec: DeploymentSpec, live: Live
) -> tuple[dict[str, Fact], dict[str, Fact]]:
    """Return in what a keeper at the same address differs, before and after; empty: in nothing."""
    words, ports = live.surroundings.get("keeper_words"), spec.settings.grpc_port
    before: dict[str, Fact] = {}
    after: dict[str, Fact] = {}
    if spec.settings.is_scaling and words not in (None, KEEPER_WORDS):
        before["words"], after["words"] = words, KEEPER_WORDS
    if words is not None and live.facts.get("grpc_port") != ports:
        before["grpc_port"], after["grpc_port"] = live.facts.get("grpc_port"), ports
    return before, after


def _image_change(spec: DeploymentSpec, live: Live) -> Change:
    resource = f"{IMAGE}/{spec.image}"
    after = {"bundle": spec.digest}
    if live.surroundings.get("image_id") is None:
        return Change(action="create", resource=resource, after=after)
    before = {"bundle": live.surroundings.get("image_bundle")}
    return Change(action="replace", resource=resource, before=before, after=after)
