"""The target ``heroku``: a revision is tried in an app of its own, and then released.

    plan      spec, what stands ─► changes                                          (pure)
    apply     two apps ─► image pushed to both ─► released to the trial app, one dyno
    settle    the probe was content: released to the app; the trial app sleeps
    revert    the app is as it was, or nothing is left

What Heroku holds is the state: what a deployment remembers stands in config vars (``kept``).  What always
holds: every step may be repeated; an app that somebody else made is not touched; every request is held
against Heroku's own schema before it leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Self

from modelpack.deploy import (
    Capabilities,
    Change,
    DeploymentSpec,
    Entry,
    Journal,
    Live,
    Past,
    Plan,
    Progress,
    Rendered,
    Revision,
    Sight,
    StandingTarget,
    Status,
    check_name,
    chosen,
)
from modelpack.deploy.pushing import FindLogin, Login, Push, Pushed, push_image
from modelpack.deploy.references import resolve
from modelpack.errors import ConflictError, DeployError
from modelpack_heroku import changing, looking
from modelpack_heroku.apps import App
from modelpack_heroku.body import PROCESS
from modelpack_heroku.calls import Calls, Heroku
from modelpack_heroku.kept import GIVEN, MARK, TARGET
from modelpack_heroku.loglines import log_lines
from modelpack_heroku.looking import Pair, Standing
from modelpack_heroku.naming import is_ours
from modelpack_heroku.options import check_options
from modelpack_heroku.planning import OF_THE_CALLER, Planner, facts_of

REGISTRY = "registry.heroku.com"


def push_bundle(
    spec: DeploymentSpec,
    reference: str,
    *,
    find_login: FindLogin,
    base: str | None,
    progress: Progress,
) -> Pushed:
    """Push for x86-64 and under Docker's manifest: Heroku's registry takes no other."""
    return push_image(
        spec, reference, find_login=find_login, base=base, schema2=True, progress=progress
    )


@dataclass(frozen=True, slots=True)
class HerokuTarget(StandingTarget[Standing]):
    """Deploys to Heroku's Common Runtime."""

    name: ClassVar[str] = "heroku"
    where: ClassVar[tuple[str, ...]] = ("app", "endpoint")

    heroku: Heroku = field(default_factory=Calls)
    given: Mapping[str, str] = field(default_factory=dict)
    """Its options."""
    push: Push = push_bundle

    @property
    def options(self) -> Mapping[str, str]:
        """Options from which it can be made again."""
        return self.given

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Make the target; raises UsageError for an option that cannot be."""
        check_options(cls.name, options)
        calls = Calls(endpoint=options.get("endpoint"), token_file=options.get("token_file"))
        return cls(heroku=calls, given=dict(options))

    # What will happen.

    def capabilities(self, spec: DeploymentSpec) -> Capabilities:  # noqa: ARG002
        """Return what Heroku does of a spec."""
        return self._planner.capabilities

    def read_live(self, spec: DeploymentSpec) -> Live:
        """Return what Heroku says of the deployment; raises CredentialsError, ConflictError."""
        standing = self.find(spec.name)
        if standing is None:
            return Live(name=spec.name)
        sight, now = looking.look(standing), standing.now
        applied = {} if now is None else facts_of(now)
        region = ((standing.app or {}).get("region") or {}).get("name")
        return Live(
            name=spec.name,
            state=sight.state,
            facts=applied | dict(sight.facts),
            applied=applied,
            surroundings={
                "trial": None if standing.trial_app is None else standing.pair.trial.name,
                "region": region,
            },
            revision=None if now is None else now.spec.revision,
            is_settled=standing.trial is None and now is not None,
        )

    def plan(self, spec: DeploymentSpec, live: Live) -> Plan:
        """Return what would change, and what a dyno of that size means."""
        return self._planner.plan(spec, live)

    def render(self, spec: DeploymentSpec) -> Rendered:
        """Return ``heroku.yml``, ``app.json`` and the requests of a first apply."""
        return self._planner.render(spec)

    # Do it.

    def apply(self, plan: Plan, journal: Journal, progress: Progress) -> Revision:
        """Start a revision in the trial app, beside what answers; raises DeployError."""
        spec, pair = plan.spec, self._pair(plan.spec.name)
        entry = Entry(
            spec=spec,
            image="",
            options=chosen(self.given, OF_THE_CALLER),
            unit=journal.token("trial")[:12],
        )
        if _is_scaling(plan):
            standing = self.require(spec.name)
            journal.step(f"scale/app/{pair.main.name}", lambda: changing.scale(standing, entry))
            return self.revision(spec)
        resolve(spec.settings.secrets)  # one that is not there is said before anything is sent
        for app in (pair.main, pair.trial):
            journal.step(f"create/app/{app.name}", partial(self._ensure, app, spec))
        self._undo(spec.name, entry, journal)
        for app in (pair.trial, pair.main):
            push = partial(self._push, spec, app.name, progress)
            pushed = journal.step(f"push/image/{app.name}", push)
        if pushed is None:
            raise DeployError(f"the image of '{spec.name}' was not pushed")
        entry = replace(entry, image=str(pushed["image"]))
        trial = pair.trial.name
        found = self.require(spec.name)
        journal.step(
            f"set/variables/{trial}", lambda: changing.begin(pair, found, entry, self.name)
        )
        journal.step(f"release/app/{trial}", lambda: pair.trial.release(entry.image))
        journal.step(f"scale/app/{trial}", lambda: changing.wake(pair, entry))
        changing.await_start(pair.trial, self.heroku.clock, spec.settings.ready_timeout_s)
        return self.revision(spec)

    def settle(self, name: str) -> None:
        """Release the revision to the app; raises DeployError when it does not come up there.

        The former one is back then.
        """
        try:
            changing.settle(self.require(name), self.name, self.heroku.clock)
        except DeployError:
            self.revert(name)
            raise

    def revert(self, name: str) -> None:
        """Put back the revision that was found healthy last, or leave nothing."""
        standing = self.find(name)
        if standing is None or standing.settled is None:
            changing.remove(self._pair(name))
        else:
            changing.revert(standing, self.heroku.clock)

    # See how it is.

    def find(self, name: str) -> Standing | None:
        """Return what the two apps of a deployment hold; raises TagError, ConflictError."""
        check_name(name)
        return looking.read(self._pair(name), name, self.name)

    def verify(self, spec: DeploymentSpec, status: Status) -> tuple[str, ...] | None:  # noqa: ARG002
        """See that nobody else has begun a trial meanwhile; the common probe does the rest.

        Raises ConflictError: what would be probed is another revision.
        """
        standing = self.require(spec.name)
        now = standing.now
        if now is None or now.spec.revision != spec.revision:
            raise ConflictError(
                f"somebody else has begun another deploy of '{spec.name}' meanwhile",
                hint="plan it again when that one is over",
            )
        return None

    def look(self, standing: Standing) -> Sight:
        """Return how what was applied last is."""
        return looking.look(standing)

    def now(self, standing: Standing) -> DeploymentSpec | None:
        """Return the spec that was applied last."""
        return None if standing.now is None else standing.now.spec

    def past(self, standing: Standing) -> Iterable[Past]:
        """Return what was found healthy, oldest first."""
        return [Past(spec=one.spec, since=one.since) for one in standing.past]

    def names(self) -> Iterable[str]:
        """Return the names of the deployments in the apps that the key may see."""
        listed = self.heroku.listed("/apps", "list the apps")
        given = self.given.get("app")
        for app in sorted(str(one.get("name")) for one in listed):
            if app == given or (given is None and is_ours(app)):
                config = App(self.heroku, app).config()
                if config.get(TARGET) == self.name:
                    yield config[MARK]

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield what the processes wrote; raises DeploymentNotFoundError."""
        standing = self.require(name)
        trial = standing.trial
        is_tried = trial is not None and not trial.is_scaling
        app = standing.pair.trial if is_tried else standing.pair.main
        return log_lines(self.heroku, app.name, follow=follow, tail=tail)

    # Remove it.

    def inventory(self, name: str) -> tuple[str, ...]:
        """Return the apps of a deployment; of one that was there before, its dynos go and it stays."""
        standing = self.require(name)
        both = ((standing.pair.main, standing.app), (standing.pair.trial, standing.trial_app))
        kind = "dynos" if GIVEN in standing.config else "app"
        return tuple(
            f"{kind if app is standing.pair.main else 'app'}/{app.name}"
            for app, described in both
            if described is not None
        )

    def destroy(self, name: str) -> None:
        """Delete what the target made, with images and add-ons; raises DeploymentNotFoundError."""
        self.find(name)  # raises for an app that is not ours
        if not changing.remove(self._pair(name)):
            raise self.absent(name)

    @property
    def _planner(self) -> Planner:
        return Planner(target=self.name, options=self.given)

    def _pair(self, name: str) -> Pair:
        return Pair.of(self.heroku, name, self.given.get("app"))

    def _undo(self, name: str, entry: Entry, journal: Journal) -> None:
        """Go back from another revision that had come to the app when its apply was cut short."""
        standing = self.find(name)
        trial = None if standing is None else standing.trial
        if standing is None or trial is None or trial.entry.unit == entry.unit:
            return
        if standing.has_moved and standing.settled is not None:
            clock, app = self.heroku.clock, standing.pair.main.name
            journal.step(f"revert/app/{app}", lambda: changing.revert(standing, clock))

    def _ensure(self, app: App, spec: DeploymentSpec) -> None:
        changing.ensure(
            app,
            spec.name,
            self.name,
            region=spec.settings.region,
            team=self.given.get("team"),
            is_named=app.name == self.given.get("app"),
        )

    def _push(self, spec: DeploymentSpec, app: str, progress: Progress) -> dict[str, Any]:
        """Push the image to the repository of an app; return its id."""
        host = self.given.get("registry", REGISTRY)

        def login(asked: str) -> Login | None:
            return Login("_", self.heroku.key()) if asked == host else None

        pushed = self.push(
            spec,
            f"{host}/{app}/{PROCESS}:latest",
            find_login=login,
            base=self.given.get("base"),
            progress=progress,
        )
        progress.note(f"{pushed.sent_bytes} bytes sent to '{host}/{app}/{PROCESS}'")
        return {"image": pushed.image_id}


def _is_scaling(plan: Plan) -> bool:
    """Return whether the number of dynos is all that a plan changes."""
    changes: list[Change] = [one for one in plan.changes if one.action != "none"]
    return len(changes) == 1 and set(changes[0].after) == {"min_replicas"}
