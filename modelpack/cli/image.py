"""``modelpack image``: what is in images, wherever they are, and what a push of one costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption
from modelpack.cli.image_run import run
from modelpack.cli.transfers import InsecureOption

if TYPE_CHECKING:
    from modelpack.image.looking import ImageDifference, Looked, LookedLayer
    from modelpack.image.looking.difference import Changed

DIFFERENT = 10
"""Exit status with ``--exit-code`` when something differs."""

_LONGEST = 100
"""Characters of a step of a history that are shown; ``-o json`` has all."""
_REF_HELP = (
    "NAME:TAG, engine:NAME, registry:HOST/NAME:TAG, oci:DIR[:TAG], oci-archive:FILE "
    "or docker-archive:FILE[:NAME]"
)
RefArgument = Annotated[str, typer.Argument(metavar="REF", help=_REF_HELP)]
PlatformOption = Annotated[
    str | None,
    typer.Option(
        "--platform",
        metavar="OS/ARCH",
        help="which image of several, such as linux/arm64; default: this machine's",
    ),
]


def group(context: typer.Context) -> None:
    """
    $ modelpack image inspect digits:1

    Look into container images, compare and run them.

    An image is named by where it is: 'engine:NAME', 'registry:HOST/NAME:TAG', 'oci:DIR',
    'oci-archive:FILE', 'docker-archive:FILE'. NAME:TAG alone is in the engine, else in a registry.
    """
    if context.invoked_subcommand is None:
        console.out(context.get_help())


def inspect_image(
    reference: RefArgument,
    *,
    platform: PlatformOption = None,
    insecure: InsecureOption = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack image inspect digits:1

    Show what an image holds: layers, packages, models, settings.

    Every layer is read and checked once; nothing is unpacked onto the disk and nothing of the image is
    run. Sizes are bytes as they are stored, and bytes of the files.
    """
    looked, statements = _looked(reference, platform, insecure)
    if form is Format.JSON:
        console.out_json({**looked.to_json(), "referrers": statements})
        return
    console.facts(_facts(looked))
    own = [one for one in looked.packages if one.is_bundled]
    others = len(looked.packages) - len(own)
    sections = {
        f"layers ({len(looked.layers)})": list(_layers(looked.layers)),
        f"packages ({len(own)}{f', and {others} of the base' * bool(others)})": list(
            _columns([(f"{one.name} {one.version}", _size(one.size_bytes)) for one in own])
        ),
        "models": list(_columns([(name, _size(size)) for name, size in looked.models.items()])),
        "largest files": list(_columns([(p, _size(size)) for p, size in looked.largest()])),
        "variables": [f"{name}={value}" for name, value in _env(looked).items()],
        "labels": [f"{name}={value}" for name, value in sorted(looked.image.labels.items())],
        "statements": [f"{one['kind']}  {one['digest']}" for one in statements],
        "not as it should be": list(looked.odd),
    }
    for title, lines in sections.items():
        if lines:
            console.section(title, lines)


def history_image(
    reference: RefArgument,
    *,
    platform: PlatformOption = None,
    insecure: InsecureOption = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack image history digits:1

    Show how an image was made, layer by layer, the oldest first.
    """
    looked, _ = _looked(reference, platform, insecure)
    steps = looked.history()
    if form is Format.JSON:
        console.out_json(
            [
                {
                    "created": one.created or None,
                    "created_by": one.created_by,
                    "layer": one.layer and one.layer.to_json(),
                }
                for one in steps
            ]
        )
        return
    rows = []
    number = 0
    for step in steps:
        number += step.layer is not None
        layer = step.layer
        rows.append(
            (
                str(number) if layer else "",
                _size(layer.size_bytes) if layer else "",
                _size(layer.unpacked_bytes) if layer else "",
                layer.what if layer else "settings",
                console.harmless(_cut(step.created_by)),
            )
        )
    console.table(("layer", "stored", "files", "what", "created by"), rows)


def diff_images(
    a: Annotated[str, typer.Argument(metavar="A", help="image to start from, as for 'inspect'")],
    b: Annotated[str, typer.Argument(metavar="B", help="image to compare it with")],
    *,
    platform: PlatformOption = None,
    insecure: InsecureOption = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="exit with 10 when something differs")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack image diff digits:1 digits:2

    Show what differs in B, and how much a push of it sends.

    Layers that A has need not be sent where A is. An engine compresses layers as it pushes them: where
    one of the two is in an engine, the bytes are those before compression.
    """
    from modelpack.image.looking import compare_images

    (old, _), (new, _) = (_looked(one, platform, insecure) for one in (a, b))
    found = compare_images(old, new)
    if form is Format.JSON:
        console.out_json(found.to_json())
    else:
        _show_difference(found)
    if exit_code and found:
        raise typer.Exit(DIFFERENT)


def _looked(
    reference: str, platform: str | None, insecure: bool
) -> tuple[Looked, list[dict[str, object]]]:
    """Read an image and what is said about it, while its place is open."""
    from modelpack.image.looking import look
    from modelpack.image.reading import open_image

    steps = console.Steps()
    with open_image(reference, platform=platform, insecure=insecure, progress=steps) as image:
        looked = look(image, progress=steps)
        return looked, looked.referrers()


def _facts(looked: Looked) -> dict[str, object]:
    from modelpack.image.looking.described import (
        BASE_DIGEST,
        BASE_NAME,
        BUNDLE_DIGEST,
        BUNDLE_TAG,
        command_of,
        ports_of,
    )

    image, settings, labels = looked.image, looked.image.settings, looked.image.labels
    base = (labels.get(BASE_NAME), labels.get(BASE_DIGEST))
    bundle = (labels.get(BUNDLE_TAG), labels.get(BUNDLE_DIGEST))
    facts: dict[str, object] = {
        "image": f"{image.name} ({image.where})",
        "digest": looked.digest,
        "id": image.config_blob.digest,
        "platform": image.platform,
        "also for": ", ".join(one for one in looked.platforms if one != image.platform),
        "created": str(image.config.get("created") or "").replace("T", " "),
        "size": f"{_size(looked.size_bytes)} stored, {_size(looked.unpacked_bytes)} of files",
        "base": ", ".join(filter(None, base)),
        "bundle": ", ".join(filter(None, bundle)),
        "user": settings.get("User") or "root",
        "runs": " ".join(_word(one) for one in command_of(image)),
        "in": settings.get("WorkingDir"),
        "ports": ", ".join(ports_of(image)),
        "stop signal": settings.get("StopSignal"),
        "health check": "yes" if settings.get("Healthcheck") else "no",
    }
    return {key: console.harmless(str(value)) for key, value in facts.items() if value}


def _layers(layers: tuple[LookedLayer, ...]) -> Iterator[str]:
    rows = []
    for number, one in enumerate(layers, start=1):
        hidden = f"{_size(one.hidden_bytes)} of it hidden" if one.hidden_bytes else ""
        sizes = (f"{_size(one.size_bytes)} stored", f"{_size(one.unpacked_bytes)} of files")
        rows.append((str(number), one.digest[:19], *sizes, one.what, hidden))
    return _columns(rows)


def _show_difference(found: ImageDifference) -> None:
    console.out(f"{found.a.image.name} → {found.b.image.name}")
    layers = [(f"+ {one.what}", _size(one.size_bytes), one.digest[:19]) for one in found.added]
    layers += [(f"- {one.what}", _size(one.size_bytes), one.digest[:19]) for one in found.removed]
    kept = sum(one.size_bytes for one in found.kept)
    lines = [f"= {len(found.kept)} kept, {_size(kept)}"] if found.kept else []
    sections = {
        "layers": [*lines, *_columns(layers)],
        "packages": [_line(one) for one in found.packages],
        "models": [_line(one, is_size=True) for one in found.models],
        "code": [_line(one, is_size=True) for one in found.files],
        "outside of the bundle": [f"{found.other_files:,} files"] * bool(found.other_files),
        "settings": [_line(one) for one in found.settings],
    }
    for title, section in sections.items():
        if section:
            console.section(title, section)
    before = " before compression" if found.is_by_content and found.push_bytes else ""
    console.out("")
    console.out(f"a push sends {_size(found.push_bytes)}{before}")
    console.out(console.harmless(found.reason))


def _line(change: Changed, *, is_size: bool = False) -> str:
    sides = [
        "none" if one is None else _size(int(one)) if is_size else str(one)
        for one in (change.old, change.new)
    ]
    same = is_size and change.old is not None and sides[0] == sides[1]
    said = f"{sides[0]}, other bytes" if same else " → ".join(sides)
    return f"{change.sign} {change.name}  {said}"


def _env(looked: Looked) -> dict[str, str]:
    from modelpack.image.looking.described import env_of

    return env_of(looked.image)


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Give rows as lines whose cells stand below each other."""
    if not rows:
        return
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _word(text: str) -> str:
    import shlex

    return shlex.quote(text)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _size(size_bytes: int | None) -> str:
    from modelpack.config.units import format_size

    return "not known" if size_bytes is None else format_size(size_bytes)


COMMANDS = {
    "inspect": inspect_image,
    "history": history_image,
    "diff": diff_images,
    "run": run,
}
