"""What ``containerize`` does: finds the bundle, plans its images, and has them made.

    Asked ──plans_of──► ImagePlan for each platform, within its budget
                          ├─► show, write_dockerfile     nothing is built
                          └─► make ─┬─► engine           one platform, this machine's
                                    └─► none             any, several in one index

Where no engine answers, the image is made without one, if its base is to be had.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelpack.cli import console
from modelpack.cli.containerize_options import Asked, Engine
from modelpack.cli.grammar import Format
from modelpack.errors import (
    BuildError,
    ModelpackError,
    NotFoundError,
    RegistryError,
    ToolMissingError,
    UsageError,
)

if TYPE_CHECKING:
    from modelpack.image import ImagePlan
    from modelpack.store import Entry, Store


def plans_of(asked: Asked, store: Store) -> list[ImagePlan]:
    """Return a plan for each platform of the bundle that is asked for.

    Raises what finding, making and planning it raise, and UntrustedError by the policy.
    """
    from modelpack.archive.platforms import parse_platforms
    from modelpack.cli.project import image_settings_of
    from modelpack.image import plan_image
    from modelpack.trust import check

    entry = _bundle(asked, store)
    check(store, entry, "containerize")
    settings = image_settings_of(entry, store)
    program = store.bundle_manifest(entry).program
    compiled_for = program.platform if program is not None else None
    wanted = asked.platforms or parse_platforms([compiled_for] if compiled_for else [])
    return [
        plan_image(store, entry, settings, base=asked.base, cuda=asked.cuda, platform=one)
        for one in wanted
    ]


def _bundle(asked: Asked, store: Store) -> Entry:
    """Return the bundle, after making it of a model or a program if that is asked for."""
    from modelpack.cli.project import bundle_for

    if asked.wrap is not None:
        from modelpack.image.wrap import bundle_of_program

        return bundle_of_program(
            asked.wrap,
            store,
            port=asked.port or 0,
            arguments=asked.words,
            name=asked.name,
            progress=console.Steps(),
        )
    word = asked.words[0] if asked.words else None
    path = _path_of(word, store)
    if path is not None and not _is_project(path):
        from modelpack.image.wrap import bundle_around

        return bundle_around(path, store, name=asked.name, progress=console.Steps())
    if asked.name is not None:
        raise UsageError(
            "--name is for a bundle that is made of a model or a program",
            hint="--reference names the image",
        )
    return bundle_for(None, store, folder=path) if path is not None else bundle_for(word, store)


def _path_of(word: str | None, store: Store) -> Path | None:
    """Return the file or folder that a word means, None when it is the tag of a bundle.

    A bundle of that name comes first: who stands beside the project ``digits`` means what it became.
    """
    import os

    from modelpack.store import Kind
    from modelpack.tag import Tag

    if word is None:
        return None
    path = Path(word)
    if os.sep in word or word in (".", "..") or word.endswith(".onnx"):
        return path
    if not path.exists():
        return None
    try:
        store.find(Tag.parse(word), Kind.BUNDLE)
    except ModelpackError:
        return path
    return None


def _is_project(path: Path) -> bool:
    from modelpack.config.load import load_project

    if not path.is_dir():
        return False
    return (path / "service.py").is_file() or load_project(path).source is not None


def show(asked: Asked, plans: Sequence[ImagePlan], form: Format) -> None:
    """Print the plans, and raise TooLargeError for one that is too large."""
    if form is Format.JSON:
        found = [plan.to_json() for plan in plans]
        console.out_json(found if len(asked.platforms) > 1 else found[0])
    else:
        console.out("\n\n".join("\n".join(plan.describe()) for plan in plans))
    check_budgets(asked, plans)


def check_budgets(asked: Asked, plans: Sequence[ImagePlan]) -> None:
    """Raise TooLargeError for a plan that is too large; say what could not be counted."""
    from modelpack.image.budget import check_budget
    from modelpack.image.plan import listed

    for plan in plans:
        limit = _limit(asked, plan)
        if limit is not None and (left := check_budget(plan, limit)):
            names = listed(left)
            console.note(
                f"{plan.platform.name}: the size of {names} is not known before, "
                "so that the image is weighed when it is made"
            )


def _limit(asked: Asked, plan: ImagePlan) -> int | None:
    return asked.max_size_bytes if asked.max_size_bytes is not None else plan.max_size_bytes


def write_dockerfile(
    asked: Asked, plan: ImagePlan, store: Store, folder: Path, form: Format
) -> None:
    """Write the Dockerfile of a plan and the files that it copies, and print where."""
    from modelpack.archive.platforms import host_platform
    from modelpack.image import default_reference, write_context

    check_budgets(asked, [plan])
    written = write_context(plan, store, folder)
    flag = "" if plan.platform == host_platform() else f"--platform {plan.platform.name} "
    name = default_reference(plan.entry.tag)
    console.note(f"build it with: docker build {flag}-t {name} {folder}")
    if form is Format.JSON:
        console.out_json({"context": str(written.resolve()), "platform": plan.platform.name})
    else:
        console.out(written.resolve())


def make(asked: Asked, plans: Sequence[ImagePlan], store: Store, form: Format) -> None:
    """Make the image of the plans, and print what it is called."""
    check_budgets(asked, plans)
    for plan in plans:
        console.note(
            f"image of {plan.entry.tag} for {plan.platform.name} on {plan.base.image}: "
            f"{plan.base.reason}"
        )
        for warning in plan.warnings:
            console.warn(warning)
    if asked.is_direct or _is_for_elsewhere(asked, plans[0]):
        if asked.engine is Engine.AUTO:
            why = asked.only_direct or f"a program for {plans[0].platform.name}"
            console.note(f"made without an engine, which '{why}' needs")
        _make_without(asked, plans, store, form)
        return
    try:
        _make_with_engine(asked, plans[0], store, form)
    except ToolMissingError as missing:
        if asked.engine is not Engine.AUTO or asked.secrets or asked.network:
            raise
        console.note(f"{missing.message}: the image is made without an engine")
        try:
            _make_without(asked, plans, store, form)
        except (BuildError, NotFoundError, RegistryError, UsageError) as cause:
            raise ToolMissingError(
                f"{missing.message}, and without one: {cause.message}",
                hint="start an engine; or give --base as oci:DIR or HOST/NAME:TAG; or write a "
                "Dockerfile with --dockerfile DIR",
            ) from cause


def _is_for_elsewhere(asked: Asked, plan: ImagePlan) -> bool:
    """Say whether a program was compiled for another platform, which no engine here could run."""
    from modelpack.archive.platforms import host_platform

    is_other = plan.program is not None and plan.platform != host_platform()
    if is_other and asked.engine is not Engine.AUTO:
        raise UsageError(
            f"the program was compiled for {plan.platform.name}, and no engine can build that here",
            hint="use --engine none, with a --base for that platform",
        )
    return is_other


def _make_with_engine(asked: Asked, plan: ImagePlan, store: Store, form: Format) -> None:
    from modelpack.config.units import format_size
    from modelpack.image import BuildSecret, build_image
    from modelpack.image.budget import check_size

    made = build_image(
        plan,
        store,
        reference=asked.reference,
        engine=asked.engine,
        secrets=[BuildSecret.parse(text) for text in asked.secrets],
        use_cache=not asked.no_cache,
        network=asked.network,
        progress=console.Steps(),
    )
    console.note(f"{format_size(made.size_bytes)}, id {made.id.removeprefix('sha256:')[:12]}")
    if (limit := _limit(asked, plan)) is not None:
        check_size(made.reference, made.size_bytes, limit)
    facts = {
        "reference": made.reference,
        "id": made.id,
        "size_bytes": made.size_bytes,
        "platform": plan.platform.name,
    }
    _print(form, facts, [made.reference])


def _make_without(asked: Asked, plans: Sequence[ImagePlan], store: Store, form: Format) -> None:
    from modelpack.cli.transfers import counted
    from modelpack.config.units import format_size
    from modelpack.image.budget import check_size
    from modelpack.image.direct import build_direct

    tag = plans[0].entry.tag
    with counted("move") as counts:
        made = build_direct(
            plans,
            store,
            base=asked.base,
            outputs=asked.outputs or (f"oci:{tag.name}-{tag.version}.oci",),
            reference=asked.reference,
            compress=asked.compress,
            options=asked.options,
            progress=console.Steps(),
            counts=counts,
        )
    for plan, image in zip(plans, made.images, strict=True):
        console.note(f"{plan.platform.name}: {format_size(image.size_bytes)}, {image.digest[:19]}")
    for one in made.written:
        kept = f", {format_size(one.kept_bytes)} were there" if one.kept_bytes else ""
        console.note(f"{one.output}: {format_size(one.new_bytes)} written{kept}")
    for plan, image in zip(plans, made.images, strict=True):
        if (limit := _limit(asked, plan)) is not None:
            check_size(f"{made.reference} for {plan.platform.name}", image.size_bytes, limit)
    _print(form, made.to_json(), [str(one.output) for one in made.written])


def _print(form: Format, facts: dict[str, Any], names: Sequence[str]) -> None:
    if form is Format.JSON:
        console.out_json(facts)
    else:
        console.out("\n".join(names))
