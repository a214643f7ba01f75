"""``modelpack diff``: what is different in another bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption

if TYPE_CHECKING:
    from modelpack.archive.answers import Behaviour
    from modelpack.archive.diff import Change, Difference, ModelChange
    from modelpack.store import Entry, Store

DIFFERENT = 10
"""Exit status with ``--exit-code`` when something differs."""


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="TAG of the bundle to start from")],
    b: Annotated[str, typer.Argument(metavar="B", help="TAG of the bundle to compare it with")],
    *,
    text: Annotated[
        bool, typer.Option("--text", help="show the changed lines of the code, too")
    ] = False,
    behaviour: Annotated[
        Path | None,
        typer.Option(
            "--behaviour",
            metavar="FILE",
            help="serve both, which runs their code, and compare what they answer to each line",
        ),
    ] = None,
    rtol: Annotated[
        float | None,
        typer.Option(
            "--rtol",
            metavar="NUMBER",
            min=0,
            help="how far two numbers of answers may be apart, relative; default: 1e-5",
        ),
    ] = None,
    atol: Annotated[
        float | None,
        typer.Option(
            "--atol",
            metavar="NUMBER",
            min=0,
            help="how far two numbers of answers may be apart, absolute; default: 1e-8",
        ),
    ] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="exit with 10 when something differs")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack diff digits:1 digits:2

    Show what differs between two bundles.

    Files, dependencies, apis, models and their metrics.

    Changes of an api that a client of A may fail with are marked as breaking. Both are read and nothing
    of them is run, unless --behaviour gives samples to put to both: a JSON body on each line, or
    {"api": NAME, "body": BODY}.
    """
    from modelpack.archive.answers import ATOL, RTOL
    from modelpack.archive.diff import compare, text_of
    from modelpack.store import Kind, Store
    from modelpack.tag import Tag

    store = Store()
    old, new = (store.find(Tag.parse(tag), Kind.BUNDLE) for tag in (a, b))
    found = compare(store, old, new)
    answers = None
    if behaviour is not None:
        tolerance = (RTOL if rtol is None else rtol, ATOL if atol is None else atol)
        answers = _answers(store, old, new, behaviour, tolerance)
    lines = list(text_of(store, old, new, found)) if text else []
    if form is Format.JSON:
        console.out_json(_as_json(old, new, found, lines if text else None, answers))
    else:
        _show(old, new, found, lines, answers)
    if exit_code and (found or answers):
        raise typer.Exit(DIFFERENT)


def _answers(
    store: Store, a: Entry, b: Entry, file: Path, tolerance: tuple[float, float]
) -> Behaviour:
    """Serve one bundle after the other, each in its own environment, and compare the answers."""
    from modelpack.archive.answers import ask, compare_answers, read_samples
    from modelpack.bench.served import serving

    samples = read_samples(file, store.bundle_manifest(a).apis)
    steps = console.Steps()
    answers = []
    for entry in (a, b):
        with serving(str(entry.tag), progress=steps) as served:
            answers.append(ask(served.url, samples))
    rtol, atol = tolerance
    return compare_answers(samples, *answers, rtol=rtol, atol=atol)


def _as_json(
    a: Entry, b: Entry, found: Difference, text: list[str] | None, answers: Behaviour | None
) -> dict[str, Any]:
    return {
        "a": {"tag": str(a.tag), "digest": a.digest},
        "b": {"tag": str(b.tag), "digest": b.digest},
        "is_different": bool(found or answers),
        **found.to_json(),
        "text": text,
        "behaviour": None if answers is None else answers.to_json(),
    }


def _show(
    a: Entry, b: Entry, found: Difference, text: list[str], answers: Behaviour | None
) -> None:
    from modelpack.archive.answers import behaviour_lines

    console.out(f"{a.tag} → {b.tag}")
    sections = {
        "files": [_file(one) for one in found.files],
        "dependencies": [_line(one) for one in found.packages],
        "apis": [str(one) for one in found.apis],
        "models": [line for one in found.models for line in _model(one)],
        "settings": [_line(one) for one in found.settings],
        "code": text,
        "behaviour": [] if answers is None else list(behaviour_lines(answers)),
    }
    for title, lines in sections.items():
        if lines:
            console.section(title, lines)
    if not found:
        same = "the same bundle" if a.digest == b.digest else "the same but for name and version"
        console.note(same)
    elif found.is_breaking:
        console.warn("clients of the first may fail with the second: see 'breaking' above")


def _file(change: Change) -> str:
    from modelpack.config.units import format_size

    sizes = [format_size(one.size) for one in (change.old, change.new) if one is not None]
    modes = {one.mode for one in (change.old, change.new) if one is not None}
    mode = "  (program or not)" if len(modes) > 1 else ""
    return f"{change.sign} {change.name}  {' → '.join(sizes)}{mode}"


def _line(change: Change) -> str:
    sides = (one if one is not None else "none" for one in (change.old, change.new))
    return f"{change.sign} {change.name}  {' → '.join(map(str, sides))}"


def _model(change: ModelChange) -> Iterator[str]:
    from modelpack.archive.diff import short

    sign = "+" if change.old is None else "-" if change.new is None else "~"
    versions = dict.fromkeys(one for one in (change.old, change.new) if one is not None)
    yield f"{sign} {change.name}  {' → '.join(versions)}"
    for one in change.facts:
        yield f"    {one.name} {one.old} → {one.new}"
    for one in change.metrics:
        yield f"    {one.name} {short(one.old)} → {short(one.new)}"
    for one in change.data:
        sides = (str(value)[:12] if value else "none" for value in (one.old, one.new))
        yield f"    trained on {one.name}  {' → '.join(sides)}"
