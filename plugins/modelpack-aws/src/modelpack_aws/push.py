"""The image repository of a deployment in Amazon ECR, and the image in it.

    look ──► Images(uri, digest, settled)      read
    ensure ──► repository, private, tags that never move, scanned, the newest 30 kept
    push ──► image by our own builder and registry client, with a login of twelve hours
    settle ──► tag ``modelpack:settled`` on the repository: the revision that was found healthy last
    remove ──► all of it

The repository stands apart from the stack: the image is there before the stack that runs it, and the
mark of what is healthy outlives a stack that is taken back.  An image is named by the bundle's version
and digest, so a bundle of the same version with other content is another image.

Wire facts: Amazon ECR API reference (``CreateRepository``, ``GetAuthorizationToken``, ``PutLifecyclePolicy``).
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from modelpack.deploy import DeploymentSpec, Progress, refuse_others
from modelpack.deploy.pushing import Login, Push, image_tag, push_image
from modelpack.errors import CredentialsError, DeployError
from modelpack_aws.session import Clients, error_code, said
from modelpack_aws.template import Json, tags
from modelpack_aws.wanted import NAME_TAG, PREFIX, SETTLED_TAG, TARGET_TAG, Wanted

MOST_IMAGES = 30
"""Older images than the newest of so many go by themselves; a history has ten revisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """A repository as ECR describes it."""

    uri: str
    """Host and name, without a tag."""
    arn: str
    digest: str | None = None
    """Of the image that is wanted; None: it is not there."""
    settled: str | None = None
    """Revision that was found healthy last."""
    target: str | None = None
    """Name of the target that made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repositories:
    """The repositories of one account and region."""

    clients: Clients
    registry: str | None = None
    """Host that the registry is reached at, where it is not the one that ECR names (an emulator)."""
    push_image: Push = push_image

    def look(self, wanted: Wanted, tag: str | None = None) -> Images | None:
        """Return the repository of a deployment, None when there is none; with the image of a tag.

        Raises ConflictError when somebody else made it.
        """
        with said(f"look for the image repository '{wanted.repository}'"):
            try:
                found = self._api.describe_repositories(repositoryNames=[wanted.repository])
            except self._api.exceptions.RepositoryNotFoundException:
                return None
            one = found["repositories"][0]
            arn = str(one["repositoryArn"])
            given = self._api.list_tags_for_resource(resourceArn=arn).get("tags") or ()
        marks = {str(mark["Key"]): str(mark["Value"]) for mark in given}
        refuse_others(f"image repository '{wanted.repository}'", wanted.name, marks.get(NAME_TAG))
        return Images(
            uri=self._uri(str(one["repositoryUri"])),
            arn=arn,
            digest=self._digest(wanted.repository, tag) if tag else None,
            settled=marks.get(SETTLED_TAG),
            target=marks.get(TARGET_TAG),
        )

    def ensure(self, wanted: Wanted) -> Images:
        """Make the repository if it is not there, and set what it shall keep; safe to repeat."""
        found = self.look(wanted)
        with said(f"make the image repository '{wanted.repository}'"):
            if found is None:
                self._api.create_repository(
                    repositoryName=wanted.repository,
                    imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
                    imageTagMutabilityExclusionFilters=[_STATEMENTS],
                    imageScanningConfiguration={"scanOnPush": True},
                    encryptionConfiguration={"encryptionType": "AES256"},
                    tags=tags(wanted.tags()),
                )
            self._api.put_lifecycle_policy(
                repositoryName=wanted.repository, lifecyclePolicyText=json.dumps(_KEEP)
            )
        made = found or self.look(wanted)
        if made is None:
            raise DeployError(f"the image repository '{wanted.repository}' is gone again")
        if wanted.mode == "lambda":
            self._let_functions_pull(wanted, made.arn)
        return made

    def push(
        self, spec: DeploymentSpec, wanted: Wanted, *, base: str | None, progress: Progress
    ) -> str:
        """Push the image unless it is there; return its digest."""
        tag = image_tag(spec)
        found = self.look(wanted, tag)
        if found is None:
            raise DeployError(f"the image repository '{wanted.repository}' is gone")
        if found.digest is not None:
            return found.digest
        pushed = self.push_image(
            spec, f"{found.uri}:{tag}", find_login=self._login, base=base, progress=progress
        )
        progress.note(f"{pushed.sent_bytes} bytes sent to '{found.uri}'")
        return pushed.digest

    def settle(self, wanted: Wanted, revision: str) -> None:
        """Mark the revision as the one that is healthy; safe to repeat."""
        found = self.look(wanted)
        if found is None:
            raise DeployError(f"the image repository '{wanted.repository}' is gone")
        with said(f"mark revision '{revision}' as healthy"):
            self._api.tag_resource(resourceArn=found.arn, tags=tags({SETTLED_TAG: revision}))

    def remove(self, wanted: Wanted) -> None:
        """Remove the repository with its images; one that is not there is no mistake."""
        if self.look(wanted) is None:
            return
        with said(f"remove the image repository '{wanted.repository}'"):
            try:
                self._api.delete_repository(repositoryName=wanted.repository, force=True)
            except self._api.exceptions.RepositoryNotFoundException:
                return

    @property
    def _api(self) -> Any:
        return self.clients.client("ecr")

    def _let_functions_pull(self, wanted: Wanted, arn: str) -> None:
        """Let functions of this account that are ours read the images of the repository.

        Lambda reads an image as itself, not as the function's role: AWS Lambda developer guide,
        "Create a Lambda function using a container image", "Amazon ECR permissions".
        """
        words = arn.split(":")
        if len(words) < 6:
            return
        partition, region, account = words[1], words[3], words[4]
        functions = f"arn:{partition}:lambda:{region}:{account}:function:{PREFIX}-*"
        statement = {
            "Sid": "LetFunctionsPull",
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            "Condition": {"StringLike": {"aws:sourceArn": functions}},
        }
        text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        with said(f"let functions pull from '{wanted.repository}'"):
            self._api.set_repository_policy(repositoryName=wanted.repository, policyText=text)

    def _uri(self, uri: str) -> str:
        """Return where the repository is reached: as ECR says, or at the emulator's registry."""
        if self.registry is None:
            return uri
        return f"{self.registry}/{uri.partition('/')[2]}"

    def _digest(self, repository: str, tag: str) -> str | None:
        api = self._api
        with said(f"look for the image '{repository}:{tag}'"):
            try:
                found = api.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
            except api.exceptions.ClientError as cause:
                if error_code(cause) in ("ImageNotFoundException", "RepositoryNotFoundException"):
                    return None
                raise
        details = found.get("imageDetails") or ()
        return str(details[0]["imageDigest"]) if details else None

    def _login(self, host: str) -> Login | None:
        """Return a login for the registry, None for any other host."""
        with said("log in to the image registry"):
            answer = self._api.get_authorization_token()
        data: Json = (answer.get("authorizationData") or [{}])[0]
        named = urlsplit(str(data.get("proxyEndpoint", ""))).netloc
        if host not in (named, self.registry):
            return None
        try:
            text = base64.b64decode(str(data["authorizationToken"]), validate=True).decode()
        except (KeyError, ValueError, binascii.Error) as cause:
            raise CredentialsError("the image registry gave no login that can be read") from cause
        user, _, password = text.partition(":")
        return Login(user, password)


# What is said about an image (its bill of materials, signatures) stands in one index a tag of this
# form, in registries that do not list referrers themselves: OCI distribution, "Referrers Tag Schema".
_STATEMENTS = {"filterType": "WILDCARD", "filter": "sha256-*"}

_KEEP = {
    "rules": [
        {
            "rulePriority": 1,
            "description": "the newest ones",
            "selection": {
                "tagStatus": "any",
                "countType": "imageCountMoreThan",
                "countNumber": MOST_IMAGES,
            },
            "action": {"type": "expire"},
        }
    ]
}
