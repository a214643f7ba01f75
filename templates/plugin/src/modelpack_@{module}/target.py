"""The target ``@{name}``: one app of the platform for each deployment.

    read_live ─► plan (pure) ─► apply ─┬─ healthy ────► settle: "checked" is noted
                                       └─ not healthy ► revert: the former spec runs again
    find, look, now, past, names ──► status, history and lists, which its base tells

The notes of an app hold the state: ``spec`` is what runs, ``former`` what ran before until the new
one is settled, ``history`` what was found healthy.  So whoever can ask the platform knows all, and an
apply that was killed is seen by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Self

from modelpack.deploy import (
    Capabilities,
    DeploymentSpec,
    Fact,
    Journal,
    Live,
    Past,
    Plan,
    Progress,
    Rendered,
    Revision,
    Sight,
    StandingTarget,
    State,
    change_to,
    check_name,
    moment,
    refuse_unknown,
)

from modelpack_@{module}.platform import App, FolderPlatform, Platform

CAPABILITIES = Capabilities(
    heeds=frozenset({"env", "cpu", "memory_bytes", "min_replicas", "max_replicas", "labels"}),
    reasons={"region": "@{name} has one region only"},
)
"""What of a deployment's settings is done here; of the rest the plan warns, or refuses."""

STATES = {"up": State.RUNNING, "booting": State.STARTING, "crashed": State.FAILED}
"""The platform's words, in ours."""

MOST_REVISIONS = 20


@dataclass(frozen=True, slots=True)
class @{class}Target(StandingTarget[App]):
    """Runs bundles as apps of @{name}."""

    name: ClassVar[str] = "@{name}"
    needs_image: ClassVar[bool] = False  # True: an image of the bundle is built first

    platform: Platform
    folder: str

    @property
    def options(self) -> Mapping[str, str]:
        """Return what ``from_options`` was given."""
        return {"folder": self.folder}

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Make the target with its real client; raises UsageError for an unknown option."""
        refuse_unknown(cls.name, options, ["folder"])
        folder = options.get("folder", "@{name}-apps")
        return cls(FolderPlatform(Path(folder)), folder)

    def capabilities(self, spec: DeploymentSpec) -> Capabilities:
        """Return what of the settings is done here."""
        return CAPABILITIES

    def read_live(self, spec: DeploymentSpec) -> Live:
        """Return what the platform holds under the name of the spec."""
        app = self.find(spec.name)
        if app is None:
            return Live(name=spec.name)
        running = spec_in(app.notes["spec"])
        return Live(
            name=spec.name,
            state=STATES[app.state],
            facts=facts_of(running),
            revision=running.revision,
            is_settled="checked" in app.notes,
        )

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        """Return what would change."""
        change = change_to(f"app/{spec.name}", live, facts_of(spec))
        return Plan(target=self.name, spec=spec, changes=(change,))

    def render(self, spec: DeploymentSpec) -> Rendered:
        """Return what would be sent."""
        facts = json.dumps(facts_of(spec), indent=2, sort_keys=True)
        return Rendered(files={"app.json": facts.encode() + b"\n"})

    def apply(self, plan: Plan, journal: Journal, progress: Progress) -> Revision:
        """Run the app of the plan, and keep what ran before in its notes."""
        spec = plan.spec
        notes = {"spec": spec.canonical()}
        app = self.platform.app(spec.name)
        if app is not None:
            notes["history"] = app.notes.get("history", "[]")
            # One that was never found healthy is no revision to come back to.
            former = app.notes["spec"] if "checked" in app.notes else app.notes.get("former")
            notes |= {"former": former} if former else {}
        with progress.step(f"run {spec.name}"):
            journal.step(f"run/app/{spec.name}", lambda: self.platform.run(spec.name, notes))
        return self.revision(spec)

    def settle(self, name: str) -> None:
        """Forget what ran before: the new revision is healthy."""
        app = self.platform.app(name)
        if app is None or "checked" in app.notes:
            return
        self.platform.write_notes(name, settled(app.notes["spec"], app.notes.get("history", "[]")))

    def revert(self, name: str) -> None:
        """Run again what ran before, or leave nothing."""
        app = self.platform.app(name)
        if app is None or "checked" in app.notes:
            return
        if former := app.notes.get("former"):
            history = app.notes.get("history", "[]")
            self.platform.run(name, {"spec": former, "history": history, "checked": "yes"})
        else:
            self.platform.remove(name)

    def find(self, name: str) -> App | None:
        """Return what the platform holds under a name."""
        return self.platform.app(check_name(name))

    def look(self, standing: App) -> Sight:
        """Return how the app is; without ``url`` the platform's word decides what is healthy."""
        return Sight(state=STATES[standing.state], since=moment(standing.started))

    def now(self, standing: App) -> DeploymentSpec:
        """Return the spec of what runs."""
        return spec_in(standing.notes["spec"])

    def past(self, standing: App) -> Iterable[Past]:
        """Return what was found healthy, oldest first."""
        entries = json.loads(standing.notes.get("history", "[]"))
        return [Past(spec=spec_in(one["spec"]), since=one["since"]) for one in entries]

    def names(self) -> Iterable[str]:
        """Return the name of every deployment of the platform."""
        return self.platform.names()

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Return the lines of the app."""
        lines = self.require(name).log
        return iter(lines if tail is None else lines[max(0, len(lines) - tail) :])

    def inventory(self, name: str) -> tuple[str, ...]:
        """Return what ``destroy`` would remove."""
        return (f"app/{name}",)

    def destroy(self, name: str) -> None:
        """Remove the app."""
        self.require(name)
        self.platform.remove(name)


def facts_of(spec: DeploymentSpec) -> dict[str, Fact]:
    """Return what decides what runs here."""
    return CAPABILITIES.heeded(spec.facts())


def settled(spec: str, history: str) -> dict[str, str]:
    """Return the notes of a revision that was found healthy now."""
    entry = {"spec": spec, "since": moment(datetime.now(UTC))}
    entries = json.loads(history)
    if not entries or entries[-1]["spec"] != spec:
        entries.append(entry)
    return {"spec": spec, "history": json.dumps(entries[-MOST_REVISIONS:]), "checked": "yes"}


def spec_in(note: str) -> DeploymentSpec:
    """Read the note that holds a spec."""
    return DeploymentSpec.from_json(json.loads(note))
