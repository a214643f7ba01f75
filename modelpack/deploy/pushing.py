"""The image of a deployment's bundle, made here and sent to a registry, without an engine.

    DeploymentSpec ──find_bundle──► plan_image ──build_direct──► REGISTRY/NAME:TAG ──► its digest
                   ──image_tag──► VERSION-DIGEST
    spec + Live ──with_image──► facts with the digest of the image, where that is known; pushed_image

For targets whose machines pull their image from a registry.  What the registry has already is not sent
again: weights go up once, a change of code is kilobytes.  Nothing of the bundle is executed.
``Push`` is what a target is given, so that a fake fits; ``push_image`` is the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from modelpack.deploy.bundles import find_bundle
from modelpack.deploy.plan import Change
from modelpack.deploy.spec import DeploymentSpec, Fact
from modelpack.deploy.state import Live
from modelpack.progress import Progress

__all__ = [
    "IMAGE_DIGEST",
    "FindLogin",
    "Login",
    "Push",
    "Pushed",
    "image_tag",
    "push_image",
    "pushed_image",
    "with_image",
]

IMAGE_DIGEST = "image_digest"
"""Fact: which image runs, and in the surroundings, which one is in the repository."""


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
    image_id: str = ""
    """Digest of the image's config: what engines call its id."""


FindLogin = Callable[[str], Login | None]
"""Gives the login of a registry's host; None: whatever Docker knows."""


class Push(Protocol):
    """Builds the image of a spec's bundle and pushes it: ``push_image``, but for tests."""

    def __call__(
        self,
        spec: DeploymentSpec,
        reference: str,
        *,
        find_login: FindLogin,
        base: str | None,
        progress: Progress,
    ) -> Pushed:
        """Return what was pushed; safe to repeat."""


def image_tag(spec: DeploymentSpec) -> str:
    """Return the tag of the image of a spec's bundle: its version and twelve digits of its digest.

    A bundle of the same version with other content is another image.
    """
    return f"{spec.version[:100]}-{spec.digest.removeprefix('sha256:')[:12]}"


def with_image(
    spec: DeploymentSpec, live: Live, facts: Mapping[str, Fact]
) -> tuple[Live, dict[str, Fact]]:
    """Return what is live, and the wanted facts, with the digest of the image on both sides or on none.

    It is known before a push when the image is in the repository already, or when what runs is of
    the same bundle.  Where it is not, the push has a line of its own in the plan (``pushed_image``).
    """
    digest = live.surroundings.get(IMAGE_DIGEST)
    if digest is None and live.facts.get("digest") == spec.digest:
        digest = live.facts.get(IMAGE_DIGEST)
    if digest:
        return live, {**facts, IMAGE_DIGEST: digest}
    left = {key: one for key, one in live.facts.items() if key != IMAGE_DIGEST}
    return replace(live, facts=left), dict(facts)


def pushed_image(where: str, spec: DeploymentSpec) -> Change:
    """Return the line of a plan for an image that goes to a repository."""
    name = f"pushed-image/{where}:{image_tag(spec)}"
    return Change(action="create", resource=name, after={"bundle": spec.digest})


def push_image(
    spec: DeploymentSpec,
    reference: str,
    *,
    find_login: FindLogin,
    base: str | None = None,
    machine: str = "x86_64",
    schema2: bool = False,
    progress: Progress,
) -> Pushed:
    """Build the image of the spec's bundle and push it; safe to repeat.

    find_login  gives the login of a registry's host; None: whatever Docker knows
    base        of the image; default: that of the bundle's settings
    machine     processor that it is for, as the kernel names it
    schema2     under Docker's manifest, for registries that take no manifest of OCI's

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
        compress=schema2,
        schema2=schema2,
        options=Options(find_credentials=find),
        progress=progress,
    )
    sent = sum(one.new_bytes for one in built.written)
    return Pushed(built.digest, sent, built.images[0].config_blob.digest)
