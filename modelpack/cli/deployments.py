"""``modelpack deployments``: what is deployed, and how it is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption

if TYPE_CHECKING:
    from modelpack.deploy import Revision

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="name of the deployment")]
TargetOption = Annotated[
    str | None,
    typer.Option("-t", "--target", metavar="TARGET", help="where it stands, if at several"),
]

PlanOption = Annotated[bool, typer.Option("--plan", help="show what would change, change nothing")]
YesOption = Annotated[bool, typer.Option("-y", "--yes", help="do not ask")]


def group(context: typer.Context) -> None:
    """
    $ modelpack deployments list
    $ modelpack deployments logs digits --follow
    $ modelpack deployments rollback digits

    Look at deployments, read their logs, go back, scale and remove them.
    """
    if context.invoked_subcommand is None:
        console.out(context.get_help())


def list_deployments(form: FormatOption = Format.TEXT) -> None:
    """
    $ modelpack deployments list

    List the deployments of every target.
    """
    from modelpack.deploy import survey

    listing = survey.list_deployments()
    for problem in listing.problems:
        console.warn(problem)
    if form is Format.JSON:
        console.out_json([status.to_json() for status in listing.statuses])
    elif not listing.statuses:
        console.note("no deployments yet: 'modelpack deploy --target docker' makes one")
    else:
        rows = [
            (one.name, one.target, str(one.state), one.bundle or "not known", one.url or "")
            for one in listing.statuses
        ]
        console.table(("name", "target", "state", "bundle", "url"), rows)
        for one in listing.statuses:
            if one.meanwhile:
                console.note(f"'{one.name}' is not found healthy yet: {one.meanwhile}")


def status(
    name: NameArgument, target: TargetOption = None, form: FormatOption = Format.TEXT
) -> None:
    """
    $ modelpack deployments status digits

    Show how a deployment is.
    """
    from modelpack.deploy import journal, planning, records, survey

    place = survey.find(name, at=target)
    found = place.status(name)
    drift = planning.drift(place, name)
    open_one = None if records.is_locked(name) else journal.interrupted(name)
    if form is Format.JSON:
        drifted = [change.to_json() for change in drift]
        cut_short = None if open_one is None else {"revision": open_one.revision}
        console.out_json({**found.to_json(), "drift": drifted, "interrupted": cut_short})
        return
    console.facts(
        {
            "name": found.name,
            "target": found.target,
            "state": f"{found.state}: {found.detail}" if found.detail else found.state,
            "bundle": found.bundle or "not known",
            "revision": found.revision or "not known",
            "url": found.url or "not to be reached from here",
            "since": (found.since or "not known").replace("T", " "),
            **({"replicas": str(found.replicas).replace("T", " ")} if found.replicas else {}),
            "restarts": found.restarts,
            **({"meanwhile": found.meanwhile} if found.meanwhile else {}),
        }
    )
    if drift:
        lines = [line for change in drift for line in change.lines()[1:]]
        console.section("changed since the last apply, and not by modelpack", lines)
    if open_one is not None:
        console.note(f"an apply of revision '{open_one.revision}' was cut short: deploy it again")


def metrics(
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="write them there, all at once"),
    ] = None,
) -> None:
    """
    $ modelpack deployments metrics --output /var/lib/node_exporter/modelpack.prom

    Print how all deployments are, for Prometheus.

    Nobody who sleeps is woken. A file is replaced as a whole, as the textfile collector of a node exporter wants it.
    """
    from modelpack.deploy import exposition, survey
    from modelpack.errors import UsageError

    listing = survey.list_deployments()
    for problem in listing.problems:
        console.warn(problem)
    text = exposition.text_of(listing.statuses)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        exposition.write(output, text)
    except OSError as cause:
        raise UsageError(
            f"cannot write '{output}': {(cause.strerror or str(cause)).lower()}",
            hint="name a file in a folder that is there and that this user may write to",
        ) from cause


def logs(
    name: NameArgument,
    target: TargetOption = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="go on until the service ends")
    ] = False,
    tail: Annotated[
        int | None, typer.Option("-n", "--tail", metavar="COUNT", min=0, help="only the last lines")
    ] = None,
) -> None:
    """
    $ modelpack deployments logs digits --tail 20

    Print what the service wrote.

    On a terminal, control characters in it are shown and not obeyed.
    """
    from modelpack.deploy import survey

    is_terminal = console.is_terminal(sys.stdout)
    for line in survey.find(name, at=target).logs(name, follow=follow, tail=tail):
        console.out(console.harmless(line) if is_terminal else line)


def history(
    name: NameArgument, target: TargetOption = None, form: FormatOption = Format.TEXT
) -> None:
    """
    $ modelpack deployments history digits

    List the revisions that were found healthy, oldest first.

    'modelpack deployments rollback' goes back to one of them.
    """
    from modelpack.deploy import survey

    place = survey.find(name, at=target)
    runs = place.status(name).revision
    known = place.history(name)
    if form is Format.JSON:
        console.out_json([{**one.to_json(), "runs": one.id == runs} for one in known])
    elif not known:
        console.note("nothing is known of its revisions on this machine")
    else:
        rows = [
            (
                one.id,
                one.bundle,
                (one.since or "not known").replace("T", " "),
                "runs" if number == _last_of(known, runs) else one.note or "",
            )
            for number, one in enumerate(known)
        ]
        console.table(("revision", "bundle", "since", ""), rows)


def _last_of(known: Sequence[Revision], revision: str | None) -> int:
    """Return the place of the newest entry of a revision; -1: it is not there."""
    return max((n for n, one in enumerate(known) if one.id == revision), default=-1)


def rollback(
    name: NameArgument,
    revision: Annotated[
        str | None,
        typer.Argument(
            metavar="REVISION", help="id or bundle of the history; default: the one before"
        ),
    ] = None,
    *,
    target: TargetOption = None,
    plan_only: PlanOption = False,
    yes: YesOption = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack deployments rollback digits

    Go back to a revision that was healthy before.

    It is a deploy like any other: what would change is shown, and one that does not become healthy is
    taken back.
    """
    from modelpack.cli import applying
    from modelpack.deploy import rollout, survey

    place = survey.find(name, at=target)
    plan = rollout.plan_rollback(place, name, revision)
    applying.ask_policy(plan.spec, may_be_gone=True)
    if plan_only:
        applying.print_plan(plan, form)
        return
    applying.show_and_apply(place, plan, yes=yes, form=form, what="a rollback")


def scale(
    name: NameArgument,
    *,
    fewest: Annotated[
        int | None, typer.Option("--min", metavar="COUNT", help="fewest replicas")
    ] = None,
    most: Annotated[
        int | None, typer.Option("--max", metavar="COUNT", help="most replicas")
    ] = None,
    target: TargetOption = None,
    plan_only: PlanOption = False,
    yes: YesOption = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack deployments scale digits --min 2 --max 8

    Change how many replicas a deployment has.

    It holds until the next deploy, which brings back what the project says.
    """
    from modelpack.cli import applying
    from modelpack.deploy import rollout, survey
    from modelpack.errors import UsageError

    if fewest is None and most is None:
        raise UsageError("how many replicas?", hint="give '--min', '--max' or both")
    place = survey.find(name, at=target)
    plan = rollout.plan_scale(place, name, fewest=fewest, most=most)
    applying.ask_policy(plan.spec, may_be_gone=True)
    if plan_only:
        applying.print_plan(plan, form)
        return
    applying.show_and_apply(place, plan, yes=yes, form=form, what="scaling")


def destroy(
    name: NameArgument,
    target: TargetOption = None,
    *,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="its target is gone for good: drop what is kept of it here"),
    ] = False,
    yes: YesOption = False,
) -> None:
    """
    $ modelpack deployments destroy digits

    Stop a deployment and leave nothing of it.

    What goes is listed first, and the name has to be typed, unless '--yes' is given. The bundle and
    the image stay.
    """
    from modelpack.deploy import survey
    from modelpack.errors import (
        CredentialsError,
        EngineError,
        TargetNotFoundError,
        ToolMissingError,
        UnreachableError,
    )

    if forget:
        _forget(name, yes=yes)
        return
    try:
        place = survey.find(name, at=target)
    except (
        CredentialsError,
        EngineError,
        TargetNotFoundError,
        ToolMissingError,
        UnreachableError,
    ) as error:
        more = "if it is gone for good, '--forget' drops what is kept of it here"
        error.hint = f"{error.hint}; {more}" if error.hint else more
        raise
    console.note(f"deployment '{name}' at target '{place.name}' goes, with:")
    for resource in place.inventory(name):
        console.note(f"  - {console.harmless(resource)}")
    _ask_consent(name, yes=yes)
    with console.Steps().step(f"destroy the deployment {name}"):
        survey.destroy(name, at=place.name)


def _forget(name: str, *, yes: bool) -> None:
    from modelpack.deploy import survey

    console.note(f"what is kept of '{name}' here goes; where it ran, nothing is removed")
    _ask_consent(name, yes=yes)
    record = survey.forget(name)
    console.note(f"forgotten: '{name}' at target '{record.target}'")


def _ask_consent(name: str, *, yes: bool) -> None:
    """Ask for the name to be typed; ends the command with 1 when it is not."""
    if not yes and not console.ask_for(name, "type its name to go on:", what="destroying"):
        console.note("nothing was changed")
        raise typer.Exit(1)


COMMANDS = {
    "list": list_deployments,
    "status": status,
    "metrics": metrics,
    "logs": logs,
    "history": history,
    "rollback": rollback,
    "scale": scale,
    "destroy": destroy,
}
