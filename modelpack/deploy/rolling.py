"""Replaces the replicas of a deployment while its port stays open.

    start    volume, keeper (where they lack) ─► replicas on trial ─► rollout probes them
    settle   switch the port to them ─► they are kept ─► end what is left over
    revert   switch the port back, where it was switched ─► remove what is on trial
    remove   everything, and the volume

The order is what loses nothing: the former group takes requests until every replica of the new one
takes them, and ends only after that.  Each call to the engine is a step of its own and safe to
repeat, so that whatever is there after a kill, the next one goes on from it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from modelpack.config.deploying import DeploySettings
from modelpack.deploy.asked import Wanted, keeper, order_program, python_of, replica
from modelpack.deploy.autoscale.asked import policy_of, policy_words
from modelpack.deploy.awake import Awake, read_awake
from modelpack.deploy.container import Container
from modelpack.deploy.engine import Engine
from modelpack.deploy.engine_words import (
    KEEPER_WORDS,
    STOP_S,
    address_id,
    replica_name,
    volume_name,
)
from modelpack.deploy.fleet import Fleet, Group, state_of
from modelpack.deploy.journal import Journal
from modelpack.deploy.lineup import lineup
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import NEEDS_START
from modelpack.errors import DeployError, EngineError
from modelpack.progress import Progress

SWITCH_S = 10.0
"""Longest that replicas which are ready may take to accept at a port that is given to them."""

_KEEPER_START_S = 10.0
_ALREADY_UP = ("running", "restarting")


@dataclass(frozen=True, slots=True)
class Rolling:
    """The steps, over one engine."""

    engine: Engine
    read: Callable[[str], Fleet]
    """Asks the engine what there is of a deployment."""

    def start(
        self,
        spec: DeploymentSpec,
        wanted: Mapping[str, Fact],
        secrets: Mapping[str, str],
        journal: Journal,
        progress: Progress,
    ) -> None:
        """Have as many replicas with the wanted facts as the spec says; others stay as they are."""
        fleet = self.read(spec.name)
        group = fleet.like(wanted)
        group_id = group.id if group is not None else fleet.fresh_id(wanted)
        self._ensure_keeper(spec, fleet, journal)
        self._hold(spec, fleet)
        self._clear(fleet, group_id, journal)
        found = lineup(group, spec)
        there = {one.name: one for one in found.stay}
        fresh = [replica_name(spec.name, group_id, number) for number in found.fresh]
        serial = time.time()
        for number in found.fresh:
            self._create(replica(spec, group_id, number, secrets, serial=serial), journal)
        count = len(there) + len(fresh)
        with progress.step(f"start {count} replica{'s' if count > 1 else ''}"):
            for name in (*there, *fresh):
                self._ensure_up(name, there.get(name), journal)
        self._scale(self.read(spec.name).keepers[address_id(spec)], group_id, spec.settings)
        if found.surplus:
            with progress.step(f"end {len(found.surplus)} of the replicas"):
                self._end(found.surplus, journal)

    def joined(self, name: str) -> bool:
        """Return whether every replica that stands has asked for the port, or can be woken to."""
        fleet = self.read(name)
        group = fleet.standing
        if group is None:
            return False
        if group.is_scaling:
            awake = self.awake(fleet, group)
            return awake is not None and awake.places >= len(group.replicas)
        holder = fleet.keeper_of(group)
        if holder is None:
            return False
        found = self.order(holder, "status")["joined"]
        return bool(found.get(group.id, 0) >= len(group.replicas))

    def awake(self, fleet: Fleet, group: Group) -> Awake | None:
        """Return what the keeper of a group says of it; None: there is no keeper that runs."""
        holder = fleet.keeper_of(group)
        if holder is None or holder.phase != "running":
            return None
        return read_awake(self.order(holder, "status"), group.id)

    def settle(self, name: str) -> None:
        """Give the port to the replicas that stand, keep them, and end all others.

        Raises DeployError when they do not take it; the former ones go on then.
        """
        fleet = self.read(name)
        group = fleet.standing
        if group is None:
            return
        self._switch(fleet, group)
        for one in group.replicas:
            if not one.is_kept:
                self.engine.update(one.name, restart_policy="unless-stopped")
        self._end(fleet.beside(group), Journal())

    def revert(self, name: str) -> None:
        """Remove what is on trial; what was found healthy runs and has its port."""
        fleet = self.read(name)
        settled, on_trial = fleet.settled, fleet.on_trial
        if settled is None:
            self.remove(name)
            return
        for one in settled.replicas:
            if one.is_kept and one.phase not in _ALREADY_UP:
                self.engine.start(one.name)
        holder = fleet.keeper_of(settled)
        if holder is not None:
            if holder.phase not in _ALREADY_UP:
                self.engine.start(holder.name)
            if self.order(holder, "status")["allowed"] not in (None, [settled.id]):
                self._switch(fleet, settled)
        if on_trial is not None:
            for one in on_trial.replicas:
                if not one.is_kept:
                    self.engine.remove(one.name)
        if holder is not None and settled is on_trial and settled.is_scaling:
            self._scale_as_before(holder, settled)
        for other in fleet.keepers.values():
            if holder is None or other.name != holder.name:
                self.engine.remove(other.name)

    def remove(self, name: str) -> None:
        """End every container of the deployment, those on trial first, and remove the volume."""
        containers = self.read(name)
        everything = containers.beside()
        on_trial = [one for one in everything if not one.is_kept]
        self._end(on_trial, Journal())
        self._end([one for one in everything if one.is_kept], Journal())
        self.engine.remove_volume(volume_name(name))

    def order(self, holder: Container, *words: object) -> dict[str, Any]:
        """Give an order to a keeper and return its answer; raises EngineError."""
        argv = order_program(holder.program, words)
        until = time.monotonic() + _KEEPER_START_S
        while True:
            status, said = self.engine.run(holder.name, argv)
            if status == 0:
                answer: dict[str, Any] = json.loads(said)
                return answer
            if time.monotonic() > until:
                raise EngineError(
                    f"the container '{holder.name}', which keeps the port, does not answer: "
                    f"{said.strip()[-200:]}"
                )
            time.sleep(0.1)  # it is just starting

    def _ensure_keeper(self, spec: DeploymentSpec, fleet: Fleet, journal: Journal) -> None:
        holder = fleet.keepers.get(address_id(spec))
        if holder is not None and _is_outdated(holder, spec):
            self._end([holder], journal)
            holder = None
        if holder is None:
            python = python_of(self.engine.image(spec.image or "") or {})
            wanted = keeper(spec, python)
            self._create(wanted, journal)
            self._start(wanted.name, journal)
        elif holder.phase not in _ALREADY_UP:
            self._start(holder.name, journal)

    def _hold(self, spec: DeploymentSpec, fleet: Fleet) -> None:
        """See to it that only who is settled gets the port, until another order is given."""
        holder = self.read(spec.name).keepers[address_id(spec)]
        settled = fleet.settled
        is_its = settled is not None and fleet.keeper_of(settled) is not None
        self.order(holder, "hold", *([settled.id] if settled is not None and is_its else []))

    def _clear(self, fleet: Fleet, group_id: str, journal: Journal) -> None:
        """Remove groups on trial that somebody was killed over; keep one that has the port."""
        for group in fleet.groups:
            if group.is_settled or group.id == group_id:
                continue
            has_port = self._has_port(fleet, group)
            for one in group.replicas:
                if one.is_kept:
                    continue
                if has_port:  # it was found healthy: nobody else takes requests now
                    keep = partial(self.engine.update, one.name, restart_policy="unless-stopped")
                    journal.step(f"keep/container/{one.name}", keep)
                else:
                    remove = partial(self.engine.remove, one.name)
                    journal.step(f"remove/container/{one.name}", remove)

    def _has_port(self, fleet: Fleet, group: Group) -> bool:
        holder = fleet.keeper_of(group)
        if holder is None or holder.phase not in _ALREADY_UP:
            return False
        return group.id in (self.order(holder, "status")["allowed"] or ())

    def _create(self, wanted: Wanted, journal: Journal) -> None:
        make = partial(self.engine.create, wanted.name, wanted.settings, wanted.host)
        journal.step(f"create/container/{wanted.name}", make)

    def _start(self, name: str, journal: Journal) -> None:
        journal.step(f"start/container/{name}", partial(self.engine.start, name))

    def _ensure_up(self, name: str, known: Container | None, journal: Journal) -> None:
        """Start it; one that is up and has had its time without being ready is started again."""
        if known is not None and known.phase in _ALREADY_UP:
            may_sleep = known.spec is not None and known.spec.settings.is_scaling
            if may_sleep or state_of([known])[0] not in NEEDS_START:
                return
            stop = partial(self.engine.stop, name, grace_s=STOP_S)
            journal.step(f"stop/container/{name}", stop)
        self._start(name, journal)

    def _scale(self, holder: Container, group_id: str, settings: DeploySettings) -> None:
        """Let the keeper decide as the settings say; for a group on trial, have the fewest awake."""
        policy = policy_of(settings)
        if policy is None:
            return
        said = self.order(holder, "scale", group_id, policy_words(policy, time.time()))
        if group_id not in (said["allowed"] or ()):
            self.order(holder, "wake", group_id, max(settings.min_replicas, 1))

    def _wake(self, holder: Container, group_id: str, settings: DeploySettings) -> None:
        """Have as many awake as take the port next; return when they are ready, or had their time."""
        said = self.order(holder, "wake", group_id, max(settings.min_replicas, 1))
        until = time.monotonic() + settings.ready_timeout_s
        while time.monotonic() < until:
            found = read_awake(said, group_id)
            if found.ready >= found.wanted:
                return
            time.sleep(0.1)
            said = self.order(holder, "status")

    def _scale_as_before(self, holder: Container, group: Group) -> None:
        """Let the keeper decide as it did before a policy that was tried."""
        kept = max((one for one in group.replicas if one.is_kept), key=lambda one: one.number)
        if kept.spec is not None:
            self._scale(holder, group.id, kept.spec.settings)

    def _switch(self, fleet: Fleet, group: Group) -> None:
        """Give the port to a group, all of it that is awake; raises DeployError."""
        holder = fleet.keeper_of(group)
        if holder is None:
            raise DeployError(f"nothing keeps the port of '{fleet.name}'", hint="deploy it again")
        count = len(group.replicas)
        spec = group.newest.spec
        if group.is_scaling and spec is not None:
            said = self.order(holder, "status")
            if said["allowed"] == [group.id]:
                return  # it may sleep, and nobody has to be woken
            self._wake(holder, group.id, spec.settings)
            count = 0
        said = self.order(holder, "switch", group.id, count, SWITCH_S)
        if not said["done"]:
            count = count or read_awake(said, group.id).wanted
            raise DeployError(
                f"{said['accepting'].get(group.id, 0)} of {count} replicas of '{fleet.name}' take "
                "requests at its port",
                hint="the former ones go on; see 'modelpack deployments logs', then deploy again",
            )

    def _end(self, containers: Iterable[Container], journal: Journal) -> None:
        """Stop containers, all at once, and remove them; each has its own time to end in."""
        found = list(containers)

        def end(one: Container) -> None:
            if one.phase in _ALREADY_UP:
                self.engine.stop(one.name, grace_s=STOP_S)

        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(end, found))
        for one in found:
            journal.step(f"remove/container/{one.name}", partial(self.engine.remove, one.name))


def _is_outdated(holder: Container, spec: DeploymentSpec) -> bool:
    """Return whether a keeper cannot do what is asked for: it is made anew."""
    is_deaf = spec.settings.is_scaling and holder.words < KEEPER_WORDS
    return is_deaf or holder.facts.get("grpc_port") != spec.settings.grpc_port
