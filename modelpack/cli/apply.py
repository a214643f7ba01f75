"""``modelpack apply``: do what a kept plan says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelpack.cli import console
from modelpack.cli.grammar import Format, FormatOption


def apply(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="plan that 'deploy --save' has kept")
    ],
    *,
    yes: Annotated[
        bool, typer.Option("-y", "--yes", help="apply it too when it had to be made anew")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """
    $ modelpack deploy --target docker --save release.plan
    $ modelpack apply release.plan

    Apply exactly the plan that was kept.

    The file is the consent. When what stands at the target has changed since, the plan is made anew
    and shown, and nothing is done without consent to that one (exit 5).
    """
    from modelpack.cli import applying
    from modelpack.deploy import catalog, journal, rollout, saved
    from modelpack.errors import ConflictError

    kept = saved.load(file)
    plan = kept.plan
    applying.ask_policy(plan.spec)
    place = catalog.target(plan.target, kept.options)
    fresh = rollout.plan_deployment(place, plan.spec)
    open_one = journal.interrupted(plan.spec.name)
    is_same = fresh.digest == plan.digest or (open_one and open_one.plan == plan.digest)
    if fresh.is_empty or is_same or yes:
        console.note(fresh.describe())
        applying.apply_now(place, fresh, yes=yes, form=form, base=kept.base)
        return
    console.note("what stands there has changed since the plan was kept; it would be this now:")
    if not console.has_somebody():
        console.note(fresh.describe())
        raise ConflictError(
            f"the deployment '{plan.spec.name}' has changed since the plan was kept",
            hint="nothing was done; give '--yes', or keep a plan of what stands now",
        )
    applying.show_and_apply(place, fresh, yes=False, form=form, what="apply", base=kept.base)
