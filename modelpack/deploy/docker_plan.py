"""What a Docker engine would have to change, as a pure function.

    DeploymentSpec + Live ──changes_of──► image/…, port/…, replicas/…; warnings

The image comes first, for without it nothing else is done; then the port, where that is another
one; then the replicas, with all that decides what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from modelpack.deploy.accelerators import device_requests
from modelpack.deploy.container import reachable_from
from modelpack.deploy.engine_words import address_id, wanted_facts
from modelpack.deploy.fleet import COUNT
from modelpack.deploy.plan import IMAGE, Change, change_to
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import Live

_IN_PLACE = {COUNT, "state", "checked"}
"""What changes without other replicas."""


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
    if spec.settings.min_replicas == 0:
        warnings.append(
            "scaling.min: an engine starts nothing when somebody asks, so one replica stays"
        )
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


def _replicas_change(spec: DeploymentSpec, live: Live, wanted: Mapping[str, Fact]) -> Change:
    change = change_to(f"replicas/modelpack-{spec.name}", live, wanted)
    if change.action == "replace" and not set(change.after) - _in_place(live):
        return replace(change, action="update")
    return change


def _in_place(live: Live) -> set[str]:
    """Return the facts that are put right without other replicas: an address nobody keeps, too."""
    is_kept = live.facts.get("port") is not None
    return _IN_PLACE if is_kept else _IN_PLACE | {"host", "port"}


def _address_change(spec: DeploymentSpec, live: Live) -> Change | None:
    """Return what becomes of the address, when that is another one."""
    wanted = {key: wanted_facts(spec)[key] for key in ("host", "port")}
    former = {key: live.facts.get(key) for key in ("host", "port")}
    if former == wanted:
        return None
    resource = f"port/modelpack-{spec.name}-P{address_id(spec)}"
    if live.is_absent or former["port"] is None:
        return Change(action="create", resource=resource, after=wanted)
    return Change(action="replace", resource=resource, before=former, after=wanted)


def _image_change(spec: DeploymentSpec, live: Live) -> Change:
    resource = f"{IMAGE}/{spec.image}"
    after = {"bundle": spec.digest}
    if live.surroundings.get("image_id") is None:
        return Change(action="create", resource=resource, after=after)
    before = {"bundle": live.surroundings.get("image_bundle")}
    return Change(action="replace", resource=resource, before=before, after=after)
