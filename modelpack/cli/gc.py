"""``modelpack gc``: space for something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption

if TYPE_CHECKING:
    from modelpack.store import GcPlan


def gc(
    plan: Annotated[
        bool, typer.Option("--plan", help="say what would go and why, remove nothing")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack gc --plan

    Remove from the disk what nothing in the store needs.

    That is: deleted bundles and models, which cannot be brought back afterwards, what only they used,
    and what killed commands left. What has a tag is never touched.
    """
    from modelpack.config.units import format_size
    from modelpack.store import Store

    store = Store()
    found = store.plan_gc() if plan else store.gc()
    if form is Format.JSON:
        console.out_json(_plan_json(found, is_removed=not plan))
        return
    _show(found, is_removed=not plan)
    if found.blocked is not None:
        console.warn(f"gc would refuse: {found.blocked}; delete it first")
    if not found.items:
        console.note("nothing to remove")
    elif plan:
        console.note(f"would free {format_size(found.size_bytes)}: 'modelpack gc' does it")
    else:
        console.note(f"freed {format_size(found.size_bytes)}")


def _show(found: GcPlan, *, is_removed: bool) -> None:
    from modelpack.config.units import format_size

    rows = [(one.what, one.name, format_size(one.size_bytes), one.why) for one in found.items]
    if rows and is_removed:
        console.table(("what", "name", "freed"), [row[:3] for row in rows])
    elif rows:
        console.table(("what", "name", "frees", "why"), rows)


def _plan_json(found: GcPlan, *, is_removed: bool) -> dict[str, Any]:
    """Return a plan as plain JSON values."""
    return {
        "items": [
            {"what": one.what, "name": one.name, "why": one.why, "size_bytes": one.size_bytes}
            for one in found.items
        ],
        "size_bytes": found.size_bytes,
        "blocked": found.blocked,
        "is_removed": is_removed,
    }
