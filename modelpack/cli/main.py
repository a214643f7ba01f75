"""Puts the commands together and turns what happens into an exit status.

argv ──typer──► command ─┬─ returns ──────► 0
                         ├─ typer.Exit(n) ► n      a status that is not an error
                         └─ raises ───────► failures.report ──► 1, 2, 3, 4, 5, 6, 130
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from modelpack.cli import console, failures
from modelpack.cli.grammar import Command, Group

OUTPUT_CLOSED = 141
"""What a shell reports of a program that SIGPIPE ended; nothing is said."""


def run() -> None:
    """Run the command line of this process and exit: the entry point."""
    sys.exit(main(sys.argv[1:]))


def main(args: Sequence[str]) -> int:
    """Run one command and return its exit status; whatever fails is reported, not raised."""
    console.set_verbose(False)
    try:
        return _reported(args)
    except console.OutputClosedError:
        # What is still buffered must not fail once more while the interpreter shuts down.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        return OUTPUT_CLOSED


def _reported(args: Sequence[str]) -> int:
    try:
        return _invoke(args)
    except console.OutputClosedError:
        raise
    except (Exception, KeyboardInterrupt) as error:  # nobody sees a traceback by our fault
        return failures.report(error)


def _invoke(args: Sequence[str]) -> int:
    command = typer.main.get_command(make_app())
    try:
        with command.make_context("modelpack", list(args)) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


def make_app() -> typer.Typer:
    """Return the command line as typer knows it."""
    from modelpack.cli import (
        apply,
        autoscale,
        batch,
        bench,
        build,
        call,
        completion,
        config,
        containerize,
        copy,
        delete,
        deploy,
        deployments,
        diff,
        doctor,
        export,
        gc,
        history,
        image,
        import_,
        init,
        inspect,
        list_,
        login,
        models,
        plugin,
        pull,
        push,
        serve,
        servers,
        sign,
        tag,
        undelete,
        verify,
    )

    app = _typer()
    app.callback(cls=Group, invoke_without_command=True)(root)
    for name, function in (
        ("init", init.init),
        ("serve", serve.serve),
        ("call", call.call),
        ("bench", bench.bench),
        ("batch", batch.batch),
        ("build", build.build),
        ("list", list_.list_bundles),
        ("inspect", inspect.inspect_bundle),
        ("diff", diff.diff),
        ("history", history.history),
        ("tag", tag.tag),
        ("delete", delete.delete),
        ("undelete", undelete.undelete),
        ("gc", gc.gc),
        ("export", export.export),
        ("import", import_.import_archive),
        ("sign", sign.sign),
        ("verify", verify.verify),
        ("login", login.login),
        ("logout", login.logout),
        ("push", push.push),
        ("pull", pull.pull),
        ("copy", copy.copy),
        ("containerize", containerize.containerize),
        ("deploy", deploy.deploy),
        ("apply", apply.apply),
        ("doctor", doctor.doctor),
        ("completion", completion.completion),
    ):
        app.command(name, cls=Command)(function)
    app.command("__complete", cls=Command, hidden=True)(completion.complete)
    groups = {
        "models": models,
        "image": image,
        "servers": servers,
        "deployments": deployments,
        "plugin": plugin,
        "autoscale": autoscale,
        "config": config,
    }
    for name, module in groups.items():
        group = _typer()
        group.callback(cls=Group, invoke_without_command=True)(module.group)
        for inner, function in module.COMMANDS.items():
            group.command(inner, cls=Command)(function)
        app.add_typer(group, name=name)
    return app


def root(context: typer.Context, version: bool = typer.Option(False, "--version")) -> None:
    """
    $ modelpack init digits --template onnx && cd digits
    $ python train.py
    $ modelpack serve

    modelpack turns a trained model and its code into a service that people can run, ship and trust.
    """
    if version:
        from modelpack.version import __version__

        console.out(f"modelpack {__version__}")
    elif context.invoked_subcommand is None:
        console.out(context.get_help())


def _typer() -> typer.Typer:
    return typer.Typer(
        cls=Group,
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
