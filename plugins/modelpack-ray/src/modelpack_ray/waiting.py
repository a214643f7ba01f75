"""Waits until Ray Serve has done what it was asked for, and says what is missing when it has not.

    until_running    the application says RUNNING, and as many replicas take requests as were asked for
    until_routed     the proxies send the route to it
    until_gone       applications that were taken off the list have ended what they had

Serve goes on saying RUNNING while it changes the number of replicas of an application that has an
``autoscaling_config`` (``_determine_app_status`` in Ray's ``serve/_private/application_state.py``), so the
replicas are counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from modelpack.deploy import DeploymentSpec, DeploySettings, Progress
from modelpack.errors import DeployError
from modelpack_ray.packages import PACKAGE, PUT_THERE
from modelpack_ray.rest import Json
from modelpack_ray.site import Site
from modelpack_ray.standing import App, app_in

_LOOK_EVERY_S = 0.25
_ROUTES_WITHIN_S = 15.0
_GONE_MARGIN_S = 60.0


def until_running(
    site: Site, name: str, spec: DeploymentSpec, progress: Progress, again: Callable[[], object]
) -> None:
    """Wait until an application runs with its replicas, ``deploy.ready_timeout_s`` at most.

    ``again`` makes it once more when it is not there: another writer's list did not have it.
    Raises DeployError with the reason, or with what is missing.
    """
    deadline = site.clock.now() + spec.settings.ready_timeout_s
    with progress.step("wait for Ray Serve"):
        while True:
            found = site.applications.read()
            details = found["applications"].get(name)
            app = None if details is None else app_in(name, details)
            if app is None:
                again()
            elif app.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise _failed(app)
            elif app.status == "RUNNING" and _has_replicas(app, spec.settings, found):
                return
            if site.clock.now() > deadline:
                raise _not_ready(spec, app, found)
            site.clock.sleep(_LOOK_EVERY_S)


def until_routed(site: Site, app: App) -> None:
    """Wait until the proxies send the route there: only then may the former one go."""
    deadline = site.clock.now() + _ROUTES_WITHIN_S
    while not site.knows_route(app.kept.route, app.name):
        if site.clock.now() > deadline:
            return  # it drains, and takes what comes by then
        site.clock.sleep(_LOOK_EVERY_S)


def until_gone(site: Site, names: Collection[str], grace_s: float) -> None:
    """Wait until applications have drained, a minute longer than their time; raises DeployError."""
    deadline = site.clock.now() + grace_s + _GONE_MARGIN_S
    while left := set(names) & set(site.applications.read()["applications"]):
        if site.clock.now() > deadline:
            raise DeployError(
                f"Ray has not ended the application '{min(left)}' yet",
                hint="see its replicas in the dashboard, and try again",
            )
        site.clock.sleep(_LOOK_EVERY_S)


def _has_replicas(app: App, settings: DeploySettings, found: Json) -> bool:
    """Return whether at least as many take requests as there must be, and no more than there may be."""
    return _fewest(settings, found) <= app.running <= settings.most_replicas


def _fewest(settings: DeploySettings, found: Json) -> int:
    """Return how many there must be: Serve has that percentage of all while ``target_capacity`` is set."""
    capacity = found.get("target_capacity")
    share = 1.0 if capacity is None else float(capacity) / 100
    return math.ceil(settings.min_replicas * share)


def _failed(app: App) -> DeployError:
    said = app.detail or app.status.lower()
    is_package = f"/{PACKAGE}" in said
    hint = f"{PUT_THERE}; Ray asks for it again after ten minutes" if is_package else None
    return DeployError(f"Ray Serve: {said}", hint=hint)


def _not_ready(spec: DeploymentSpec, app: App | None, found: Json) -> DeployError:
    timeout_s, fewest = spec.settings.ready_timeout_s, _fewest(spec.settings, found)
    message = f"'{spec.name}' was not ready within {timeout_s:g} s"
    if app is not None and app.running < fewest:
        message += f": {app.running} of {fewest} replicas ran"
    if app is not None and app.detail:
        message += f": {app.detail}"
    return DeployError(
        message,
        hint="see whether the nodes have room for another replica with 'ray status'; "
        "a slow model wants more 'deploy.ready_timeout_s'",
    )
