"""The target ``docker``: replicas on a local or remote engine, behind a port that stays open.

    modelpack-NAME-Pxxxxxxxx      the keeper: holds the port, and hands its socket to the replicas
    modelpack-NAME-Rxxxxxxxxxxxx-1, -2, …    a group of replicas: one revision of one image
    modelpack-NAME-Port           the volume, in memory, where they meet

    apply ─► replicas on trial, beside those that serve ─► rollout probes them at their own ports
          ─► settle: the keeper's port goes to them, then the former ones end
             revert: they are removed; the former ones never stopped

The labels and restart policies of the containers hold the state, so that a deploy that was killed
at any point is seen and finished by the next one.  A container that is none of ours is never
touched.  The steps are in ``rolling``, what containers amount to in ``fleet``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from modelpack.deploy.awake import Awake, state_in, url_of
from modelpack.deploy.capabilities import Capabilities
from modelpack.deploy.compose import compose_files
from modelpack.deploy.container import read_container
from modelpack.deploy.docker_plan import changes_of, wanted_of
from modelpack.deploy.engine import Description, DockerEngine, Engine
from modelpack.deploy.engine_logs import merged_lines
from modelpack.deploy.engine_words import (
    BUNDLE_DIGEST_LABEL,
    CAPABILITIES,
    CONTAINER_PORT,
    DEPLOYMENT_LABEL,
    HERE,
    KEEPER,
    volume_name,
)
from modelpack.deploy.fleet import Fleet, Group
from modelpack.deploy.inside import asking_inside
from modelpack.deploy.journal import Journal
from modelpack.deploy.plan import Plan
from modelpack.deploy.plugin import Target, refuse_unknown
from modelpack.deploy.probe import Probe, is_ready, service_url
from modelpack.deploy.records import is_name
from modelpack.deploy.references import resolve
from modelpack.deploy.rendered import Rendered
from modelpack.deploy.rolling import Rolling
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import Live, Revision, State, Status
from modelpack.errors import DeployError, DeploymentNotFoundError, EngineError
from modelpack.image.ports import LABEL as PORT_LABEL
from modelpack.progress import Progress
from modelpack.tag import check_name

_JOIN_S = 5.0


@dataclass(frozen=True, slots=True)
class DockerTarget(Target):
    """Runs images as containers of a Docker engine."""

    name: ClassVar[str] = "docker"
    needs_image: ClassVar[bool] = True

    engine: Engine = field(default_factory=DockerEngine)

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Make the target; raises UsageError, since it has no options."""
        refuse_unknown(cls.name, options, ())
        return cls()

    def capabilities(self, spec: DeploymentSpec) -> Capabilities:  # noqa: ARG002
        """Return what one engine can be held to."""
        return CAPABILITIES

    def read_live(self, spec: DeploymentSpec) -> Live:
        """Return what the engine holds under the name of the spec; raises ConflictError."""
        image = _bundle_of(self.engine.image(_image(spec)))
        surroundings: dict[str, Fact] = {"engine_host": self.engine.host(), **image}
        fleet = self._fleet(spec.name)
        fleet.require_ours()
        group = fleet.standing
        if group is None:
            return Live(name=spec.name, surroundings=surroundings)
        keeper = fleet.keeper_of(group)
        surroundings["is_scaling"] = "yes" if group.is_scaling else None
        surroundings["keeper_words"] = keeper.words if keeper is not None else None
        return Live(
            name=spec.name,
            state=self._state(fleet)[0],
            facts=fleet.facts(),
            applied=fleet.applied(),
            surroundings=surroundings,
            revision=group.spec.revision if group.spec is not None else None,
            is_settled=fleet.is_settled,
        )

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        """Return what would change; raises UsageError for an address that cannot be."""
        changes, warnings = changes_of(spec, live)
        return Plan(target=self.name, spec=spec, changes=changes, warnings=warnings)

    def render(self, spec: DeploymentSpec) -> Rendered:
        """Return the same deployment as a compose file, and the program of its keeper."""
        return Rendered(files=compose_files(spec))

    def apply(self, plan: Plan, journal: Journal, progress: Progress) -> Revision:
        """Run the replicas of the plan beside those that serve.

        Raises ConflictError for a container that is none of ours, PortInUseError, EngineError, and
        UsageError for a secret that is not there.
        """
        spec = plan.spec
        live = self.read_live(spec)
        wanted = wanted_of(spec, live)
        if "image_id" not in wanted:
            raise DeployError(f"the image '{spec.image}' is not in the engine")
        self._rolling.start(spec, wanted, resolve(spec.settings.secrets), journal, progress)
        return Revision(
            deployment=spec.name, id=spec.revision, bundle=spec.bundle, target=self.name
        )

    def verify(self, spec: DeploymentSpec, status: Status) -> tuple[str, ...] | None:
        """See that all replicas ask for the port, and that one answers, where that is not seen here.

        Raises DeployError.  None: the common probe can reach it and does the rest.
        """
        self._wait_until_joined(spec)
        group = self._fleet(spec.name).standing
        if status.url is not None or group is None:
            return None
        url = service_url(HERE, CONTAINER_PORT)
        asks = [asking_inside(self.engine, one.name, one.program) for one in group.replicas]
        ask = next((one for one in asks if is_ready(url, ask=one)), None)
        if ask is None:
            return None  # all of them sleep
        probe = Probe(lambda: self.status(spec.name), ask=ask)
        return tuple(probe.check_answers(spec, url))

    def settle(self, name: str) -> None:
        """Give the port to the replicas that stand, and end the former ones."""
        self._rolling.settle(name)

    def revert(self, name: str) -> None:
        """Remove the replicas on trial; the former ones have the port."""
        if not self._fleet(name).is_absent:
            self._rolling.revert(name)

    def status(self, name: str) -> Status:
        """Return how the deployment is; raises TagError, EngineError."""
        try:
            return self._status(check_name(name))
        except EngineError:
            return self._status(name)  # what keeps the port ended between the look and the word

    def _status(self, name: str) -> Status:
        fleet = self._fleet(name)
        if fleet.is_absent:
            return Status(name=name, target=self.name, state=State.ABSENT)
        group = fleet.standing
        if group is None:
            why = "another modelpack made it" if fleet.others else "its first apply was cut short"
            return Status(name=name, target=self.name, state=State.STOPPED, detail=why)
        spec, awake = group.spec, self._awake(fleet, group)
        state, detail = state_in(fleet, group, awake)
        return Status(
            name=name,
            target=self.name,
            state=state,
            bundle=spec.bundle if spec is not None else None,
            revision=spec.revision if spec is not None else None,
            url=url_of(fleet, group, state, awake),
            since=min((one.since for one in group.replicas if one.since), default=None),
            restarts=sum(one.restarts for one in group.replicas),
            detail=detail,
            meanwhile=self._meanwhile(fleet),
            replicas=awake.replicas if awake is not None else None,
        )

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield what the replicas wrote, by time; of several, each line begins with its number.

        Where the load decides how many are awake, what the keeper says of that is among them, behind
        ``port``.  Raises DeploymentNotFoundError.
        """
        fleet = self._require(name)
        group = fleet.standing
        if group is None:
            return iter(())
        sources = {str(one.number): one.name for one in group.replicas}
        keeper = fleet.keeper_of(group)
        if group.is_scaling and keeper is not None:
            sources[KEEPER] = keeper.name
        return merged_lines(self.engine, sources, follow=follow, tail=tail)

    def current(self, name: str) -> DeploymentSpec | None:
        """Return the spec of what was found healthy last, as the engine knows it."""
        settled = self._fleet(check_name(name)).settled
        return settled.spec if settled is not None else None

    def inventory(self, name: str) -> tuple[str, ...]:
        """Return the containers and the volume of the deployment."""
        containers = [f"container/{one.name}" for one in self._fleet(check_name(name)).beside()]
        return (*containers, f"volume/{volume_name(name)}") if containers else ()

    def destroy(self, name: str) -> None:
        """Stop and remove the containers of the deployment; raises DeploymentNotFoundError."""
        self._require(name)
        self._rolling.remove(name)

    def list(self) -> list[Status]:
        """Return every deployment of the engine, by name."""
        found = (self.engine.container(one) for one in self.engine.names(DEPLOYMENT_LABEL))
        said = (read_container(one, None).deployment for one in found if one is not None)
        names = {name for name in said if name and is_name(name)}
        statuses = [self.status(name) for name in sorted(names)]
        return [status for status in statuses if status.state is not State.ABSENT]

    def _wait_until_joined(self, spec: DeploymentSpec) -> None:
        """Return when all replicas have asked for the port; raises DeployError.

        One that was started again gets ready behind a port at which others answer already.
        """
        began = ready_at = time.monotonic()
        while not self._rolling.joined(spec.name):
            now = time.monotonic()
            state, detail = self._state(self._fleet(spec.name))
            if state is not State.RUNNING:
                ready_at = now
            if state not in (State.RUNNING, State.STARTING):
                raise DeployError(
                    f"'{spec.name}' is '{state}' now: {detail or 'no reason is known'}"
                )
            if now - began > spec.settings.ready_timeout_s or now - ready_at > _JOIN_S:
                raise DeployError(
                    f"the replicas of '{spec.name}' do not {self._missing(spec.name)}",
                    hint="their image may be of an older modelpack; 'containerize' it again",
                )
            time.sleep(0.2)

    def _missing(self, name: str) -> str:
        """Return what replicas that are ready do not do."""
        fleet = self._fleet(name)
        group = fleet.standing
        awake = self._awake(fleet, group) if group is not None else None
        if group is None or awake is None:
            return "ask for their port"
        return f"sleep: {awake.places} of {len(group.replicas)} can be woken"

    @property
    def _rolling(self) -> Rolling:
        return Rolling(self.engine, self._fleet)

    def _fleet(self, name: str) -> Fleet:
        host = self.engine.host()
        names = self.engine.names(f"{DEPLOYMENT_LABEL}={name}")
        found = (self.engine.container(one) for one in names)
        return Fleet.of(name, [read_container(said, host) for said in found if said is not None])

    def _require(self, name: str) -> Fleet:
        fleet = self._fleet(check_name(name))
        if fleet.is_absent:
            raise DeploymentNotFoundError(
                f"no deployment '{name}' at target 'docker'",
                hint="run 'modelpack deployments list' to see them",
            )
        return fleet

    def _state(self, fleet: Fleet) -> tuple[State, str | None]:
        group = fleet.standing
        if group is None:
            return State.ABSENT, None
        return state_in(fleet, group, self._awake(fleet, group))

    def _awake(self, fleet: Fleet, group: Group) -> Awake | None:
        """Return how many are awake, where the load decides it."""
        return self._rolling.awake(fleet, group) if group.is_scaling else None

    def _meanwhile(self, fleet: Fleet) -> str | None:
        """Return how the settled group is, while another one is on trial beside it."""
        group = fleet.settled
        if group is None or group is fleet.standing or group.spec is None:
            return None
        keeper = fleet.keeper_of(group)
        at = f" at {keeper.url}" if keeper and keeper.url else ""
        state = state_in(fleet, group, self._awake(fleet, group))[0]
        return f"revision '{group.spec.revision}' ({group.spec.bundle}) is {state}{at}"


def _image(spec: DeploymentSpec) -> str:
    if spec.image is None:
        raise DeployError(
            f"the deployment '{spec.name}' names no image", hint="containerize the bundle first"
        )
    return spec.image


def _bundle_of(image: Description | None) -> dict[str, str | None]:
    """Return the id of an image and the digest of the bundle that it says it holds."""
    if image is None:
        return {"image_id": None, "image_bundle": None, "image_grpc": None}
    labels = (image.get("Config") or {}).get("Labels") or {}
    return {
        "image_id": image["Id"],
        "image_bundle": labels.get(BUNDLE_DIGEST_LABEL),
        "image_grpc": labels.get(f"{PORT_LABEL}grpc"),
    }
