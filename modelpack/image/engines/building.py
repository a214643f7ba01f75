"""Builds a planned image, and looks whether its secrets stayed outside.

    plan + store + secrets ──chosen──► Builder.build ──► ImageResult ─┬─ no secrets: that is it
                                                                      └─ under a name of its own
    that name ──find_leaks──┬─ nothing ──► the name that was asked for
                            └─ found ────► removed, SecretFoundError

So nobody gets an image with a secret under the name that they asked for, not even for a moment.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Mapping, Sequence

from modelpack.errors import SecretFoundError, UsageError
from modelpack.image.dockerfile import PIP_CONF
from modelpack.image.engines.build_secrets import BuildSecret, read_secrets
from modelpack.image.engines.choosing import chosen
from modelpack.image.engines.indexes import index_arguments
from modelpack.image.engines.orders import Builder, ImageResult, Order
from modelpack.image.leaks import find_leaks
from modelpack.image.plan import ImagePlan
from modelpack.image.reference import check_image_name, default_reference
from modelpack.progress import SILENT, Progress
from modelpack.store import Store

_NETWORKS = ("host", "none")
_PRUNE = {
    "buildkit": "docker builder prune",
    "podman": "podman image prune",
    "buildah": "buildah rmi --prune",
}


def build_image(
    plan: ImagePlan,
    store: Store,
    *,
    reference: str | None = None,
    engine: str = "auto",
    secrets: Sequence[BuildSecret] = (),
    use_cache: bool = True,
    network: str | None = None,
    progress: Progress = SILENT,
    labels: Mapping[str, str] | None = None,
) -> ImageResult:
    """Build the image under the name ``reference`` (default: the bundle's tag).

    ``engine`` is one of ``ENGINES``: ``docker`` is the classic builder, ``auto`` takes the best that
    is here.  ``secrets`` are lent to the command that installs packages; the image is searched for
    them before it gets its name.  ``network``: what that command sees, ``host`` or ``none``; default:
    what the builder gives.  ``labels`` are added to those of the plan.

    Raises ToolMissingError without an engine, RefusedError when it cannot keep a secret,
    SecretFoundError when the image holds one, EngineError when the base is not to be had or a step
    fails, DigestMismatchError when the bundle is damaged.
    """
    name = check_image_name(reference or default_reference(plan.entry.tag))
    if network is not None and network not in _NETWORKS:
        raise UsageError(f"'{network}' is no network of a build", hint="give 'host' or 'none'")
    asks_index = not plan.is_wheelhouse and plan.program is None
    indexes = index_arguments(progress, {one.id for one in secrets}) if asks_index else {}
    lent = read_secrets(secrets, indexes) if asks_index else {}
    with chosen(engine, needs_secrets=bool(lent)) as (builder, why):
        if engine == "auto":
            progress.note(f"built by {builder.name}: {why}")
        order = Order(
            plan=plan,
            store=store,
            name=_own_name() if lent else name,
            labels=labels or {},
            build_args={} if PIP_CONF in lent else indexes,
            secrets=lent,
            use_cache=use_cache,
            network=network,
        )
        made = builder.build(order, progress)
        return _searched(builder, order, made, name, progress) if lent else made


def _own_name() -> str:
    return f"modelpack-unchecked:{random.token_hex(12)}"


def _searched(
    builder: Builder, order: Order, made: ImageResult, name: str, progress: Progress
) -> ImageResult:
    """Give the image its name when nothing of the secrets is in it, else remove it."""
    try:
        with progress.step("search the image for secrets"), builder.read(made) as image:
            found = find_leaks(image, order.secrets)
        if found:
            more = f", and in {len(found) - 1} more places" if len(found) > 1 else ""
            raise SecretFoundError(
                f"the image would hold the secret {found[0]}{more}",
                hint="it was removed; take the secret out of there, and out of the builder's cache "
                f"('{_PRUNE[builder.name]}'), for it is in there too",
            )
        return builder.rename(made, name)
    except BaseException:
        builder.remove(made)
        raise
