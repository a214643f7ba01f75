r"""What things of a deployment are called in Azure, and the tags by which they are known again.

    "digits" ──► app modelpack-digits · identity modelpack-digits · endpoint modelpack-digits-1a2b3c

Rules of names: Azure, "Naming rules and restrictions for Azure resources"; of tags: "Use tags to
organize your Azure resources" (50 tags, names without <>%&\?/, values of 256 characters).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from modelpack.deploy import check_name
from modelpack.errors import UsageError

PREFIX = "modelpack"

NAME_TAG = "modelpack-deployment"
TARGET_TAG = "modelpack-target"
SETTLED_TAG = "modelpack-settled"
"""Marks of the revisions that were found healthy, newest last, with blanks between."""

NOW_TAG = "modelpack-now"
"""Mark of the revision that is meant to run, where Azure does not say it in another way."""

MOST_SETTLED = 10
"""Marks that are remembered: a tag has room for thirteen."""

PORT = 3000
"""Where the server in the image listens."""

_MOST_TAGS = 50
_OWN_TAGS = 4
_APP_LENGTH = 32
_ENDPOINT_LENGTH = 32
_NOT_IN_TAG_NAMES = re.compile(r"[<>%&\\?/]")


def app_name(name: str) -> str:
    """Return the name of a container app: 32 letters, digits and single hyphens; raises TagError."""
    return _cut(f"{PREFIX}-{_plain(name)}", _APP_LENGTH)


def identity_name(name: str) -> str:
    """Return the name of the identity that pulls the image; raises TagError."""
    return f"{PREFIX}-{_plain(name)}"


def endpoint_name(name: str, workspace_id: str) -> str:
    """Return the name of an online endpoint, which is one of a whole region; raises TagError."""
    digits = hashlib.sha256(f"{workspace_id.lower()}/{name}".encode()).hexdigest()[:6]
    return f"{_cut(f'{PREFIX}-{_plain(name)}', _ENDPOINT_LENGTH - 7)}-{digits}"


def repository_of(name: str) -> str:
    """Return the name of the image repository inside its registry; raises TagError."""
    return f"{PREFIX}/{_plain(name)}"


def tags_of(
    name: str, target: str, labels: Mapping[str, str], settled: tuple[str, ...] = ()
) -> dict[str, str]:
    """Return the tags of what is made for a deployment; raises UsageError for too many labels."""
    if len(labels) > _MOST_TAGS - _OWN_TAGS:
        raise UsageError(
            f"deploy.labels: Azure takes {_MOST_TAGS - _OWN_TAGS} beside ours, got {len(labels)}"
        )
    own = {NAME_TAG: name, TARGET_TAG: target}
    if settled:
        own[SETTLED_TAG] = " ".join(settled[-MOST_SETTLED:])
    return {_NOT_IN_TAG_NAMES.sub("-", key): value for key, value in labels.items()} | own


def settled_of(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the marks that were found healthy, newest last."""
    return tuple(str(tags.get(SETTLED_TAG, "")).split())


def _plain(name: str) -> str:
    """Return a name of letters, digits and single hyphens; a hash keeps apart what was changed."""
    check_name(name)
    plain = re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9-]", "-", name)).strip("-")
    if plain != name:
        plain = f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return plain


def _cut(name: str, most: int) -> str:
    if len(name) <= most:
        return name
    digits = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{name[: most - 7].rstrip('-')}-{digits}"
