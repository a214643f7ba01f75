"""Brings a deployment to its new revision, and back: one more application, then one less.

    apply    packages ─► application NAME--HEX at a route of its own ─► Serve says RUNNING
    settle   one list: it gets the route, the former one another ─► proxies know ─► the former one goes
    revert   the application on trial goes; the former one never stopped

    scaling alone:   apply  the same application with other numbers     revert  its former numbers

What always holds: what answers is not touched before the new one is healthy; the route changes hands in
one list, so that no request finds it without anybody behind; whoever was asked answers to the end, for
Serve drains what it stops.  Every step looks first and may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from modelpack.deploy import DeploymentSpec, Journal, Progress
from modelpack_ray.applications import Configs
from modelpack_ray.kept import Kept
from modelpack_ray.packages import (
    Storage,
    check_size,
    names_of,
    node_package,
    require_package,
    write_package,
)
from modelpack_ray.planning import facts_of
from modelpack_ray.rest import Json
from modelpack_ray.site import Site
from modelpack_ray.standing import App, Standing, app_in, standing_of
from modelpack_ray.waiting import until_gone, until_routed, until_running
from modelpack_ray.wanted import (
    Place,
    application,
    application_name,
    changed,
    is_scaling,
    placed_as,
    route_of,
    trial_route,
    with_secrets,
)


def bring(
    site: Site,
    spec: DeploymentSpec,
    secrets: Callable[[], Mapping[str, str]],
    journal: Journal,
    progress: Progress,
) -> None:
    """Bring an application of the spec up beside what answers; raises DeployError with the reason."""
    values = secrets()  # one that is missing is told before anything is made
    standing = site.look(spec.name)
    if (scaled := _only_scaled(site, spec, standing)) is not None:
        journal.step(f"update/application/{scaled.name}", lambda: _scale(site, scaled.name, spec))
        until_running(site, scaled.name, spec, progress, lambda: _scale(site, scaled.name, spec))
        return
    names = names_of(spec)
    storage = site.place.storage
    journal.step(
        f"send/package/{names.node}",
        lambda: _send(site, storage, names.node, node_package, progress),
    )
    journal.step(
        f"send/package/{names.bundle}",
        lambda: _send(site, storage, names.bundle, lambda: site.pack(spec), progress),
    )
    name = _name_for(site, spec, standing)
    history = standing.settled.kept.past() if standing.settled is not None else ()
    kept = Kept(spec=spec, route=route_of(spec, site.place), since=_now(), history=history)
    config = with_secrets(application(name, kept, site.place), values)

    def create() -> None:
        site.applications.change(lambda configs: _with_candidate(configs, spec.name, config))

    journal.step(f"create/application/{name}", create)
    until_running(site, name, spec, progress, create)


def settle(site: Site, name: str) -> None:
    """Give the route to the revision that was found healthy, and let go of all others."""
    standing = site.look(name)
    now = standing.now
    if now is None:
        return
    site.applications.change(lambda configs: _switched(configs, name, now.name))
    until_routed(site, now)
    drop(site, name, lambda app: app.name != now.name)


def revert(site: Site, name: str) -> None:
    """Take away what is on trial; what answered before goes on."""
    standing = site.look(name)
    if standing.settled is not None and standing.settled.kept.former is not None:
        scaled = standing.settled.name
        site.applications.change(lambda configs: _unscaled(configs, scaled))
    drop(site, name, lambda app: not app.kept.is_settled)


def drop(site: Site, name: str, which: Callable[[App], bool]) -> None:
    """Remove applications of a deployment and wait until they are gone; raises DeployError."""
    found = site.applications.read()
    of_ours = [one for one in _apps(found) if one.kept.spec.name == name and which(one)]
    names = {one.name for one in of_ours} | set(standing_of(found, name).going)
    if of_ours:
        gone = {one.name for one in of_ours}
        site.applications.change(
            lambda configs: {key: one for key, one in configs.items() if key not in gone}
        )
    if names:
        grace_s = max((float(one.config["args"]["grace_s"]) for one in of_ours), default=30.0)
        until_gone(site, names, grace_s)


def _only_scaled(site: Site, spec: DeploymentSpec, standing: Standing) -> App | None:
    """Return the application that needs other numbers of replicas alone, if it is fine."""
    app = standing.settled
    if (
        app is None
        or standing.candidate is not None
        or app.status in ("DEPLOY_FAILED", "UNHEALTHY")
    ):
        return None
    if route_of(spec, site.place) != app.kept.route:
        return None
    old = _build(app.kept.spec, placed_as(site.place, app.config))
    return app if old == _build(spec, site.place) else None


def _build(spec: DeploymentSpec, place: Place) -> dict[str, Any]:
    facts = facts_of(spec, place)
    return {key: value for key, value in facts.items() if not is_scaling(key)}


def _name_for(site: Site, spec: DeploymentSpec, standing: Standing) -> str:
    """Return the name of the new application: never that of one which answers or has failed."""
    name = application_name(spec, facts_of(spec, site.place))
    taken = standing.settled
    candidate = standing.candidate
    if candidate is not None and candidate.name == name and candidate.status == "DEPLOY_FAILED":
        return application_name(spec, facts_of(spec, site.place), again=True)
    if taken is not None and taken.name == name:
        return application_name(spec, facts_of(spec, site.place), again=True)
    return name


def _send(
    site: Site, storage: Storage, name: str, make: Callable[[], bytes], progress: Progress
) -> dict[str, Any]:
    """Put a package where the nodes find it, unless it is there."""
    if storage.folder is not None:
        if (storage.folder / name).exists():
            return {"sent_bytes": 0}
        data = make()
        write_package(storage.folder, name, data)
        return {"sent_bytes": len(data)}
    if not storage.is_cluster:
        require_package(storage, name)
        return {"sent_bytes": 0}
    if site.packages.has_package(name):
        return {"sent_bytes": 0}
    data = make()
    check_size(data)
    size = f"{len(data) / 1e6:.1f} MB" if len(data) >= 100_000 else f"{len(data) / 1e3:.1f} kB"
    with progress.step(f"send {size} to the cluster"):
        site.packages.put_package(name, data)
    return {"sent_bytes": len(data)}


def _with_candidate(configs: Configs, deployment: str, config: Json) -> Configs:
    """Return the applications with the new one, and without others on trial of the deployment."""
    kept = {}
    for name, one in configs.items():
        app = _app_of(name, one)
        if app is not None and app.kept.spec.name == deployment and not app.kept.is_settled:
            continue
        kept[name] = one
    return {**kept, config["name"]: _as_standing(configs.get(config["name"]), config)}


def _as_standing(stands: Json | None, config: Json) -> Json:
    """Return the one that stands when it was made of the same, but for when."""
    if stands is None:
        return config
    old, new = (_app_of(config["name"], one) for one in (stands, config))
    if old is None or new is None or old.kept.is_settled:
        return config
    is_same = (
        old.kept.spec == new.kept.spec
        and old.kept.history == new.kept.history
        and stands.get("runtime_env") == config["runtime_env"]
        and stands.get("route_prefix") == config["route_prefix"]
    )
    return stands if is_same else config


def _scale(site: Site, name: str, spec: DeploymentSpec) -> None:
    def edit(configs: Configs) -> Configs:
        app = _app_of(name, configs.get(name))
        if app is None:
            return configs
        kept = app.kept if app.kept.spec == spec else app.kept.scaled(spec, _now())
        config = changed(app.config, kept)
        return configs if config == app.config else {**configs, name: config}

    site.applications.change(edit)


def _unscaled(configs: Configs, name: str) -> Configs:
    app = _app_of(name, configs.get(name))
    if app is None or app.kept.former is None:
        return configs
    return {**configs, name: changed(app.config, app.kept.reverted())}


def _switched(configs: Configs, deployment: str, winner: str) -> Configs:
    """Return the applications with the route in the hands of the winner."""
    after = dict(configs)
    for name, config in configs.items():
        app = _app_of(name, config)
        if app is None or app.kept.spec.name != deployment:
            continue
        if name != winner:
            after[name] = {**config, "route_prefix": trial_route(name)}
        elif app.kept.is_on_trial or config["route_prefix"] != app.kept.route:
            kept = app.kept.settled()
            after[name] = changed(config, kept, route=kept.route)
    return after


def _apps(found: Json) -> list[App]:
    apps = (app_in(name, details) for name, details in found["applications"].items())
    return [app for app in apps if app is not None]


def _app_of(name: str, config: Json | None) -> App | None:
    return None if config is None else app_in(name, {"deployed_app_config": config})


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
