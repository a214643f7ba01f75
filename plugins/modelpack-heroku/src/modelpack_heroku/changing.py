"""What is done to the two apps of a deployment.

    ensure   both apps are there, and marked
    bring    variables ─► image ─► one dyno, in the trial app; its calls are the probe's alone
    settle   the same to the app itself, in two releases; the trial app sleeps again
    revert   the app goes back to the release of before, if it has moved; the trial app sleeps

The trial is over when the trial app says nothing of it any more, and that is written when all else is
done.  So whatever is cut short counts as on trial: the next apply does it again, and ``revert`` knows the
release to go back to.  What others have set on the app, such as add-ons, the trial gets too.
"""

from __future__ import annotations

from dataclasses import replace

from modelpack.deploy import Clock, Entry, State, await_running
from modelpack.deploy.references import resolve
from modelpack.errors import DeployError
from modelpack_heroku.apps import App
from modelpack_heroku.body import check_size, replicas, variables
from modelpack_heroku.kept import GIVEN, KEPT, MARK, TARGET, TRIAL, Kept, Trial, foreign
from modelpack_heroku.looking import Pair, Standing, look_at
from modelpack_heroku.sizes import size_for

_MOVE_S = 300.0
"""How long dynos of a release that was healthy on trial may take to come up."""
_POLL_S = 3.0
_HINT = "see 'modelpack deployments logs', or the dashboard of Heroku"


def ensure(
    app: App, name: str, target: str, *, region: str | None, team: str | None, is_named: bool
) -> None:
    """Make an app unless it is there, and mark it; one that was there and named stays in the end."""
    is_made = app.ensure(region=region, team=team)
    given = {GIVEN: "yes"} if is_named and not is_made else {}
    app.mark({MARK: name, TARGET: target, **given})


def begin(pair: Pair, standing: Standing, entry: Entry, target: str) -> None:
    """Write the variables of a revision into the trial app, and what going back means."""
    trial, before = Trial(entry=entry), standing.trial
    if before is not None and not before.is_scaling:  # of an apply that was cut short
        trial = replace(trial, former=before.former, dynos=before.dynos)
    elif standing.settled is not None:
        dynos = _dynos(standing) if before is None else before.dynos
        trial = replace(trial, former=str(pair.main.newest().get("id")), dynos=dynos)
    theirs = foreign(standing.config, standing.kept.settled)
    theirs = {key: one for key, one in theirs.items() if not key.startswith("HEROKU_")}
    wanted = theirs | _variables(entry, target) | {TRIAL: trial.text()}
    check_size(wanted)
    pair.trial.configure(pair.trial.config(), wanted)


def wake(pair: Pair, entry: Entry) -> None:
    """Give the trial app one dyno of the revision's size."""
    pair.trial.scale(1, size_for(entry.spec.settings).word)


def await_start(app: App, clock: Clock, timeout_s: float) -> None:
    """Wait while an app starts, seldom enough for Heroku's rate limit; who looks next sees the end."""
    described = app.read()
    deadline = clock.now() + timeout_s
    while described is not None and look_at(app, described).state is State.STARTING:
        if clock.now() >= deadline:
            return
        clock.sleep(_POLL_S)


def scale(standing: Standing, entry: Entry) -> None:
    """Give the app another number of dynos; how many there were stays known until it is settled."""
    config = dict(standing.trial_config)
    before = _dynos(standing) if standing.trial is None else standing.trial.dynos
    trial = Trial(entry=entry, dynos=before, is_scaling=True)
    standing.pair.trial.configure(config, {**config, TRIAL: trial.text()})
    standing.pair.main.scale(replicas(entry.spec))


def settle(standing: Standing, target: str, clock: Clock) -> None:
    """Release to the app what was healthy on trial; raises DeployError when it does not come up."""
    trial, main = standing.trial, standing.pair.main
    if trial is not None and not trial.is_scaling:
        kept = standing.kept.healthy(trial.entry)
        theirs = foreign(standing.config, standing.kept.settled)
        given = {GIVEN: "yes"} if GIVEN in standing.config else {}
        wanted = theirs | _variables(trial.entry, target) | {KEPT: kept.text()} | given
        check_size(wanted)
        main.configure(standing.config, wanted)
        main.release(trial.entry.image)
        _shape(main, trial.entry, replicas(trial.entry.spec))
        await_app(main, standing.name, clock)
    rest(standing.pair)


def revert(standing: Standing, clock: Clock) -> None:
    """Put the app back to the release of before the trial, if it has moved."""
    trial, former, main = standing.trial, standing.settled, standing.pair.main
    if trial is not None and trial.is_scaling:
        main.scale(trial.dynos)
    elif trial is not None and former is not None and trial.former and standing.has_moved:
        main.back(trial.former)
        # A release brings neither the number nor the size of its dynos back.
        _shape(main, former, trial.dynos)
        await_app(main, standing.name, clock)
    rest(standing.pair)


def rest(pair: Pair) -> None:
    """Say that nothing is on trial, and let the trial app sleep; its image stays, for small pushes."""
    if pair.trial.read() is None:
        return
    config, web = pair.trial.config(), pair.trial.web()
    marks = {key: one for key, one in config.items() if key in (MARK, TARGET)}
    pair.trial.configure(config, marks)
    if web is not None and web.get("quantity"):
        pair.trial.scale(0)


def remove(pair: Pair) -> bool:
    """Remove both apps, the trial first; returns whether anything was there."""
    gone = [pair.trial.delete()] if pair.trial.read() is not None else []
    if pair.main.read() is not None:
        gone.append(_leave(pair.main) if pair.is_named else pair.main.delete())
    return any(gone)


def _leave(app: App) -> bool:
    """Remove an app that was named, or what is ours of it where it was there before."""
    config = app.config()
    if MARK not in config:
        return False
    if GIVEN not in config:
        return app.delete()
    web = app.web()
    if web is not None and web.get("quantity"):
        app.scale(0)
    app.configure(config, foreign(config, Kept.read(config.get(KEPT)).settled))
    return True


def await_app(app: App, name: str, clock: Clock) -> None:
    """Wait until the newest release of an app runs; raises DeployError with the reason."""
    described = app.read()
    if described is None:
        raise DeployError(f"the app '{app.name}' is gone")
    await_running(name, lambda: look_at(app, described), clock, timeout_s=_MOVE_S, hint=_HINT)


def _shape(main: App, entry: Entry, dynos: int) -> None:
    """Give the app so many dynos of a revision's size, which may start before the old ones end."""
    size = size_for(entry.spec.settings)
    wants_preboot = size.has_preboot and entry.options.get("preboot", "yes") == "yes"
    if not wants_preboot:
        main.preboot(enabled=False)
    main.scale(dynos, size.word)
    if wants_preboot:
        main.preboot(enabled=True)


def _variables(entry: Entry, target: str) -> dict[str, str]:
    return variables(entry.spec, target) | resolve(entry.spec.settings.secrets)


def _dynos(standing: Standing) -> int:
    return int((standing.web or {}).get("quantity") or 0)
