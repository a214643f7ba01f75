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

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from modelpack.deploy import DeploymentSpec, Journal, Progress
from modelpack.deploy.pushing import Login, Push, image_tag, push_image
from modelpack.errors import DeployError, NotFoundError
from modelpack_gcp.refusals import AlreadyThereError
from modelpack_gcp.session import Google
from modelpack_gcp.wanted import NAME_LABEL, TARGET_LABEL, Wanted, refuse_foreign, resource_id

MOST_IMAGES = 30
"""Older images than the newest of so many go by themselves; a history has ten revisions."""

_API = "artifactregistry.projects.locations.repositories"


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
    push_image: Push = push_image

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
        refuse_foreign(f"image repository '{resource_id(name)}'", name, found.get("labels"))
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

    def bring(
        self,
        spec: DeploymentSpec,
        wanted: Wanted,
        *,
        base: str | None,
        journal: Journal,
        progress: Progress,
    ) -> str:
        """Make repository and image where they are not there; return the image by digest."""
        journal.step(f"create/repository/{wanted.id}", lambda: {"uri": self.ensure(wanted).uri})
        pushed = journal.step(
            f"push/image/{wanted.id}",
            lambda: {"digest": self.push(spec, base=base, progress=progress)},
        )
        found = self.look(spec.name)
        if found is None or pushed is None:
            raise DeployError(f"the image repository '{wanted.id}' is gone")
        return f"{found.uri}@{pushed['digest']}"

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


def _uri(name: str) -> str:
    """Return the address of a repository as Google makes it of its name."""
    _, project, _, region, _, repository = name.split("/")
    return f"{region}-docker.pkg.dev/{project}/{repository}"
