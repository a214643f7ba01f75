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
    from modelpack.deploy import Plan, Rendered, Target


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
    region: Annotated[
        str | None, typer.Option("--region", metavar="REGION", help="region of a cloud")
    ] = None,
    mode: Annotated[
        str | None, typer.Option("--mode", metavar="MODE", help="kind, where a target has several")
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option("--instance", metavar="TYPE", help="type of machine; auto: one that fits"),
    ] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="show what would change, change nothing")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="keep the plan for 'modelpack apply FILE'"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="write the files that would be sent"),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="plan without asking the target what stands there")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="with --plan: exit 10 when something would change")
    ] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="do not ask, apply the plan")] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack deploy --target docker
    $ modelpack deploy --target docker --save release.plan

    Bring a bundle to a target and wait until it is healthy.

    What would change is shown first, and nothing is changed without consent. A deployment that does
    not become healthy is taken back, and the one before it runs again. Settings stand under 'deploy:'
    in modelpack.yaml. Without a target, a deployment stays at the one where it stands. With --plan,
    --save or --output nothing is changed.
    """
    from modelpack.cli import applying
    from modelpack.cli.project import bundle_for
    from modelpack.config.load import load_project
    from modelpack.deploy import rollout
    from modelpack.errors import WrappedProgramError
    from modelpack.image import default_reference
    from modelpack.store import Store
    from modelpack.trust import check

    is_look = plan_only or save is not None or output is not None
    _refuse_contradictions(is_look=is_look, offline=offline, yes=yes)
    flags = {"target": target, "host": host, "port": port}
    flags |= {"region": region, "mode": mode, "instance": instance}
    settings = _settings(load_project(file), flags)
    if settings.target:
        place = _target(settings.target, option or [])
    else:
        place = _where_it_stands(name or _name_of(tag, file), option or [])
    store = Store()
    entry = bundle_for(tag, store, folder=file)
    check(store, entry, "deploy")
    if store.bundle_manifest(entry).program is not None:
        raise WrappedProgramError(entry.tag, entry.tag)
    spec = rollout.spec_for(entry, settings, name=name, image=default_reference(entry.tag))
    if output is not None:
        _write(rollout.render(place, spec), output)
        if not (plan_only or save):
            return
    plan = rollout.plan_deployment(place, spec, offline=offline)
    if save is not None:
        _save(place, plan, save, base=base, is_shown=not plan_only)
    if is_look:
        if plan_only:
            applying.print_plan(plan, form)
        raise typer.Exit(applying.PLAN_HAS_CHANGES if exit_code and not plan.is_empty else 0)
    applying.show_and_apply(place, plan, yes=yes, form=form, what="deploy", base=base)


def _refuse_contradictions(*, is_look: bool, offline: bool, yes: bool) -> None:
    from modelpack.errors import UsageError

    if is_look and yes:
        raise UsageError(
            "'--yes' applies a plan, and '--plan', '--save' and '--output' only look",
            hint="take one of them out; a kept plan is applied by 'modelpack apply FILE'",
        )
    if offline and not is_look:
        raise UsageError(
            "'--offline' asks nobody, so nothing can be applied",
            hint="give '--plan', '--save FILE' or '--output DIR' with it",
        )


def _write(rendered: Rendered, folder: Path) -> None:
    """Write the files and print their paths."""
    for file in rendered.write(folder):
        console.out(file)


def _save(place: Target, plan: Plan, file: Path, *, base: str | None, is_shown: bool) -> None:
    from modelpack.deploy import saved

    saved.save(file, saved.SavedPlan(plan=plan, options=place.options, base=base))
    if is_shown:
        console.note(plan.describe())
    console.note(f"kept: 'modelpack apply {file}' applies it")


def _settings(project: Project, flags: Mapping[str, object]) -> DeploySettings:
    """Lay user file, project and flags over each other; raises UsageError."""
    from modelpack.config.layers import deploy_settings, project_layer

    return deploy_settings(project_layer(project, "deploy"), flags).settings


def _name_of(tag: str | None, file: Path) -> str:
    """Return the name that the deployment gets when none is given: the bundle's."""
    from modelpack.cli.project import bundle_name
    from modelpack.tag import Tag

    return bundle_name(file) if tag is None else Tag.parse(tag).name


def _where_it_stands(name: str, options: list[str]) -> Target:
    """Return the target at which a deployment stands that was made from here; raises UsageError."""
    from modelpack.deploy import records, survey
    from modelpack.deploy.catalog import installed
    from modelpack.errors import UsageError

    record = records.read(name)
    if record is None or survey.is_gone(record):
        raise UsageError(
            "no target: say where to deploy to",
            hint=f"give '--target', one of {', '.join(installed().names)}, or set deploy.target",
        )
    console.note(f"'{name}' stands at target '{record.target}', so it goes there")
    return _target(record.target, options, record.options)


def _target(name: str, options: list[str], known: Mapping[str, str] | None = None) -> Target:
    """Return a target with its options, those of ``known`` but for what is given anew."""
    from modelpack.deploy.catalog import target
    from modelpack.errors import UsageError

    values = dict(known or {})
    for option in options:
        key, equals, value = option.partition("=")
        if not (key and equals):
            raise UsageError(
                f"--option: '{option}' is not KEY=VALUE", hint="such as '--option context=staging'"
            )
        values[key] = value
    return target(name, values)
