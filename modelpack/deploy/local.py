"""The target ``local``: a supervised process on this machine, detached from the terminal.

    apply ─► prepare: unpack the bundle, make its clean environment     (the settled one runs on)
          ─► stop the supervisor ─► start one for the candidate ─► rollout probes
          ─► settle: the candidate is the settled one       revert: the settled one runs again

``deployments/NAME.json`` remembers both; that something runs is believed only of a process id with
its start time.  The port is fixed, so two revisions never run side by side: an update means a
short while without answers.  Nothing is started again when the machine is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Self

from modelpack.deploy import command as files
from modelpack.deploy import records, revisions
from modelpack.deploy.capabilities import Capabilities
from modelpack.deploy.command import ChildState
from modelpack.deploy.journal import Journal
from modelpack.deploy.launch import (
    Prepare,
    check_port_is_free,
    free_port,
    launch,
    prepare_bundle,
)
from modelpack.deploy.logfile import read_lines
from modelpack.deploy.memory import Kept, Memory, keep, recall
from modelpack.deploy.plan import Plan, change_to
from modelpack.deploy.plugin import Target, refuse_unknown
from modelpack.deploy.probe import is_ready, service_url
from modelpack.deploy.references import SCHEMES, resolve
from modelpack.deploy.rendered import Rendered
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import CRASHES_TO_FAIL, Live, Revision, State, Status
from modelpack.errors import DeploymentNotFoundError
from modelpack.progress import SILENT, Progress
from modelpack.tag import check_name

_CAPABILITIES = Capabilities(
    heeds=frozenset({"env", "secrets", "host", "port"}),
    secret_schemes=SCHEMES,
    reasons={
        "cpu": "a local deployment is not limited",
        "memory_bytes": "a local deployment is not limited",
        "min_replicas": "a local deployment is one process; MODELPACK_WORKERS gives it more",
        "max_replicas": "a local deployment is one process; MODELPACK_WORKERS gives it more",
    },
)


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
        """Return what a plain process can be held to."""
        return _CAPABILITIES

    def read_live(self, spec: DeploymentSpec) -> Live:
        """Return what runs under the name of the spec."""
        memory = _recall(spec.name)
        if memory.running is None:
            return Live(name=spec.name)
        return Live(
            name=spec.name,
            state=_status(spec.name, memory).state,
            facts=_facts(memory.running.spec),
            revision=memory.running.spec.revision,
            is_settled=memory.candidate is None,
        )

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        """Return what would change."""
        change = change_to(f"process/{spec.name}", live, _facts(spec))
        return Plan(target=self.name, spec=spec, changes=(change,))

    def render(self, spec: DeploymentSpec) -> Rendered:
        """Return the same service as a unit of systemd, which starts it with the machine."""
        from modelpack.deploy.unit import unit_files

        return Rendered(files=unit_files(spec))

    def apply(self, plan: Plan, journal: Journal, progress: Progress) -> Revision:
        """Start the revision of the plan in place of the one that runs.

        Raises PortInUseError and what making it ready raises, and then nothing was changed;
        DeployError when the supervisor does not start.
        """
        spec = plan.spec
        memory = _recall(spec.name)
        folder = records.make_private(files.folder_of(spec.name))
        try:
            kept = self._make_ready(spec, memory, folder, progress)
        except BaseException:
            if memory.running is None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        if memory.settled is not None and _facts(memory.settled.spec) == _facts(spec):
            wanted = Memory(settled=kept)  # only started again
        else:
            wanted = Memory(settled=memory.settled, candidate=kept)
        journal.step(
            f"replace/process/{spec.name}",
            lambda: _switch(spec.name, memory, wanted, progress),
        )
        return Revision(
            deployment=spec.name, id=spec.revision, bundle=spec.bundle, target=self.name
        )

    def settle(self, name: str) -> None:
        """Let go of the revision before this one, and of all that is not the one that runs."""
        memory = _recall(name)
        if memory.candidate is not None:
            _keep(name, replace(memory, settled=memory.candidate, candidate=None))
        if memory.running is not None:
            _sweep(name, memory.running)

    def revert(self, name: str) -> None:
        """Stop the candidate; run the settled revision again, if there is one."""
        memory = _recall(name)
        if memory.candidate is None:
            return
        _switch(name, memory, Memory(settled=memory.settled))
        if memory.settled is None:
            _remove(name)
        else:
            _sweep(name, memory.settled)

    def status(self, name: str) -> Status:
        """Return how the deployment is; raises TagError."""
        return _status(name, _recall(check_name(name)))

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield what the service wrote; raises DeploymentNotFoundError."""
        _require(name)

        def has_ended() -> bool:
            return not _recall(name).is_running

        file = files.folder_of(name) / files.LOG_FILE
        return read_lines(file, tail=tail, until=has_ended if follow else None)

    def current(self, name: str) -> DeploymentSpec | None:
        """Return the spec of the revision that was found healthy last; raises TagError."""
        memory = _recall(check_name(name))
        kept = memory.settled or memory.candidate
        return None if kept is None else kept.spec

    def inventory(self, name: str) -> tuple[str, ...]:
        """Return the process and the folder of its files."""
        return (f"process/{name}", f"files/run/deployments/{name}")

    def destroy(self, name: str) -> None:
        """Stop the service and remove its files; raises DeploymentNotFoundError."""
        _require(name).stop()
        _remove(name)

    def list(self) -> list[Status]:
        """Return every local deployment, by name."""
        names = [record.name for record in records.all_records() if record.target == self.name]
        statuses = [self.status(name) for name in names]
        return [status for status in statuses if status.state is not State.ABSENT]

    def _make_ready(
        self, spec: DeploymentSpec, memory: Memory, folder: Path, progress: Progress
    ) -> Kept:
        resolve(spec.settings.secrets)  # one that is missing is told before anything is made
        host, port = spec.settings.host, spec.settings.port
        mine = memory.running.port if memory.running is not None and memory.is_running else None
        if port == 0:
            port = mine or free_port(host)
        elif port != mine:
            check_port_is_free(host, port)
        return Kept(spec=spec, command=self.prepare(spec, port, folder, progress), port=port)


def _facts(spec: DeploymentSpec) -> dict[str, Fact]:
    """Return the facts that decide what a local deployment runs."""
    facts = _CAPABILITIES.heeded(spec.facts())
    facts.pop("image", None)
    return facts


def _recall(name: str) -> Memory:
    return recall(name, LocalTarget.name)


def _keep(name: str, memory: Memory) -> None:
    keep(name, LocalTarget.name, memory)


def _require(name: str) -> Memory:
    memory = _recall(name)
    if memory.running is None:
        raise DeploymentNotFoundError(
            f"no deployment '{name}' at target 'local'",
            hint="run 'modelpack deployments list' to see them",
        )
    return memory


def _switch(name: str, former: Memory, wanted: Memory, progress: Progress = SILENT) -> None:
    """End what runs and run what is wanted; raises DeployError.

    What is wanted is remembered first, so that one who is interrupted here can go back.
    """
    folder = files.folder_of(name)
    _keep(name, replace(wanted, supervisor=former.supervisor))
    if former.is_running:
        with progress.step("stop the former process"):
            former.stop()
    _keep(name, wanted)
    if wanted.running is not None:
        files.set_aside(folder)
        files.write_command(folder, wanted.running.command)
        _keep(name, replace(wanted, supervisor=launch(name, folder)))


def _remove(name: str) -> None:
    """Leave nothing of a deployment that has been stopped."""
    shutil.rmtree(files.folder_of(name), ignore_errors=True)
    records.forget(name)
    revisions.forget(name)


def _sweep(name: str, kept: Kept) -> None:
    """Remove the unpacked bundles that the kept revision does not run from."""
    cwd = Path(kept.command.cwd)
    for folder in files.folder_of(name).iterdir():
        if folder.is_dir() and folder not in (cwd, *cwd.parents):
            shutil.rmtree(folder, ignore_errors=True)


def _status(name: str, memory: Memory) -> Status:
    kept = memory.running
    if kept is None:
        return Status(name=name, target=LocalTarget.name, state=State.ABSENT)
    child = files.read_state(files.folder_of(name))
    url = service_url(kept.spec.settings.host, kept.port)
    return Status(
        name=name,
        target=LocalTarget.name,
        state=_state(memory, child, url, kept.spec.settings.ready_timeout_s),
        bundle=kept.spec.bundle,
        revision=kept.spec.revision,
        url=url,
        since=child.since if child is not None else None,
        restarts=child.restarts if child is not None else 0,
        detail=child.detail if child is not None else None,
    )


def _state(memory: Memory, child: ChildState | None, url: str, ready_timeout_s: float) -> State:
    if not memory.is_running:
        was_ended = memory.supervisor is not None and memory.supervisor.is_of_this_boot
        is_stopped = child is not None and child.phase == "stopped"
        return State.FAILED if was_ended and not is_stopped else State.STOPPED
    if child is None:
        return State.STARTING
    if child.phase == "waiting":
        return State.FAILED if child.failures >= CRASHES_TO_FAIL else State.STARTING
    if is_ready(url):
        return State.RUNNING
    age_s = (datetime.now(UTC) - datetime.fromisoformat(child.since)).total_seconds()
    return State.STARTING if age_s < ready_timeout_s else State.UNHEALTHY
