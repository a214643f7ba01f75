"""``modelpack containerize``: an image of a bundle, a model or a program.

TAG, PATH or --wrap ──► bundle ──► policy ──► plan for each platform ─┬─► --plan, --dockerfile
                                                   size budget ───────┴─► engine, or none
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelpack.cli.containerize_options import Engine
from modelpack.cli.grammar import Format, FormatOption
from modelpack.cli.transfers import InsecureOption


def containerize(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TAG|PATH",
            help="bundle, or model to make one of; default: the last build of this project",
        ),
    ] = None,
    *,
    engine: Annotated[
        Engine,
        typer.Option(
            "--engine",
            metavar="ENGINE",
            help="auto, docker, buildkit, podman, buildah; none: without one (auto)",
        ),
    ] = Engine.AUTO,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            metavar="PLACE",
            help="without an engine: oci:DIR, docker-archive:FILE, engine or HOST/NAME:TAG",
        ),
    ] = None,
    platform: Annotated[
        list[str] | None,
        typer.Option(
            "--platform",
            metavar="LIST",
            help="such as linux/amd64,linux/arm64; several make one index (this machine's)",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="IMAGE", help="base to build on; without an engine also oci:DIR"
        ),
    ] = None,
    cuda: Annotated[
        str | None,
        typer.Option("--cuda", metavar="X.Y", help="build on an nvidia/cuda base of that version"),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", metavar="SIZE", help="fail if it would be larger, as 500MB"),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="NAME", help="name of the image; default: the tag"),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            "--secret",
            metavar="SECRET",
            help="login of an index, lent to the build: id=NAME,src=FILE or id=NAME,env=VAR",
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="NETWORK",
            help="what an engine's build sees: host or none (the engine's own)",
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="let the engine make every layer anew")
    ] = False,
    compress: Annotated[
        bool, typer.Option("--compress", help="without an engine: gzip the packages")
    ] = False,
    wrap: Annotated[
        Path | None,
        typer.Option("--wrap", metavar="FILE", help="a program that speaks HTTP, instead of a TAG"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="PORT", help="port on which the wrapped program answers"),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="name of the bundle that is made of a PATH"),
    ] = None,
    dockerfile: Annotated[
        Path | None,
        typer.Option(
            "--dockerfile", metavar="DIR", help="write Dockerfile and context there, build nothing"
        ),
    ] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="show base, layers and sizes, build nothing")
    ] = False,
    insecure: InsecureOption = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack containerize
    $ modelpack containerize digits --engine none --output registry.example/digits:1
    $ modelpack containerize --wrap ./server --port 8080 -- --threads 2

    Make a container image of a bundle.

    An engine of this machine builds it: the first that answers. With --engine none, or where there is
    none, modelpack writes the image itself: the same bundle gives the same bytes, for every platform
    that it is locked for. The base is chosen from what the lock needs, and the plan says why.

    A PATH is a model.onnx or a folder such as MLflow writes; with --wrap it is any program, and what
    stands after '--' are its arguments.
    """
    from modelpack.cli import containerize_options, containerizing
    from modelpack.registry import Options
    from modelpack.store import Store

    asked = containerize_options.Asked(
        words=tuple(words or ()),
        engine=engine,
        outputs=tuple(output or ()),
        platforms=containerize_options.platforms(platform),
        base=base,
        cuda=cuda,
        max_size_bytes=containerize_options.size(max_size),
        reference=reference,
        secrets=tuple(secret or ()),
        network=network,
        no_cache=no_cache,
        compress=compress,
        wrap=wrap,
        port=port,
        name=name,
        dockerfile=dockerfile,
        plan_only=plan_only,
        options=Options(insecure=insecure),
    )
    containerize_options.check_options(asked)
    store = Store()
    plans = containerizing.plans_of(asked, store)
    if dockerfile is not None:
        containerizing.write_dockerfile(asked, plans[0], store, dockerfile, form)
    elif plan_only:
        containerizing.show(asked, plans, form)
    else:
        containerizing.make(asked, plans, store, form)
