"""``modelpack servers``: what is served on this machine, seen and changed while it runs.

$MODELPACK_HOME/run/PID.json ──► those that run ──admin socket──► status, scale, swap

Every ``modelpack serve`` of this user leaves a note there; what a killed one left is removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption
from modelpack.errors import UsageError

if TYPE_CHECKING:
    from modelpack.cli.running import Running

ServerArgument = Annotated[
    str, typer.Argument(metavar="SERVER", help="process id, port, or name of the service")
]


def group(context: typer.Context) -> None:
    """
    $ modelpack servers list
    $ modelpack servers swap digits digits:latest

    Look at the servers of this machine, and change them while they run.
    """
    if context.invoked_subcommand is None:
        console.out(context.get_help())


def list_servers(form: FormatOption = Format.TEXT) -> None:
    """
    $ modelpack servers list

    List what is served on this machine by 'modelpack serve'.
    """
    from modelpack.cli.running import all_running

    found = all_running()
    if form is Format.JSON:
        console.out_json([one.to_json() for one in found])
    elif not found:
        console.note("nothing is served: 'modelpack serve' does")
    else:
        rows = [(one.service, str(one.pid), one.tag, one.url, one.grpc or "") for one in found]
        console.table(("service", "pid", "tag", "url", "grpc"), rows)


def status(server: ServerArgument, form: FormatOption = Format.TEXT) -> None:
    """
    $ modelpack servers status digits

    Show what a server serves, and by which processes.
    """
    from modelpack.cli.running import find

    _show(find(server).ask("GET", "/status"), form)


def scale(
    server: ServerArgument,
    replicas: Annotated[
        int | None,
        typer.Option("--replicas", metavar="N", min=1, help="how often the service is loaded"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, help="processes that read requests"),
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack servers scale digits --replicas 4

    Change how many replicas or workers a server has. No request is lost.

    The number of workers can be changed when the server was started with more than one.
    """
    from modelpack.cli.running import find

    if replicas is None and workers is None:
        raise UsageError("nothing to change", hint="give --replicas or --workers")
    found = find(server)
    if workers is not None:
        answer = found.ask("POST", "/workers", {"workers": workers})
    if replicas is not None:
        answer = found.ask("POST", "/scale", {"replicas": replicas})
    _show(answer, form)


def swap(
    server: ServerArgument,
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="TAG of a bundle, or model.onnx; default: reload"),
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack servers swap digits digits:latest

    Let a running server answer with another version. No request is lost.

    The new version is loaded and warmed up beside the old one; if it does not load, the old one goes
    on. A bundle must be locked with the same packages as the one that runs.
    """
    from modelpack.cli.running import find

    found = find(server)
    _show(found.ask("POST", "/swap", _order(source, found)), form)


def _order(source: str | None, server: Running) -> dict[str, str]:
    """Return what to ask for; raises as ``serve`` does for a source that is not there."""
    from modelpack.cli.source import BundleSource, ModelSource, source_of

    if source is None:
        return {}
    match source_of(source):
        case ModelSource(file):
            return {"model": str(file.absolute())}
        case BundleSource(tag):
            from modelpack.embed import unpacked
            from modelpack.store import Kind, Store
            from modelpack.trust import check

            store = Store()
            entry = store.find(tag, Kind.BUNDLE)
            check(store, entry, "serve")
            return {"bundle": str(unpacked(store, entry)), "tag": str(entry.tag)}
    raise UsageError(
        f"'{source}' is a project, which a server takes only as it starts",
        hint=f"leave it out to load the code of '{server.service}' anew",
    )


def _show(facts: dict[str, Any], form: Format) -> None:
    if form is Format.JSON:
        console.out_json(facts)
        return
    workers = ", ".join(f"{one['pid']} {one['state']}" for one in facts["workers"])
    names = ("service", "state", "tag", "url", "grpc", "faces", "pid")
    shown = {name: value for name in names if (value := facts.get(name)) not in ("", None)}
    console.facts(
        {
            **shown,
            "workers": workers,
            "replicas": facts["replicas"],
            "runner": facts["runner"] or "not known yet",
        }
    )


COMMANDS = {"list": list_servers, "status": status, "scale": scale, "swap": swap}
