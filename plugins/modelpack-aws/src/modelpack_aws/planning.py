"""What a deployment would change: a pure function of a spec and of what stands.

    spec + Live ──plan_for──► Plan: repository, image, stack (with its cost), and on a first deploy every
                              resource of the stack; a note says which service was chosen and why

What a change set does to single resources only CloudFormation knows: it is shown by ``apply``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from modelpack.deploy import Change, DeploymentSpec, Entry, Fact, Live, Plan, change_to
from modelpack.deploy.pushing import IMAGE_DIGEST, pushed_image, with_image
from modelpack_aws import policy
from modelpack_aws.choosing import MODES, choose
from modelpack_aws.given import OPTIONS
from modelpack_aws.modes import AwsMode
from modelpack_aws.place import Place
from modelpack_aws.template import Template
from modelpack_aws.wanted import Wanted, of_the_template


def facts_of(entry: Entry) -> dict[str, Fact]:
    """Return the facts of a revision that was applied, its image by digest."""
    facts = entry.facts(MODES.load(entry.mode).capabilities)
    return facts | {IMAGE_DIGEST: entry.image.partition("@")[2]}


def plan_for(place: Place, spec: DeploymentSpec, live: Live) -> Plan:
    """Return what would change; raises UsageError for what cannot be."""
    word, why = choose(spec, place.options, place.allowed)
    mode, wanted = MODES.load(word), place.wanted(spec)
    # What stands already may be of the mode that it goes back from.
    given = {k: one for k, one in place.options.items() if live.facts.get(f"option.{k}") != one}
    MODES.refuse_foreign(mode, given, OPTIONS)
    template = checked_template(mode, wanted)
    entry = Entry(spec=spec, image="", mode=word, options=of_the_template(place.options))
    live, facts = with_image(spec, live, entry.facts(mode.capabilities))
    # The stack stays; what is in it changes.
    change = change_to(f"stack/{wanted.stack}", live, facts, stays=True)
    changes = [change]
    if change.action != "none":
        changes = [
            *_before(wanted, spec, live),
            replace(change, cost=mode.cost(wanted)),
            *(_resources(template) if live.is_absent else ()),
        ]
    return Plan(
        target=place.target,
        spec=spec,
        changes=tuple(changes),
        warnings=tuple(_warnings(mode, wanted, live)),
        notes=(f"{word}: {why}", *mode.notes(wanted), *_whereabouts(mode, wanted)),
    )


def checked_template(mode: AwsMode, wanted: Wanted, former: Wanted | None = None) -> Template:
    """Return the template of a mode; raises UsageError, and RefusedError for one that is not safe."""
    template = mode.render(wanted, former)
    policy.check(template.to_json(), public=wanted.network.public)
    return template


def _before(wanted: Wanted, spec: DeploymentSpec, live: Live) -> list[Change]:
    """Return what is made before the stack: the repository, and the image in it."""
    found = []
    around: Mapping[str, Fact] = live.surroundings
    if around.get("repository") is None:
        found.append(Change(action="create", resource=f"repository/{wanted.repository}"))
    if around.get(IMAGE_DIGEST) is None:
        found.append(pushed_image(wanted.repository, spec))
    return found


def _resources(template: Template) -> list[Change]:
    return [
        Change(action="create", resource=f"{body['Type']}/{name}")
        for name, body in sorted(template.resources.items())
    ]


def _warnings(mode: AwsMode, wanted: Wanted, live: Live) -> list[str]:
    found = []
    former = live.facts.get("mode")
    if former not in (None, mode.word):
        found.append(f"it moves from '{former}' to '{mode.word}' and gets another address")
    if _is_balanced(mode) and wanted.network.public and not wanted.options.get("certificate"):
        found.append("public without '--option certificate=ARN': callers speak plain HTTP")
    return found


def _whereabouts(mode: AwsMode, wanted: Wanted) -> list[str]:
    if not _is_balanced(mode) or wanted.network.public:
        return []
    return ["it answers inside its network alone; from outside, the load balancer's check decides"]


def _is_balanced(mode: AwsMode) -> bool:
    return mode.word in ("ecs", "ec2")
