"""The target ``local``: supervised processes on this machine, detached from the terminal.

    apply ─► prepare: unpack the bundle, make its clean environment
          ─► the supervisor starts the candidate beside the settled one ─► rollout probes it
          ─► settle: the candidate gets the port, then the settled one ends
             revert: the candidate ends; the settled one never stopped

The supervisor keeps the port, and starts and ends replicas by the load where that is asked for.
``deployments/NAME.json`` remembers both revisions; that something runs is believed only of a
process id with its start time.  Nothing is started again when the machine is.  The steps are in
``locally``, how a deployment is in ``local_state``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self

from modelpack.config.deploying import GROUPS
from modelpack.deploy import command as files
from modelpack.deploy import locally, records
from modelpack.deploy.capabilities import Capabilities
from modelpack.deploy.journal import Journal
from modelpack.deploy.launch import Prepare, prepare_bundle
from modelpack.deploy.local_state import status_of
from modelpack.deploy.logfile import read_lines
from modelpack.deploy.memory import Kept, Memory, recall
from modelpack.deploy.plan import Plan, change_to
from modelpack.deploy.plugin import Target, refuse_unknown
from modelpack.deploy.references import SCHEMES, resolve
from modelpack.deploy.rendered import Rendered
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import Live, Revision, State, Status
from modelpack.errors import DeployError, DeploymentNotFoundError, UsageError
from modelpack.progress import Progress
from modelpack.tag import check_name

_SCALING = frozenset(GROUPS["scaling"])

_CAPABILITIES = Capabilities(
    heeds=frozenset({"env", "secrets", "host", "port", "grpc_port"}) | _SCALING,
    secret_schemes=SCHEMES,
    reasons={
        "cpu": "a local deployment is not limited",
        "memory_bytes": "a local deployment is not limited",
    },
)

_JOIN_S = 5.0
"""How long replicas that are ready may take to ask for the port."""


@dataclass(frozen=True, slots=True)
class LocalTarget(Target):
    """Runs bundles as processes of this machine."""

    name: ClassVar[str] = "local"
    needs_image: ClassVar[bool] = False

    prepare: Prepare = prepare_bundle

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Make the target; raises UsageError, since it has no options."""
        refuse_unknown(cls.name, options, ())
        return cls()

    def capabilities(self, spec: DeploymentSpec) -> Capabilities:  # noqa: ARG002
        """Return what plain processes can be held to."""
        return _CAPABILITIES

    def read_live(self, spec: DeploymentSpec) -> Live:
        """Return what runs under the name of the spec."""
        memory = _recall(spec.name)
        if memory.standing is None:
            return Live(name=spec.name)
        return Live(
            name=spec.name,
            state=status_of(spec.name, memory).state,
            facts=_facts(memory.standing.spec),
            revision=memory.standing.spec.revision,
            is_settled=memory.candidate is None,
        )

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        """Return what would change; another number of replicas is an update in place."""
        change = change_to(f"process/{spec.name}", live, _facts(spec))
        if change.action == "replace" and not set(change.after) - _SCALING - {"state", "checked"}:
            change = replace(change, action="update")
        return Plan(target=self.name, spec=spec, changes=(change,))

    def render(self, spec: DeploymentSpec) -> Rendered:
        """Return the same service as a unit of systemd, which starts it with the machine."""
        from modelpack.deploy.unit import unit_files

        return Rendered(files=unit_files(spec))

    def apply(self, plan: Plan, journal: Journal, progress: Progress) -> Revision:
        """Start the revision of the plan beside the one that runs.

        Raises PortInUseError, UsageError for replicas that cannot be several, and what making it
        ready raises, and then nothing was changed; DeployError when the supervisor does not start.
        """
        spec = plan.spec
        memory = _recall(spec.name)
        folder = records.make_private(files.folder_of(spec.name))
        try:
            resolve(spec.settings.secrets)  # one that is missing is told before anything is made
            with locally.holding_port(spec, memory) as port:
                command = self.prepare(spec, port, folder, progress)
                _refuse_several(spec, command)
                kept = Kept(spec=spec, command=command, port=port, group=memory.next_group)
                wanted = _next(spec.name, memory, kept, progress)
                start = partial(_start, spec.name, memory, wanted)
                journal.step(f"start/process/{spec.name}", start)
        except BaseException:
            if memory.standing is None and _recall(spec.name).standing is None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        return Revision(
            deployment=spec.name, id=spec.revision, bundle=spec.bundle, target=self.name
        )

    def verify(self, spec: DeploymentSpec, status: Status) -> None:  # noqa: ARG002
        """See that as many replicas as there must be ask for the port; raises DeployError.

        The common probe does the rest.
        """
        until = time.monotonic() + _JOIN_S
        while not _has_joined(spec):
            if time.monotonic() > until:
                raise DeployError(
                    f"'{spec.name}' does not ask for its port",
                    hint="its bundle may hold an older modelpack; build it again",
                )
            time.sleep(0.05)

    def settle(self, name: str) -> None:
        """Give the port to the revision on trial and end the one before, and all that is of it.

        Raises DeployError when it does not take it; the former one goes on then.
        """
        memory = _recall(name)
        if memory.standing is not None:
            locally.settle(name, memory)

    def revert(self, name: str) -> None:
        """End the candidate; the settled revision, if there is one, has its port."""
        memory = _recall(name)
        if memory.candidate is not None:
            locally.revert(name, memory)

    def status(self, name: str) -> Status:
        """Return how the deployment is; raises TagError."""
        return status_of(name, _recall(check_name(name)))

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield what the service wrote; of several replicas, each line begins with its number.

        Raises DeploymentNotFoundError.
        """
        memory = _require(name)

        def has_ended() -> bool:
            return not _recall(name).is_running

        folder = files.folder_of(name)
        file = folder / (files.TRIAL_LOG_FILE if memory.is_trial else files.LOG_FILE)
        return read_lines(file, tail=tail, until=has_ended if follow else None)

    def current(self, name: str) -> DeploymentSpec | None:
        """Return the spec of the revision that was found healthy last; raises TagError."""
        memory = _recall(check_name(name))
        kept = memory.settled or memory.candidate
        return None if kept is None else kept.spec

    def inventory(self, name: str) -> tuple[str, ...]:
        """Return the processes and the folder of their files."""
        return (f"process/{name}", f"files/run/deployments/{name}")

    def destroy(self, name: str) -> None:
        """Stop the service and remove its files; raises DeploymentNotFoundError."""
        _require(name).stop()
        locally.remove(name)

    def list(self) -> list[Status]:
        """Return every local deployment, by name."""
        names = [record.name for record in records.all_records() if record.target == self.name]
        statuses = [self.status(name) for name in names]
        return [status for status in statuses if status.state is not State.ABSENT]


def _facts(spec: DeploymentSpec) -> dict[str, Fact]:
    """Return the facts that decide what a local deployment runs."""
    facts = _CAPABILITIES.heeded(spec.facts())
    facts.pop("image", None)
    return facts


def _next(name: str, memory: Memory, kept: Kept, progress: Progress) -> Memory:
    """Return what is to be remembered once ``kept`` is tried; changes nothing."""
    settled, candidate = memory.settled, memory.candidate
    facts = _facts(kept.spec)
    if settled is not None and _facts(settled.spec) == facts:
        if not memory.is_running:
            return replace(memory, settled=replace(kept, group=settled.group), candidate=None)
        if locally.is_sound(name, memory, settled):
            return replace(memory, settled=replace(settled, spec=kept.spec), candidate=None)
    if candidate is not None and _facts(candidate.spec) == facts:
        if not memory.is_running:
            return replace(memory, candidate=replace(kept, group=candidate.group))
        if locally.is_sound(name, memory, candidate):
            return replace(memory, candidate=replace(candidate, spec=kept.spec))
    if settled is not None and memory.is_running and _differ_in_numbers(settled.spec, kept.spec):
        return replace(memory, candidate=replace(settled, spec=kept.spec))
    if settled is not None and not memory.is_running and settled.spec.settings.port == 0:
        memory = replace(memory, settled=replace(settled, port=kept.port))  # its own may be taken
    why = locally.why_in_turns(name, memory, kept)
    if why is not None:
        progress.note(f"{why}: the former revision ends first, and requests wait meanwhile")
    return replace(memory, candidate=kept, is_in_turns=why is not None)


def _start(name: str, memory: Memory, wanted: Memory) -> None:
    locally.bring_about(name, memory, wanted)


def _differ_in_numbers(one: DeploymentSpec, other: DeploymentSpec) -> bool:
    """Return whether two specs differ in how many replicas there are, and in nothing else."""
    first, second = _facts(one), _facts(other)
    keys = {*first, *second}
    return all(first.get(key) == second.get(key) for key in keys - _SCALING)


def _refuse_several(spec: DeploymentSpec, command: files.Command) -> None:
    if command.alone and spec.settings.most_replicas > 1:
        raise UsageError(
            f"deploy.scaling: on one machine two replicas cannot both have {command.alone}",
            hint="let those ports be 0 or leave them out, or have one replica",
        )


def _has_joined(spec: DeploymentSpec) -> bool:
    memory = _recall(spec.name)
    if memory.standing is None:
        return True
    group = memory.group(spec.name, memory.standing)
    if group is None:
        return False
    least = max(spec.settings.min_replicas, 1) if group.wanted else 0
    return group.joined >= least


def _recall(name: str) -> Memory:
    return recall(name, LocalTarget.name)


def _require(name: str) -> Memory:
    memory = _recall(name)
    if memory.standing is None:
        raise DeploymentNotFoundError(
            f"no deployment '{name}' at target 'local'",
            hint="run 'modelpack deployments list' to see them",
        )
    return memory
