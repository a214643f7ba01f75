"""What a deployment would change: a pure function of a spec and of what stands.

spec + Live ──plan_for──► Plan: identity, its role, the image, the app or endpoint; a note says which
                          service was chosen and why
"""

from __future__ import annotations

from dataclasses import replace

from modelpack.deploy import Change, DeploymentSpec, Entry, Live, Plan, change_to
from modelpack.deploy.pushing import pushed_image
from modelpack.errors import UsageError
from modelpack_azure.account import name_or_id
from modelpack_azure.choosing import MODES, choose
from modelpack_azure.identity import KIND as IDENTITY
from modelpack_azure.modes import Mode, Place
from modelpack_azure.naming import identity_name, repository_of
from modelpack_azure.registry import KIND as REGISTRY

HAS_IDENTITY = "has_identity"
HAS_IMAGE = "has_image"
"""Keys of the surroundings: what of a first deploy is there already."""


def plan_for(place: Place, allowed: tuple[str, ...], spec: DeploymentSpec, live: Live) -> Plan:
    """Return what would change; raises UsageError for what cannot be."""
    word, why = choose(spec, place.account.options, allowed)
    mode = MODES.load(word)
    _refuse_wrong(place, mode)
    notes = mode.notes(spec, place.options)
    mode.render(place, spec)  # held against the models of the service
    entry = Entry(spec=spec, image="", mode=word, options=place.options)
    change = change_to(mode.resource(spec.name), live, entry.facts(mode.capabilities), stays=True)
    if change.action != "none":
        change = replace(change, cost=mode.cost(spec))
    changes = [change]
    if change.action != "none":
        changes = [*_before(place, spec, live), change]
    return Plan(
        target=place.target,
        spec=spec,
        changes=tuple(changes),
        notes=(f"{word}: {why}", *notes),
    )


def _refuse_wrong(place: Place, mode: Mode) -> None:
    """Raise UsageError for options that are not there, say nothing, or are for another mode."""
    account = place.account
    account.check()
    for option, (kind, command) in mode.needs.items():
        account.named(option, kind, command)
    for option, kind in (("identity", IDENTITY), ("registry", REGISTRY)):
        if option in account.options:
            name_or_id(option, account.options[option], kind)
    for word in MODES.paths:
        other = MODES.load(word)
        foreign = other.options.keys() - mode.options.keys() - other.needs.keys()
        for option in sorted(foreign & account.options.keys()):
            raise UsageError(
                f"option '{option}' is for the mode '{word}', and this is '{mode.word}'",
                hint=f"leave it out, or say 'mode: {word}'",
            )


def _before(place: Place, spec: DeploymentSpec, live: Live) -> list[Change]:
    """Return what is made before the app: the identity with its role, and the image."""
    found = []
    if not place.identities.is_given and live.surroundings.get(HAS_IDENTITY) is None:
        name = identity_name(spec.name)
        found.append(Change(action="create", resource=f"identity/{name}"))
        found.append(Change(action="create", resource=f"role/AcrPull for {name}"))
    if live.surroundings.get(HAS_IMAGE) is None:
        found.append(pushed_image(repository_of(spec.name), spec))
    return found
