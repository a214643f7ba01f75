"""``modelpack containerize``: an image of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption


def containerize(
    tag: Annotated[
        str | None,
        typer.Argument(metavar="TAG", help="bundle; default: the last build of this project"),
    ] = None,
    *,
    base: Annotated[
        str | None, typer.Option("--base", metavar="IMAGE", help="base image to build on")
    ] = None,
    cuda: Annotated[
        str | None,
        typer.Option("--cuda", metavar="X.Y", help="build on an nvidia/cuda base of that version"),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="NAME", help="name of the image; default: the tag"),
    ] = None,
    dockerfile: Annotated[
        Path | None,
        typer.Option(
            "--dockerfile", metavar="DIR", help="write Dockerfile and context there, build nothing"
        ),
    ] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="show base, layers and size, build nothing")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack containerize

    Make a container image of a bundle.

    It is built by the container engine of this machine. The base is chosen from what the bundle's lock
    needs, and the plan says why. With --dockerfile no
    engine is needed: 'docker build DIR' makes the same image elsewhere.
    """
    from modelpack.cli.project import bundle_for, image_settings_of
    from modelpack.config.units import format_size
    from modelpack.image import build_image, default_reference, plan_image, write_context
    from modelpack.store import Store
    from modelpack.trust import check

    store = Store()
    entry = bundle_for(tag, store)
    check(store, entry, "containerize")
    plan = plan_image(store, entry, image_settings_of(entry, store), base=base, cuda=cuda)
    if dockerfile is not None:
        folder = write_context(plan, store, dockerfile)
        console.note(f"build it with: docker build -t {default_reference(entry.tag)} {dockerfile}")
        console.out(folder.resolve())
        return
    if plan_only:
        if form is Format.JSON:
            console.out_json(plan.to_json())
        else:
            console.out("\n".join(plan.describe()))
        return
    console.note(f"image of {entry.tag} on {plan.base.image}: {plan.base.reason}")
    for warning in plan.warnings:
        console.warn(warning)
    made = build_image(plan, store, reference=reference, progress=console.Steps())
    console.note(f"{format_size(made.size_bytes)}, id {made.id.removeprefix('sha256:')[:12]}")
    if form is Format.JSON:
        console.out_json(
            {"reference": made.reference, "id": made.id, "size_bytes": made.size_bytes}
        )
    else:
        console.out(made.reference)
