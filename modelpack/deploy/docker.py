"""The target ``docker``: one container of a local or remote engine per deployment.

    modelpack-NAME            the revision that was found healthy last
    modelpack-NAME-Candidate  the one that runs in its place and has not been found healthy yet

    apply ─► make the candidate ─► stop the settled one ─► start the candidate ─► rollout probes
          ─► settle: remove the settled one, rename the candidate
             revert: remove the candidate, start the settled one

The labels of the containers hold the state, so that a deploy that was killed at any point is seen
and finished by the next one.  Names of deployments have no capitals: ``-Candidate`` is no name's
end.  A container that is none of ours is never touched.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Self

from modelpack.deploy.capabilities import Capabilities
from modelpack.deploy.container import (
    BUNDLE_DIGEST_LABEL,
    DEPLOYMENT_LABEL,
    STOP_S,
    Container,
    create_settings,
    host_settings,
    reachable_from,
    read_container,
    wanted_facts,
)
from modelpack.deploy.engine import Description, DockerEngine, Engine
from modelpack.deploy.journal import Journal
from modelpack.deploy.plan import IMAGE, Change, Plan, change_to
from modelpack.deploy.plugin import Target, refuse_unknown
from modelpack.deploy.probe import is_ready
from modelpack.deploy.records import is_name
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import Live, Revision, State, Status
from modelpack.errors import ConflictError, DeployError, DeploymentNotFoundError
from modelpack.progress import Progress
from modelpack.tag import check_name

CANDIDATE = "-Candidate"

_CAPABILITIES = Capabilities(heeds=frozenset({"env", "host", "port", "cpu", "memory_bytes"}))


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
        """Return what one container can be held to."""
        return _CAPABILITIES

    def read_live(self, spec: DeploymentSpec) -> Live:
        """Return what the engine holds under the name of the spec."""
        image = _bundle_of(self.engine.image(_image(spec)))
        surroundings = {"engine_host": self.engine.host(), **image}
        candidate, settled = self._pair(spec.name)
        container = candidate or settled
        if container is None:
            return Live(name=spec.name, surroundings=surroundings)
        return Live(
            name=spec.name,
            state=_state(container),
            facts=container.facts,
            applied=_applied(container),
            surroundings=surroundings,
            revision=container.spec.revision if container.spec is not None else None,
            is_settled=candidate is None,
        )

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        """Return what would change; raises UsageError for an address that cannot be."""
        around = live.surroundings
        wanted = _CAPABILITIES.heeded(wanted_facts(spec))
        holds = around.get("image_bundle")
        is_usable = around.get("image_id") is not None and holds in (None, spec.digest)
        running_id = live.facts.get("image_id")
        if image_id := around["image_id"] if is_usable else running_id:
            wanted["image_id"] = image_id
        changes = [change_to(f"container/{_settled(spec.name)}", live, wanted)]
        warnings = []
        if changes[0].action in ("create", "replace") and not is_usable:
            changes.insert(0, _image_change(spec, live))
        if is_usable and holds is None:
            warnings.append(f"the image '{spec.image}' does not say which bundle it holds")
        remote = around.get("engine_host")
        if not reachable_from(str(remote) if remote else None, spec.settings.host):
            warnings.append(
                f"host: '{spec.settings.host}' of the engine's machine '{remote}' is not to be "
                "reached from here, so that only the engine's own check is made"
            )
        return Plan(target=self.name, spec=spec, changes=tuple(changes), warnings=tuple(warnings))

    def apply(self, plan: Plan, journal: Journal, progress: Progress) -> Revision:
        """Run the container of the plan in place of the one that runs.

        Raises ConflictError for a container that is none of ours, PortInUseError and EngineError.
        """
        spec = plan.spec
        candidate, settled = self._pair(spec.name)
        if all(change.action in ("none", "update") for change in plan.changes):
            key = f"start/container/{_settled(spec.name)}"
            journal.step(key, lambda: self._start_again(spec.name, candidate, settled))
        else:
            if self.engine.image(_image(spec)) is None:
                raise DeployError(f"the image '{spec.image}' is not in the engine")
            self._replace(spec, settled, journal, progress)
        return Revision(
            deployment=spec.name, id=spec.revision, bundle=spec.bundle, target=self.name
        )

    def settle(self, name: str) -> None:
        """Remove the container before this one."""
        candidate, settled = self._pair(name)
        if candidate is not None:
            if settled is not None:
                self.engine.remove(_settled(name))
            self.engine.rename(_candidate(name), _settled(name))

    def revert(self, name: str) -> None:
        """Remove the candidate; start the settled container again, if there is one."""
        candidate, settled = self._pair(name)
        if candidate is not None:
            self.engine.remove(_candidate(name))
        if settled is not None and settled.phase not in ("running", "restarting"):
            self.engine.start(_settled(name))

    def status(self, name: str) -> Status:
        """Return how the deployment is; raises TagError."""
        candidate, settled = self._pair(check_name(name))
        container = candidate or settled
        if container is None:
            return Status(name=name, target=self.name, state=State.ABSENT)
        return Status(
            name=name,
            target=self.name,
            state=_state(container),
            bundle=container.spec.bundle if container.spec is not None else None,
            revision=container.spec.revision if container.spec is not None else None,
            url=container.url,
            since=container.since,
            restarts=container.restarts,
            detail=container.detail,
        )

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield what the service wrote; raises DeploymentNotFoundError."""
        container = self._require(name)
        return _lines(self.engine.logs(container, follow=follow, tail=tail))

    def current(self, name: str) -> DeploymentSpec | None:
        """Return what the label of the container says; raises TagError."""
        candidate, settled = self._pair(check_name(name))
        container = settled or candidate
        return None if container is None else container.spec

    def inventory(self, name: str) -> tuple[str, ...]:
        """Return the containers of the deployment."""
        candidate, settled = self._pair(check_name(name))
        pairs = ((_settled(name), settled), (_candidate(name), candidate))
        return tuple(f"container/{full_name}" for full_name, found in pairs if found is not None)

    def destroy(self, name: str) -> None:
        """Stop and remove the containers of the deployment; raises DeploymentNotFoundError."""
        self._require(name)
        candidate, settled = self._pair(name)
        # The candidate first: a settled one without it is what a later look takes for the truth.
        for full_name, container in ((_candidate(name), candidate), (_settled(name), settled)):
            if container is not None:
                self.engine.stop(full_name, grace_s=STOP_S)
                self.engine.remove(full_name)

    def list(self) -> list[Status]:
        """Return every deployment of the engine, by name."""
        names = set()
        for full_name in self.engine.names(DEPLOYMENT_LABEL):
            container = self._read(full_name)
            if container is not None and container.deployment and is_name(container.deployment):
                names.add(container.deployment)
        statuses = [self.status(name) for name in sorted(names)]
        return [status for status in statuses if status.state is not State.ABSENT]

    def _pair(self, name: str) -> tuple[Container | None, Container | None]:
        """Return candidate and settled container; raises ConflictError when one is not ours."""
        found = []
        for full_name in (_candidate(name), _settled(name)):
            container = self._read(full_name)
            if container is not None and container.deployment != name:
                raise ConflictError(
                    f"the container '{full_name}' was not made by modelpack",
                    hint="rename or remove it, or give the deployment another '--name'",
                )
            found.append(container)
        return found[0], found[1]

    def _read(self, full_name: str) -> Container | None:
        said = self.engine.container(full_name)
        return None if said is None else read_container(said, self.engine.host())

    def _require(self, name: str) -> str:
        """Return the name of the container that runs the deployment."""
        candidate, settled = self._pair(check_name(name))
        if candidate is None and settled is None:
            raise DeploymentNotFoundError(
                f"no deployment '{name}' at target 'docker'",
                hint="run 'modelpack deployments list' to see them",
            )
        return _candidate(name) if candidate is not None else _settled(name)

    def _start_again(
        self, name: str, candidate: Container | None, settled: Container | None
    ) -> None:
        full_name, container = (
            (_candidate(name), candidate) if candidate is not None else (_settled(name), settled)
        )
        if container is not None and _state(container) not in (State.RUNNING, State.STARTING):
            self.engine.stop(full_name, grace_s=STOP_S)
            self.engine.start(full_name)

    def _replace(
        self,
        spec: DeploymentSpec,
        settled: Container | None,
        journal: Journal,
        progress: Progress,
    ) -> None:
        name, former = _candidate(spec.name), _settled(spec.name)

        def create() -> None:
            self.engine.remove(name)  # one that was never found healthy
            self.engine.create(name, create_settings(spec), host_settings(spec))

        journal.step(f"create/container/{name}", create)
        if settled is not None:
            with progress.step("stop the former container"):
                journal.step(
                    f"stop/container/{former}", lambda: self.engine.stop(former, grace_s=STOP_S)
                )
        journal.step(f"start/container/{name}", lambda: self.engine.start(name))


def _applied(container: Container) -> dict[str, Fact]:
    """Return what was applied last, under the keys of the container's facts."""
    if container.spec is None:
        return {}
    wanted = _CAPABILITIES.heeded(wanted_facts(container.spec))
    return wanted | {"image_id": container.facts["image_id"]}


def _settled(name: str) -> str:
    return f"modelpack-{name}"


def _candidate(name: str) -> str:
    return _settled(name) + CANDIDATE


def _image(spec: DeploymentSpec) -> str:
    if spec.image is None:
        raise DeployError(
            f"the deployment '{spec.name}' names no image", hint="containerize the bundle first"
        )
    return spec.image


def _bundle_of(image: Description | None) -> dict[str, str | None]:
    """Return the id of an image and the digest of the bundle that it says it holds."""
    if image is None:
        return {"image_id": None, "image_bundle": None}
    labels = (image.get("Config") or {}).get("Labels") or {}
    return {"image_id": image["Id"], "image_bundle": labels.get(BUNDLE_DIGEST_LABEL)}


def _image_change(spec: DeploymentSpec, live: Live) -> Change:
    resource = f"{IMAGE}/{spec.image}"
    after = {"bundle": spec.digest}
    if live.surroundings.get("image_id") is None:
        return Change(action="create", resource=resource, after=after)
    before = {"bundle": live.surroundings.get("image_bundle")}
    return Change(action="replace", resource=resource, before=before, after=after)


def _state(container: Container) -> State:
    ready = container.needs_probe and is_ready(container.url)
    return container.state(is_ready=ready, now=datetime.now(UTC))


def _lines(pieces: Iterator[bytes]) -> Iterator[str]:
    """Put the pieces of an engine together to lines."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    for piece in pieces:
        *lines, rest = (rest + decoder.decode(piece)).split("\n")
        yield from (line.removesuffix("\r") for line in lines)
    if rest := rest + decoder.decode(b"", final=True):
        yield rest
