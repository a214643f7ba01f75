"""What a deployment would change: a pure function of a spec and of what stands.

spec + Live ──plan_for──► Plan: identity, its role, the image, the app or endpoint; a note says which
                          service was chosen and why
"""

from __future__ import annotations

from dataclasses import replace

from modelpack.deploy import Capabilities, Change, DeploymentSpec, Fact, Live, Plan, change_to
from modelpack_azure.choosing import choose, mode_of
from modelpack_azure.kept import Entry
from modelpack_azure.modes import Mode, Place
from modelpack_azure.naming import identity_name, image_tag, repository_of

HAS_IDENTITY = "has_identity"
HAS_IMAGE = "has_image"
"""Keys of the surroundings: what of a first deploy is there already."""


def capabilities_of(mode: Mode) -> Capabilities:
    """Return what a mode does of a spec."""
    return Capabilities(heeds=mode.heeds, reasons=mode.reasons, secret_schemes=mode.schemes)


def facts_of(entry: Entry, mode: Mode) -> dict[str, Fact]:
    """Return the facts of a revision that was applied."""
    heeded = capabilities_of(mode).heeded(entry.spec.facts())
    chosen: dict[str, Fact] = {f"option.{key}": one for key, one in entry.options.items()}
    return heeded | chosen | {"mode": mode.word}


def plan_for(place: Place, allowed: tuple[str, ...], spec: DeploymentSpec, live: Live) -> Plan:
    """Return what would change; raises UsageError for what cannot be."""
    word, why = choose(spec, place.account.options, allowed)
    mode = mode_of(word)
    notes = mode.notes(spec, place.options)
    mode.render(place, spec)  # held against the models of the service
    wanted = facts_of(Entry(spec=spec, image="", options=place.options), mode)
    change = change_to(mode.resource(spec.name), live, wanted)
    if change.action == "replace":
        change = replace(change, action="update")  # what stands stays; a revision is added
    changes = [change]
    if change.action != "none":
        changes = [*_before(place, spec, live), change]
    return Plan(
        target=place.target,
        spec=spec,
        changes=tuple(changes),
        notes=(f"{word}: {why}", *notes),
    )


def _before(place: Place, spec: DeploymentSpec, live: Live) -> list[Change]:
    """Return what is made before the app: the identity with its role, and the image."""
    found = []
    if not place.identities.is_given and live.surroundings.get(HAS_IDENTITY) is None:
        name = identity_name(spec.name)
        found.append(Change(action="create", resource=f"identity/{name}"))
        found.append(Change(action="create", resource=f"role/AcrPull for {name}"))
    if live.surroundings.get(HAS_IMAGE) is None:
        image = f"{repository_of(spec.name)}:{image_tag(spec.bundle, spec.digest)}"
        found.append(
            Change(action="create", resource=f"pushed-image/{image}", after={"bundle": spec.digest})
        )
    return found
