"""What every command that changes a deployment does: show the plan, ask, apply, say where it is.

Plan ──describe──► stderr ──consent──► apply_plan ──► URL on stdout
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from modelpack.cli import console, signals
from modelpack.cli.grammar import Format

if TYPE_CHECKING:
    from modelpack.deploy import DeploymentSpec, Plan, Progress, Status, Target
    from modelpack.deploy.bundles import EnsureImage

PLAN_HAS_CHANGES = 10
"""Exit status with ``--exit-code``."""


def show_and_apply(
    place: Target, plan: Plan, *, yes: bool, form: Format, what: str, base: str | None = None
) -> None:
    """Show the plan, ask for consent unless ``yes``, apply it, print where it answers.

    Raises UsageError when there is nobody to ask, and what applying raises.
    """
    console.note(plan.describe())
    if not plan.is_empty and not yes and not console.ask("apply this?", flag="--yes", what=what):
        console.note("nothing was changed")
        raise typer.Exit(1)
    apply_now(place, plan, yes=yes, form=form, base=base)


def apply_now(
    place: Target, plan: Plan, *, yes: bool, form: Format, base: str | None = None
) -> None:
    """Apply the plan and print where the deployment answers.

    What no plan could know, a target asks on its way: ``yes`` consents, and without a terminal
    nobody does.
    """
    from modelpack.deploy import rollout

    def confirm(question: str) -> bool:
        return yes or (console.has_somebody() and console.ask(question, flag="--yes", what="this"))

    # A build server that cancels a job sends SIGTERM: what was begun is taken back then, too.
    with signals.as_interrupts():
        status = rollout.apply_plan(
            place,
            plan,
            ensure_image=_image_maker(base),
            progress=console.Steps(),
            confirm=confirm,
        )
    print_status(status, form)


def ask_policy(spec: DeploymentSpec, *, may_be_gone: bool = False) -> None:
    """Ask the policy of this machine about the bundle of the spec.

    Raises UntrustedError or CodeModelError when it is refused, ConflictError when the tag stands
    for another bundle by now, and BundleNotFoundError unless ``may_be_gone``: for a revision that
    ran before, and whose image may be all that is left of it.
    """
    from modelpack.deploy.bundles import find_bundle
    from modelpack.errors import BundleNotFoundError, ConflictError
    from modelpack.store import Store

    try:
        find_bundle(Store(), spec)
    except (BundleNotFoundError, ConflictError):
        if not may_be_gone:
            raise


def print_plan(plan: Plan, form: Format) -> None:
    """Print the plan on standard output."""
    if form is Format.JSON:
        value = plan.to_json()
        _hide(value["spec"]["settings"]["env"], "")
        for change in (*value["changes"], *value.get("drift", ())):
            _hide(change["before"], "env.")
            _hide(change["after"], "env.")
        console.out_json({**value, "digest": plan.digest, "is_empty": plan.is_empty})
    else:
        console.out(plan.describe())


def _hide(values: dict[str, object], prefix: str) -> None:
    """Hide what looks like a secret: what is printed ends up in the log of a build server."""
    from modelpack.deploy.plan import looks_secret

    for key, value in values.items():
        if key.startswith(prefix) and looks_secret(key) and value is not None:
            values[key] = "(hidden)"


def print_status(status: Status, form: Format) -> None:
    """Print where the deployment answers: the one thing that standard output gets."""
    if form is Format.JSON:
        console.out_json(status.to_json())
        return
    console.note(f"deployment '{status.name}' is {status.state}: {status.bundle}")
    if status.url:
        console.out(status.url)


def _image_maker(base: str | None) -> EnsureImage:
    """Return what builds a missing image; its bundle is looked for only then."""

    def ensure_image(spec: DeploymentSpec, progress: Progress) -> None:
        from modelpack.cli.project import image_settings_of
        from modelpack.deploy.bundles import find_bundle, image_maker
        from modelpack.store import Store

        store = Store()
        settings = image_settings_of(find_bundle(store, spec), store)
        image_maker(store, settings, base=base)(spec, progress)

    return ensure_image
