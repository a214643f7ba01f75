"""The image of a deployment's bundle, made here and sent to a registry, without an engine.

    DeploymentSpec ──find_bundle──► plan_image ──build_direct──► REGISTRY/NAME:TAG ──► its digest

For targets whose machines pull their image from a registry.  What the registry has already is not sent
again: weights go up once, a change of code is kilobytes.  Nothing of the bundle is executed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modelpack.deploy.bundles import find_bundle
from modelpack.deploy.spec import DeploymentSpec
from modelpack.progress import Progress

__all__ = ["Login", "Pushed", "push_image"]


@dataclass(frozen=True, slots=True)
class Login:
    """Who pushes; the password is never shown."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login(username={self.username!r})"


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did."""

    digest: str
    """Of the image's manifest."""
    sent_bytes: int


def push_image(
    spec: DeploymentSpec,
    reference: str,
    *,
    find_login: Callable[[str], Login | None],
    base: str | None = None,
    machine: str = "x86_64",
    progress: Progress,
) -> Pushed:
    """Build the image of the spec's bundle and push it; safe to repeat.

    find_login  gives the login of a registry's host; None: whatever Docker knows
    base        of the image; default: that of the bundle's settings
    machine     processor that it is for, as the kernel names it

    Raises what ``find_bundle``, the planning, the builder and the registry raise.
    """
    from modelpack.archive.platforms import Platform
    from modelpack.config.settings import ImageSettings, recorded_settings
    from modelpack.image import plan_image
    from modelpack.image.direct.build import build_direct
    from modelpack.registry import Options, credentials
    from modelpack.store import Store

    def find(host: str) -> credentials.Credentials | None:
        login = find_login(host)
        if login is None:
            return credentials.find(host)
        return credentials.Credentials(login.username, login.password)

    store = Store()
    entry = find_bundle(store, spec)
    settings = recorded_settings(ImageSettings, store.bundle_manifest(entry).settings)
    plan = plan_image(store, entry, settings, base=base, platform=Platform(machine))
    built = build_direct(
        [plan],
        store,
        base=base,
        outputs=[f"registry:{reference}"],
        options=Options(find_credentials=find),
        progress=progress,
    )
    return Pushed(built.digest, sum(one.new_bytes for one in built.written))
