"""``modelpack deployments``: what is deployed, and how it is."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="name of the deployment")]
TargetOption = Annotated[
    str | None,
    typer.Option("-t", "--target", metavar="TARGET", help="where it stands, if at several"),
]


def group(context: typer.Context) -> None:
    """
    $ modelpack deployments list
    $ modelpack deployments logs digits --follow

    Look at deployments, read their logs, remove them.
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


def status(
    name: NameArgument, target: TargetOption = None, form: FormatOption = Format.TEXT
) -> None:
    """
    $ modelpack deployments status digits

    Show how a deployment is.
    """
    from modelpack.deploy import survey

    found = survey.find(name, at=target).status(name)
    if form is Format.JSON:
        console.out_json(found.to_json())
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
            "restarts": found.restarts,
        }
    )


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


def destroy(name: NameArgument, target: TargetOption = None) -> None:
    """
    $ modelpack deployments destroy digits

    Stop a deployment and leave nothing of it.

    The bundle and the image stay.
    """
    from modelpack.deploy import survey

    with console.Steps().step(f"destroy the deployment {name}"):
        survey.destroy(name, at=target)


COMMANDS = {"list": list_deployments, "status": status, "logs": logs, "destroy": destroy}
