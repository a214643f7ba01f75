"""What a deployment would change: a pure function of a spec and of what stands.

Found, Sight ──live_of──► Live: what runs, and what it was applied as

spec + Live ──plan_for──► Plan: repository, image, and what the mode makes, with its cost; a note
                          says which service was chosen and why
spec ──render──► the requests of a first apply, each checked against Google's own schema
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from modelpack.deploy import (
    Capabilities,
    Change,
    DeploymentSpec,
    Entry,
    Fact,
    Live,
    Plan,
    Rendered,
    Sight,
    change_to,
    chosen,
)
from modelpack.deploy.pushing import IMAGE_DIGEST, image_tag, pushed_image, with_image
from modelpack.errors import ConflictError, UsageError
from modelpack_gcp import options, strict
from modelpack_gcp.choosing import MODES, choose
from modelpack_gcp.images import Images, repository_body
from modelpack_gcp.kept import OF_THE_CALLER
from modelpack_gcp.modes import Found, Mode, Request
from modelpack_gcp.regions import doubt
from modelpack_gcp.session import Google
from modelpack_gcp.wanted import Wanted, wanted_from

_REPOSITORIES = "artifactregistry.projects.locations.repositories"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """What a target knows without asking anybody."""

    target: str
    allowed: Sequence[str]
    """Words of the modes that it has."""
    common: Mapping[str, str]
    """Options that every mode has."""
    options: Mapping[str, str] = field(default_factory=dict)

    def mode(self, spec: DeploymentSpec) -> Mode:
        """Return the mode that a spec gets; raises UsageError, also for an option of another one."""
        mode = MODES.load(choose(spec, self.allowed)[0])
        for option in self.options:
            if option not in self.common and option not in mode.options:
                raise UsageError(
                    f"option '{option}': {mode.title} has none of that name",
                    hint=f"it has {', '.join(sorted(mode.options))}",
                )
        return mode

    def wanted(self, spec: DeploymentSpec) -> Wanted:
        """Return what a spec asks for; raises UsageError for a region that cannot be one."""
        if spec.settings.region is not None:
            options.region("deploy.region", spec.settings.region)
        return wanted_from(spec, target=self.target, given=self.options)

    def capabilities(self, spec: DeploymentSpec) -> Capabilities:
        """Return what the mode does of a spec."""
        return self.mode(spec).capabilities

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        """Return what would change; raises UsageError for what cannot be."""
        word, why = choose(spec, self.allowed)
        mode, wanted = self.mode(spec), self.wanted(spec)
        if wanted.region is None and (region := live.surroundings.get("region")):
            wanted = replace(wanted, options={**wanted.options, "region": str(region)})
        notes = mode.notes(wanted)
        self.requests(spec)
        wish = Entry(spec=spec, image="", mode=word, options=chosen(self.options, OF_THE_CALLER))
        live, facts = with_image(spec, live, wish.facts(mode.capabilities))
        doubtful = doubt(wanted.region)
        main, *others = mode.resources(wanted)
        change = change_to(main, live, facts, stays=True)
        changes = [change]
        if change.action != "none":
            more = [Change(action="create", resource=one) for one in others]
            changes = [
                *_before(wanted, spec, live),
                replace(change, cost=mode.cost(wanted)),
                *(more if live.is_absent else ()),
            ]
        return Plan(
            target=self.target,
            spec=spec,
            changes=tuple(changes),
            warnings=(*([doubtful] if doubtful else []), *mode.warnings(wanted)),
            notes=(f"{word}: {why}", *notes),
        )

    def requests(self, spec: DeploymentSpec) -> list[Request]:
        """Return what a first apply would send; raises UsageError for what Google would refuse."""
        wanted = self.wanted(spec)
        project = self.options.get("project", "PROJECT")
        region = spec.settings.region or self.options.get("region", "REGION")
        parent = f"projects/{project}/locations/{region}"
        repository = Request(
            file="repository.json",
            method=f"{_REPOSITORIES}.create",
            parameters={"parent": parent, "repositoryId": wanted.id},
            body=repository_body(wanted),
        )
        uri = f"{region}-docker.pkg.dev/{project}/{wanted.id}/{wanted.id}"
        image = f"{uri}:{image_tag(spec)}"
        found = [repository, *self.mode(spec).requests(parent, wanted, image)]
        for one in found:
            strict.require(one.method, one.parameters, one.body)
        return found

    def render(self, spec: DeploymentSpec) -> Rendered:
        """Return the bodies as files, and in ``requests.json`` where each of them goes."""
        requests = self.requests(spec)
        listed = [{"file": one.file, "request": _line_of(one)} for one in requests]
        files = {one.file: _json(one.body) for one in requests}
        return Rendered(files=files | {"requests.json": _json(listed)})


def around_of(google: Google, images: Images | None) -> dict[str, Fact]:
    """Return what is around a deployment: the project, its repository, and the image that is wanted."""
    return {
        "project": google.project,
        "region": google.region,
        "repository": None if images is None else images.uri,
        IMAGE_DIGEST: None if images is None else images.digest,
    }


def live_of(
    spec: DeploymentSpec, wanted: Mode, found: Found, sight: Sight, around: Mapping[str, Fact]
) -> Live:
    """Return what stands; raises ConflictError for what stands on another service than is wanted."""
    if found.mode.word != wanted.word:
        raise ConflictError(
            f"the deployment '{spec.name}' stands on {found.mode.title}, and would go to "
            f"{wanted.title}",
            hint=f"set 'deploy.mode: {found.mode.word}', or destroy it first: it gets another address",
        )
    now = found.kept.now
    applied = {} if now is None else facts_of(now)
    return Live(
        name=spec.name,
        state=sight.state,
        facts=applied | dict(sight.facts),
        applied=applied,
        surroundings=around,
        revision=None if now is None else now.spec.revision,
        is_settled=found.kept.trial is None and now is not None,
    )


def facts_of(entry: Entry) -> dict[str, Fact]:
    """Return the facts of a revision that was applied, its image by digest."""
    digest = entry.image.partition("@")[2]
    return entry.facts(MODES.load(entry.mode).capabilities) | {IMAGE_DIGEST: digest}


def _before(wanted: Wanted, spec: DeploymentSpec, live: Live) -> list[Change]:
    """Return what is made before all else: the repository, and the image in it."""
    found = []
    if live.surroundings.get("repository") is None:
        found.append(Change(action="create", resource=f"repository/{wanted.id}"))
    if live.surroundings.get(IMAGE_DIGEST) is None:
        found.append(pushed_image(wanted.id, spec))
    return found


def _line_of(request: Request) -> str:
    """Return method and address of a request, as curl would be told."""
    known = strict.method(request.method)
    document = strict.document(request.method.partition(".")[0])
    path, left = str(known["path"]), dict(request.parameters)
    for name in list(left):
        if f"{{+{name}}}" in path:
            path = path.replace(f"{{+{name}}}", str(left.pop(name)))
    query = "&".join(f"{name}={value}" for name, value in sorted(left.items()))
    return f"{known['httpMethod']} {document['rootUrl']}{path}{'?' if query else ''}{query}"


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"
