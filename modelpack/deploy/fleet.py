"""All containers of one deployment, and what they amount to.

    containers ──Fleet.of──► keepers, groups ──► settled   found healthy; what stands
                                            ├──► on trial  came later, not found healthy yet
                                            └──► left over what neither of them needs

Pure.  A group is what one apply has started: replicas of one revision and one image, side by side.
Whether it was found healthy is written in its restart policy, which is the one thing about a
container that an engine lets be changed: so a machine that starts again starts only what was.

Where the load decides how many replicas are awake, all that there may be are made, and how it is
decided stands on each; the newest is right, so that another policy is one more container.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from modelpack.deploy.container import Container
from modelpack.deploy.engine_words import (
    KEEPER,
    REPLICA,
    SCALING,
    address_id,
    is_scaling,
    wanted_facts,
)
from modelpack.deploy.probe import is_ready
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import State
from modelpack.errors import ConflictError
from modelpack.manifest import canonical_json, sha256_digest

COUNT = "min_replicas"
"""Fact that is the number of replicas there are."""

_WORST_FIRST = (State.FAILED, State.STOPPED, State.UNHEALTHY, State.STARTING, State.RUNNING)


@dataclass(frozen=True, slots=True)
class Group:
    """Replicas that came together."""

    id: str
    replicas: tuple[Container, ...]
    """By number."""

    @property
    def is_settled(self) -> bool:
        """True when all of it was found healthy."""
        return all(one.is_kept for one in self.replicas)

    @property
    def was_settled(self) -> bool:
        """True when some of it was: it is growing, or was being settled."""
        return any(one.is_kept for one in self.replicas)

    @property
    def newest(self) -> Container:
        """The replica that was made last."""
        return max(self.replicas, key=lambda one: (one.created, one.number))

    @property
    def is_scaling(self) -> bool:
        """True when the load decides how many of it are awake."""
        spec = self.newest.spec
        return spec is not None and spec.settings.is_scaling

    @property
    def spec(self) -> DeploymentSpec | None:
        """What it was made for, with as many replicas as there are."""
        spec = self.newest.spec
        count = len(self.replicas)
        if spec is None or self.is_scaling or count_of(spec) == count:
            return spec
        settings = replace(spec.settings, min_replicas=count, max_replicas=None)
        return replace(spec, settings=settings)

    @property
    def template(self) -> Mapping[str, Fact]:
        """The facts of each replica; of the first that differs from what was asked, if one does."""
        wanted = self.applied
        odd = (one.facts for one in self.replicas if template_of(one.facts) != wanted)
        return template_of(next(odd, self.newest.facts))

    @property
    def scaling(self) -> Mapping[str, Fact]:
        """How many replicas there are, or how that is decided and how many there can be."""
        count = len(self.replicas)
        spec = self.newest.spec
        if spec is None or not self.is_scaling:
            return {COUNT: count} if count != 1 else {}
        facts = {key: one for key, one in wanted_facts(spec).items() if key in SCALING}
        return facts if count == count_of(spec) else facts | {"max_replicas": count}

    @property
    def applied(self) -> Mapping[str, Fact]:
        """What was asked for, for each replica, and the image that it had."""
        if self.newest.spec is None:
            return {}
        wanted = template_of(wanted_facts(self.newest.spec))
        return wanted | {"image_id": self.newest.facts["image_id"]}


@dataclass(frozen=True, slots=True)
class Fleet:
    """What an engine has of a deployment."""

    name: str
    keepers: Mapping[str, Container]
    """By the address that they keep."""
    groups: tuple[Group, ...]
    """In the order in which they came."""
    others: tuple[Container, ...] = ()
    """Containers that another version of modelpack has made."""

    @classmethod
    def of(cls, name: str, containers: Iterable[Container]) -> Fleet:
        """Sort the containers of a deployment."""
        keepers: dict[str, Container] = {}
        groups: dict[str, list[Container]] = {}
        others = []
        for one in containers:
            if one.role == KEEPER:
                keepers[one.group] = one
            elif one.role == REPLICA:
                groups.setdefault(one.group, []).append(one)
            else:
                others.append(one)
        found = [
            Group(key, tuple(sorted(members, key=lambda one: one.number)))
            for key, members in groups.items()
        ]
        ordered = sorted(found, key=lambda group: group.newest.created)
        return cls(name, keepers, tuple(ordered), tuple(others))

    def require_ours(self) -> None:
        """Raise ConflictError for a container that another version of modelpack has made."""
        if self.others:
            raise ConflictError(
                f"the container '{self.others[0].name}' was made by another version of modelpack",
                hint=f"run 'modelpack deployments destroy {self.name}' first",
            )

    @property
    def is_absent(self) -> bool:
        """True when there is no container at all."""
        return not (self.groups or self.keepers or self.others)

    @property
    def settled(self) -> Group | None:
        """The group that was found healthy last."""
        return next((group for group in reversed(self.groups) if group.was_settled), None)

    @property
    def on_trial(self) -> Group | None:
        """A group that came later and of which not all was found healthy."""
        last = self.groups[-1] if self.groups else None
        return last if last is not None and not last.is_settled else None

    @property
    def standing(self) -> Group | None:
        """The group on trial, else the settled one."""
        return self.on_trial or self.settled

    def keeper_of(self, group: Group | None) -> Container | None:
        """Return what keeps the port that the group answers at."""
        if group is None or group.newest.spec is None:
            return None
        return self.keepers.get(address_id(group.newest.spec))

    def beside(self, *groups: Group | None) -> list[Container]:
        """Return the containers that none of the groups needs, replicas first."""
        ids = {group.id for group in groups if group is not None}
        needed = {keeper.name for group in groups if (keeper := self.keeper_of(group))}
        replicas = [one for group in self.groups if group.id not in ids for one in group.replicas]
        keepers = [one for one in self.keepers.values() if one.name not in needed]
        return [*replicas, *keepers, *self.others]

    @property
    def is_settled(self) -> bool:
        """True when one group stands, all of it found healthy, and nothing beside it."""
        return self.on_trial is None and not self.beside(self.settled)

    def facts(self) -> dict[str, Fact]:
        """Return the facts of what stands, the address being that of its keeper."""
        group = self.standing
        if group is None:
            return {}
        address = {"host": None, "port": None, "grpc_port": None} | dict(
            _facts_of(self.keeper_of(group))
        )
        facts = dict(group.template) | address | dict(group.scaling)
        return {key: value for key, value in facts.items() if value is not None}

    def applied(self) -> dict[str, Fact]:
        """Return what was asked for last, under the keys of ``facts``."""
        group = self.standing
        if group is None or not group.applied:
            return {}
        return dict(group.applied) | dict(group.scaling)

    def like(self, wanted: Mapping[str, Fact]) -> Group | None:
        """Return the group whose every replica has the wanted facts, whatever their number.

        Whether the load decides how many are awake is decided for good as they are made.
        """
        template = template_of(wanted)
        for group in reversed(self.groups):
            if group.is_scaling == is_scaling(wanted) and all(
                template_of(one.facts) == template for one in group.replicas
            ):
                return group
        return None

    def fresh_id(self, wanted: Mapping[str, Fact]) -> str:
        """Return twelve hex digits for a group with the wanted facts that no group has yet."""
        taken = {group.id for group in self.groups}
        attempt = 0
        while True:
            value = canonical_json([dict(template_of(wanted)), attempt])
            found = sha256_digest(value).removeprefix("sha256:")[:12]
            if found not in taken:
                return found
            attempt += 1


def count_of(spec: DeploymentSpec) -> int:
    """Return how many containers there are for the spec: as many replicas as there can be."""
    return spec.settings.most_replicas


def state_of(containers: Iterable[Container]) -> tuple[State, str | None]:
    """Return how several containers are, all in all, and why; asks those that can be asked."""
    found = list(containers)
    now = datetime.now(UTC)
    ready = [one.needs_probe and is_ready(one.url) for one in found]
    pairs = zip(found, ready, strict=True)
    return _worst(found, [one.state(is_ready=can, now=now) for one, can in pairs])


def worst_of(containers: Iterable[Container], now: datetime) -> tuple[State, str | None]:
    """Return the same without asking any: one that runs is well."""
    found = list(containers)
    return _worst(found, [one.state(is_ready=True, now=now) for one in found])


def _worst(found: Sequence[Container], states: Sequence[State]) -> tuple[State, str | None]:
    worst = min(states, key=_WORST_FIRST.index)
    detail = next((one.detail for one in found if one.detail), None)
    ready = states.count(State.RUNNING)
    if len(found) > 1 and ready < len(found):
        count = f"{ready} of {len(found)} replicas are ready"
        detail = f"{count}: {detail}" if detail else count
    return worst, detail


def _facts_of(keeper: Container | None) -> Mapping[str, Fact]:
    return keeper.facts if keeper is not None else {}


def template_of(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """Return the facts without those that say how many replicas there are."""
    return {key: value for key, value in facts.items() if key not in SCALING}
