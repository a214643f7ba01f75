"""What Heroku holds of a deployment, and how it is.

    app ─────────► Kept (what was healthy)  ─┐
    app-trial ───► Trial (what is tried)    ─┴─► Standing ──look──► Sight

A trial under way is what was applied last, and it answers at an address of its own.  How many dynos there
are is known from Heroku and not from what we remember: that changes without a release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from modelpack.deploy import DeploymentSpec, Entry, Fact, Sight, State, moment, refuse_others
from modelpack_heroku.apps import App, Json
from modelpack_heroku.body import replicas
from modelpack_heroku.calls import Heroku
from modelpack_heroku.kept import KEPT, MARK, TARGET, TRIAL, Kept, Trial
from modelpack_heroku.naming import TRIAL as TRIAL_SUFFIX
from modelpack_heroku.naming import app_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The two apps of a deployment."""

    main: App
    trial: App
    is_named: bool = False
    """Whether an option names the app: then it may be one that was there before."""

    @classmethod
    def of(cls, heroku: Heroku, name: str, given: str | None) -> Pair:
        """Return them by the name of the deployment, or the name that an option gives the app."""
        app = app_name(name, given)
        trial = App(heroku, app + TRIAL_SUFFIX)
        return cls(main=App(heroku, app), trial=trial, is_named=given is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What stands under a name."""

    name: str
    pair: Pair
    app: Json | None
    """The app as Heroku describes it; None: it is gone."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Its config vars."""
    web: Json | None = None
    """Quantity and size of its dynos."""
    kept: Kept = field(default_factory=Kept)
    trial_app: Json | None = None
    trial_config: Mapping[str, str] = field(default_factory=dict)
    trial: Trial | None = None

    @property
    def has_moved(self) -> bool:
        """Whether what is on trial has come to the app, as far as its variables."""
        written = self.kept.settled
        trial = self.trial
        return written is not None and trial is not None and written.unit == trial.entry.unit

    @property
    def past(self) -> tuple[Entry, ...]:
        """What was found healthy, oldest first; the last one with as many replicas as there are now.

        What is on trial is written into the app with its release, before it is known how that ends.
        """
        known = self.kept.entries[:-1] if self.has_moved else self.kept.entries
        return (*known[:-1], _with(known[-1], self.web)) if known else ()

    @property
    def settled(self) -> Entry | None:
        """What was found healthy last."""
        past = self.past
        return past[-1] if past else None

    @property
    def now(self) -> Entry | None:
        """What was applied last."""
        return self.trial.entry if self.trial is not None else self.settled


def read(pair: Pair, name: str, target: str) -> Standing | None:
    """Return what stands under a name; raises ConflictError for what somebody else made."""
    app, config = _described(pair.main, name, target, is_named=pair.is_named)
    trial_app, trial_config = _described(pair.trial, name, target)
    if MARK not in config and MARK not in trial_config:
        return None  # what has no mark is nobody's
    return Standing(
        name=name,
        pair=pair,
        app=app,
        config=config,
        web=None if app is None else pair.main.web(),
        kept=Kept.read(config.get(KEPT)),
        trial_app=trial_app,
        trial_config=trial_config,
        trial=Trial.read(trial_config.get(TRIAL)),
    )


def _described(
    app: App, name: str, target: str, *, is_named: bool = False
) -> tuple[Json | None, dict[str, str]]:
    """Return an app with its config vars.

    One without a mark is taken when it is empty, and one that was named when nothing of it runs.
    """
    described = app.read()
    if described is None:
        return None, {}
    config, web = app.config(), app.web()
    is_idle = web is None or not web.get("quantity")
    is_free = is_idle if is_named else web is None and not config
    if MARK in config or not is_free:
        mark = config.get(MARK)
        what = f"app '{app.name}'"
        refuse_others(what, name, mark, target=target, made_by=config.get(TARGET))
    return described, config


def look(standing: Standing) -> Sight:
    """Return how what was applied last is."""
    trial = standing.trial
    if trial is not None and not trial.is_scaling and standing.trial_app is not None:
        sight = look_at(standing.pair.trial, standing.trial_app)
        former = standing.settled
        if former is None or trial.former is None:
            return sight
        return replace(sight, meanwhile=f"revision '{former.spec.revision}' answers the calls")
    if standing.app is None or standing.settled is None:
        return Sight(state=State.FAILED, detail="nothing was ever released to it")
    facts = facts_of(standing)
    return replace(look_at(standing.pair.main, standing.app), facts=facts)


def look_at(app: App, described: Json) -> Sight:
    """Return how the newest release of an app is, by its dynos."""
    release, dynos = app.newest(), app.dynos()
    quantity = len(dynos) or int((app.web() or {}).get("quantity") or 0)
    state, detail = state_of(release, dynos, quantity)
    url = str(described.get("web_url") or "").rstrip("/") or None
    return Sight(state=state, detail=detail, url=url, since=moment(release.get("created_at")))


def state_of(release: Json, dynos: list[Json], quantity: int) -> tuple[State, str | None]:
    """Return the state of a release and why it is that one.

    One dyno that is up is enough: another one may be starting anew, as Heroku does once a day.
    """
    if release.get("status") == "failed":
        return State.FAILED, "its release has failed"
    if quantity == 0:
        return State.STOPPED, "it has no dynos"
    version = release.get("version")
    states = [
        str(one.get("state"))
        for one in dynos
        if (one.get("release") or {}).get("version") == version
    ]
    if "up" in states or "idle" in states:  # an idle one wakes when it is called
        return State.RUNNING, None
    if "crashed" in states:
        return State.FAILED, "its dyno has crashed: see 'modelpack deployments logs'"
    return State.STARTING, "its dynos are starting" if states else "its dynos are not there yet"


def facts_of(standing: Standing) -> dict[str, Fact]:
    """Return what runs where that may differ from what was applied: size of dynos, variables."""
    entry = standing.settled
    if entry is None:
        return {}
    facts: dict[str, Fact] = {
        f"env.{name}": standing.config.get(name) for name in entry.spec.settings.env
    }
    if standing.web is not None:
        facts["dyno"] = str(standing.web.get("size") or "").lower() or None
    return facts


def _with(entry: Entry, web: Json | None) -> Entry:
    """Return a revision with as many replicas as Heroku has dynos of it."""
    quantity = None if web is None else int(web.get("quantity") or 0)
    if not quantity or quantity == replicas(entry.spec):
        return entry
    settings = replace(entry.spec.settings, min_replicas=quantity)
    spec: DeploymentSpec = replace(entry.spec, settings=settings)
    return replace(entry, spec=spec)
