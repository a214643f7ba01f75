"""The image repository of a deployment in Artifact Registry, and the image in it.

    look ──► Images(uri, digest)     read
    ensure ──► repository, its newest 30 images kept
    push ──► image by our own builder and registry client, with an access token
    remove ──► all of it

An image is named by the bundle's version and digest, so a bundle of the same version with other
content is another image.  Sources: Artifact Registry API reference (``repositories``, ``tags``) and
"Configure authentication to Artifact Registry for Docker" (the user ``oauth2accesstoken``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from modelpack.deploy import DeploymentSpec, Progress
from modelpack.deploy.pushing import Login, Pushed, push_image
from modelpack.errors import ConflictError, DeployError, NotFoundError
from modelpack_gcp.refusals import AlreadyThereError
from modelpack_gcp.session import Google
from modelpack_gcp.wanted import NAME_LABEL, TARGET_LABEL, Wanted, resource_id

MOST_IMAGES = 30
"""Older images than the newest of so many go by themselves; a history has ten revisions."""

_API = "artifactregistry.projects.locations.repositories"


class Push(Protocol):
    """Builds the image of a spec's bundle and pushes it; ``push_image``, but for tests."""

    def __call__(
        self,
        spec: DeploymentSpec,
        reference: str,
        *,
        find_login: Any,
        base: str | None,
        progress: Progress,
    ) -> Pushed:
        """Return what was pushed."""


def push_bundle(
    spec: DeploymentSpec, reference: str, *, find_login: Any, base: str | None, progress: Progress
) -> Pushed:
    """Push by ``modelpack.deploy.pushing``, for the processors that Google's services have."""
    return push_image(spec, reference, find_login=find_login, base=base, progress=progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """A repository as Artifact Registry describes it."""

    uri: str
    """Host, project and name of the repository, and the name of the image; without a tag."""
    digest: str | None = None
    """Of the image that is wanted; None: it is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repositories:
    """The repositories of one project and region."""

    google: Google
    parent: str
    target: str
    push_image: Push = push_bundle

    def look(self, name: str, tag: str | None = None) -> Images | None:
        """Return the repository of a deployment, None when there is none; with the image of a tag.

        Raises ConflictError when somebody else made it.
        """
        here = self._name(name)
        try:
            found = self.google.call(
                f"{_API}.get", f"look for the image repository '{resource_id(name)}'", name=here
            )
        except NotFoundError:
            return None
        labels: Mapping[str, Any] = found.get("labels") or {}
        if labels.get(NAME_LABEL) != resource_id(name):
            raise ConflictError(
                f"the image repository '{resource_id(name)}' was not made by modelpack",
                hint="remove it, or give the deployment another '--name'",
            )
        uri = str(found.get("registryUri") or _uri(here))
        return Images(
            uri=f"{uri}/{resource_id(name)}",
            digest=self._digest(name, tag) if tag else None,
        )

    def ensure(self, wanted: Wanted) -> Images:
        """Make the repository if it is not there; safe to repeat."""
        found = self.look(wanted.name)
        if found is None:
            what = f"make the image repository '{wanted.id}'"
            try:
                operation = self.google.call(
                    f"{_API}.create",
                    what,
                    repository_body(wanted),
                    parent=self.parent,
                    repositoryId=wanted.id,
                )
                self.google.finish("artifactregistry", operation, what, 300.0)
            except AlreadyThereError:
                pass  # of an apply whose answer was lost
            found = self.look(wanted.name)
        if found is None:
            raise DeployError(f"the image repository '{wanted.id}' is gone again")
        return found

    def push(self, spec: DeploymentSpec, *, base: str | None, progress: Progress) -> str:
        """Push the image unless it is there; return its digest."""
        tag = image_tag(spec)
        found = self.look(spec.name, tag)
        if found is None:
            raise DeployError(f"the image repository '{resource_id(spec.name)}' is gone")
        if found.digest is not None:
            return found.digest
        host = found.uri.partition("/")[0]

        def login(asked: str) -> Login | None:
            token = self.google.token() if asked == host else None
            return None if token is None else Login("oauth2accesstoken", token)

        pushed = self.push_image(
            spec, f"{found.uri}:{tag}", find_login=login, base=base, progress=progress
        )
        progress.note(f"{pushed.sent_bytes} bytes sent to '{found.uri}'")
        return pushed.digest

    def remove(self, name: str) -> bool:
        """Remove the repository with its images; returns whether there was one."""
        if self.look(name) is None:
            return False
        what = f"remove the image repository '{resource_id(name)}'"
        try:
            operation = self.google.call(f"{_API}.delete", what, name=self._name(name))
            self.google.finish("artifactregistry", operation, what, 600.0)
        except NotFoundError:
            pass
        return True

    def _name(self, name: str) -> str:
        return f"{self.parent}/repositories/{resource_id(name)}"

    def _digest(self, name: str, tag: str) -> str | None:
        """Return the digest that a tag stands for: the last word of a version's name."""
        package = f"{self._name(name)}/packages/{quote(resource_id(name), safe='')}"
        try:
            found = self.google.call(
                f"{_API}.packages.tags.get",
                f"look for the image '{resource_id(name)}:{tag}'",
                name=f"{package}/tags/{tag}",
            )
        except NotFoundError:
            return None
        return str(found.get("version") or "").rpartition("/")[2] or None


def repository_body(wanted: Wanted) -> dict[str, Any]:
    """Return what a repository is made of."""
    return {
        "format": "DOCKER",
        "description": f"images of the deployment '{wanted.name}' of modelpack",
        "labels": {NAME_LABEL: wanted.id, TARGET_LABEL: wanted.target},
        "cleanupPolicies": {
            "keep-the-newest": {
                "id": "keep-the-newest",
                "action": "KEEP",
                "mostRecentVersions": {"keepCount": MOST_IMAGES},
            },
            "drop-the-rest": {
                "id": "drop-the-rest",
                "action": "DELETE",
                "condition": {"tagState": "ANY", "olderThan": "2592000s"},
            },
        },
    }


def image_tag(spec: DeploymentSpec) -> str:
    """Return the tag of the image of a spec's bundle: its version and the first of its digest."""
    return f"{spec.version[:100]}-{spec.digest.removeprefix('sha256:')[:12]}"


def _uri(name: str) -> str:
    """Return the address of a repository as Google makes it of its name."""
    _, project, _, region, _, repository = name.split("/")
    return f"{region}-docker.pkg.dev/{project}/{repository}"
