"""``modelpack image run``: an image in a container, until it is stopped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from modelpack.cli import console, signals
from modelpack.cli.grammar import Format, FormatOption

if TYPE_CHECKING:
    from modelpack.image.running import Running


def run(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="NAME:TAG in the engine, or registry:HOST/NAME:TAG, which it pulls"
        ),
    ],
    *,
    port: Annotated[
        int | None,
        typer.Option(
            "-p",
            "--port",
            metavar="PORT",
            help="port on this machine; default: the image's own, 0: a free one",
        ),
    ] = None,
    container_port: Annotated[
        int | None,
        typer.Option(
            "--container-port", metavar="PORT", help="port in the container; default: what it names"
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option("--memory", metavar="SIZE", help="most memory it may take, such as 512MiB"),
    ] = None,
    cpus: Annotated[
        float | None,
        typer.Option("--cpus", metavar="NUMBER", help="processors it may use, such as 1.5"),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            "--gpus",
            metavar="all|none|N",
            help="GPUs it gets; default: all where the image wants them and the engine has some",
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "-e", "--env", metavar="NAME=VALUE", help="variable; NAME alone as here; repeatable"
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="of the container; default: made up"),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="leave it running and return when it is ready")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack image run digits:1 --memory 512MiB --cpus 1

    Run an image and print its URL when it answers.

    It runs in the engine of this machine, reachable from this machine alone, with a read-only root, no
    capabilities and no way to gain any. Ctrl-C stops it, so that accepted requests are answered, and
    removes it.
    """
    from modelpack.image.running import NotReadyError, RunOptions, run_image

    options = RunOptions.of_words(
        port=port,
        container_port=container_port,
        memory=memory,
        cpus=cpus,
        gpus=gpus,
        env=env or (),
        name=name,
    )
    with signals.as_interrupts():
        try:
            running = run_image(reference, options, progress=console.Steps())
        except NotReadyError as error:
            for line in error.log_lines:
                console.note(f"  {console.harmless(line)}")
            raise
        if detach:
            _tell(running, form)
            console.note(f"'docker rm -f {running.name}' ends it")
            return
        try:
            _tell(running, form)
            _follow(running)
        except KeyboardInterrupt:  # the usual way to end it
            console.note(f"stopping {running.name}")
        finally:
            _remove(running)


def _tell(running: Running, form: Format) -> None:
    console.note(f"{running.name} is ready ({console.duration(running.seconds)})")
    if form is Format.JSON:
        facts = {"name": running.name, "id": running.id, "url": running.url}
        console.out_json({**facts, **running.addresses})
        return
    console.out(running.url)
    for name, address in running.addresses.items():
        console.note(f"{name}: {address}")


def _follow(running: Running) -> None:
    """Show what the container says until it ends; raises EngineError when that was its own doing."""
    from modelpack.errors import EngineError

    for data in running.logs():
        sys.stderr.write(data.decode(errors="replace"))
        sys.stderr.flush()
    status, is_out_of_memory = running.end()
    if is_out_of_memory:
        raise EngineError("the container was out of memory", hint="give it more with '--memory'")
    if status:
        raise EngineError(f"the container ended with status {status}")


def _remove(running: Running) -> None:
    """Stop and remove it; whoever presses Ctrl-C once more does not wait for its requests."""
    try:
        running.remove()
    except KeyboardInterrupt:
        running.remove(grace_s=0)
