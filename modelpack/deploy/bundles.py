"""From a deployment back to its bundle in the store, and to the image that is made of it.

    DeploymentSpec ──find_bundle──► Entry ──(plan_image, build_image)──► spec.image in the engine

Nothing of a bundle is executed here.  The policy is asked each time that a bundle is about to be
used, for it may have changed since the deployment was planned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from modelpack.config.settings import ImageSettings, recorded_settings
from modelpack.deploy.spec import DeploymentSpec
from modelpack.errors import ConflictError, ModelpackError
from modelpack.progress import Progress
from modelpack.tag import Tag

if TYPE_CHECKING:
    from modelpack.store import Entry, Store

EnsureImage = Callable[[DeploymentSpec, Progress], None]
"""Builds the image ``spec.image`` of the spec's bundle."""


def find_bundle(store: Store, spec: DeploymentSpec) -> Entry:
    """Return the bundle that the spec was made of.

    Raises BundleNotFoundError, ConflictError when its tag stands for another one by now, and
    UntrustedError or CodeModelError when the policy refuses it.
    """
    from modelpack.store import Kind
    from modelpack.trust import check

    entry = store.find(Tag.parse(spec.bundle), Kind.BUNDLE)
    if entry.digest != spec.digest:
        raise ConflictError(
            f"the bundle '{spec.bundle}' is not the one that was planned with any more",
            hint="plan the deployment again",
        )
    check(store, entry, "deploy")
    return entry


def apis_of(bundle: str) -> tuple[Mapping[str, Any], ...]:
    """Return what the store's bundle says of its apis, for targets that find out health by themselves.

    As ``BundleManifest.apis``; none when the bundle is not in the store of this machine.
    """
    from modelpack.store import Kind, Store

    store = Store()
    try:
        return store.bundle_manifest(store.find(Tag.parse(bundle), Kind.BUNDLE)).apis
    except ModelpackError:
        return ()


def image_maker(
    store: Store, settings: ImageSettings | None = None, *, base: str | None = None
) -> EnsureImage:
    """Return what builds the missing image of a deployment in the engine of this machine.

    Without ``settings`` those that the bundle was built with are used; ``base`` stands above both.
    An image that would be too large for them is not built (TooLargeError).
    """

    def ensure_image(spec: DeploymentSpec, progress: Progress) -> None:
        from modelpack.image import build_image, plan_image
        from modelpack.image.budget import check_budget

        entry = find_bundle(store, spec)
        built_with = store.bundle_manifest(entry).settings
        chosen = settings or recorded_settings(ImageSettings, built_with)
        plan = plan_image(store, entry, chosen, base=base)
        if plan.max_size_bytes is not None:
            check_budget(plan, plan.max_size_bytes)
        build_image(plan, store, reference=spec.image, progress=progress)

    return ensure_image
