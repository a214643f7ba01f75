"""``modelpack deploy``: plan, show, ask, apply, wait until it is healthy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption

if TYPE_CHECKING:
    from modelpack.config.settings import DeploySettings, Project
    from modelpack.deploy import Plan, Status, Target
    from modelpack.store import Entry, Store

PLAN_HAS_CHANGES = 10
"""Exit status with ``--exit-code``."""


def deploy(
    tag: Annotated[
        str | None,
        typer.Argument(metavar="TAG", help="bundle; default: the last build of this project"),
    ] = None,
    *,
    target: Annotated[
        str | None,
        typer.Option(
            "-t", "--target", metavar="TARGET", help="where to: local, docker, or a plugin"
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="name of the deployment; default: the bundle's"
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", help="port it answers on; 0: a free one")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="HOST", help="address it answers on")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="IMAGE", help="base of the image, should one be built"),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="setting of the target; repeatable"),
    ] = None,
    file: Annotated[
        Path,
        typer.Option("-f", "--file", metavar="PATH", help="project, or the file with its settings"),
    ] = Path(),
    plan_only: Annotated[
        bool, typer.Option("--plan", help="show what would change, change nothing")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="with --plan: exit 10 when something would change")
    ] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="do not ask, apply the plan")] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack deploy --target docker

    Bring a bundle to a target and wait until it is healthy.

    What would change is shown first, and nothing is changed without consent. A deployment that does
    not become healthy is taken back, and the one before it runs again. Settings stand under 'deploy:'
    in modelpack.yaml.
    """
    from modelpack.cli.project import bundle_for
    from modelpack.config.load import load_project
    from modelpack.deploy import rollout
    from modelpack.errors import WrappedProgramError
    from modelpack.image import default_reference
    from modelpack.store import Store
    from modelpack.trust import check

    settings = _settings(load_project(file), {"target": target, "host": host, "port": port})
    place = _target(settings, option or [])
    store = Store()
    entry = bundle_for(tag, store, folder=file)
    check(store, entry, "deploy")
    if store.bundle_manifest(entry).program is not None:
        raise WrappedProgramError(entry.tag, entry.tag)
    spec = rollout.spec_for(entry, settings, name=name, image=default_reference(entry.tag))
    plan = rollout.plan_deployment(place, spec)
    if plan_only:
        _print_plan(plan, form)
        raise typer.Exit(PLAN_HAS_CHANGES if exit_code and not plan.is_empty else 0)
    console.note(plan.describe())
    if (
        not plan.is_empty
        and not yes
        and not console.ask("apply this?", flag="--yes", what="deploy")
    ):
        console.note("nothing was changed")
        raise typer.Exit(1)
    _print_status(_apply(place, plan, store, entry, base=base), form)


def _settings(project: Project, flags: Mapping[str, object]) -> DeploySettings:
    """Lay user file, project and flags over each other; raises UsageError."""
    from modelpack.config.layers import deploy_settings, project_layer
    from modelpack.errors import UsageError

    settings = deploy_settings(project_layer(project, "deploy"), flags).settings
    if settings.target is None:
        from modelpack.deploy.catalog import installed

        raise UsageError(
            "no target: say where to deploy to",
            hint=f"give '--target', one of {', '.join(installed().names)}, or set deploy.target",
        )
    return settings


def _target(settings: DeploySettings, options: list[str]) -> Target:
    from modelpack.deploy.catalog import target
    from modelpack.errors import UsageError

    values = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not (key and equals):
            raise UsageError(f"--option: '{option}' is not KEY=VALUE")
        values[key] = value
    return target(settings.target or "", values)


def _apply(place: Target, plan: Plan, store: Store, entry: Entry, *, base: str | None) -> Status:
    from modelpack.cli.project import image_settings_of
    from modelpack.deploy import rollout
    from modelpack.deploy.bundles import image_maker

    ensure_image = image_maker(store, image_settings_of(entry, store), base=base)
    return rollout.apply_plan(place, plan, ensure_image=ensure_image, progress=console.Steps())


def _print_plan(plan: Plan, form: Format) -> None:
    if form is Format.JSON:
        console.out_json({**plan.to_json(), "digest": plan.digest, "is_empty": plan.is_empty})
    else:
        console.out(plan.describe())


def _print_status(status: Status, form: Format) -> None:
    """Print where the deployment answers: the one thing that standard output gets."""
    if form is Format.JSON:
        console.out_json(status.to_json())
        return
    console.note(f"deployment '{status.name}' is {status.state}: {status.bundle}")
    if status.url:
        console.out(status.url)
