"""What a reference to a remote place means, checked before any URL is made of it.

    registry.example/team/digits:1        RegistryReference    a repository of a container registry
    registry.example/team/digits@sha256:… RegistryReference    the same, by digest
    s3://bucket/prefix#digits:1           LayoutReference      an OCI image layout in a bucket,
    file:///srv/bundles#digits:1                               in a folder,
    https://host/path#digits:1                                 or served as plain files
    digits:1                              one of these, below $MODELPACK_REGISTRY

A registry is always named: nothing goes to a public one because a name was left out.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from modelpack.errors import BadReferenceError
from modelpack.store.durable import DIGEST
from modelpack.tag import Tag

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_SCHEMES = ("file", "s3", "http", "https")
_FORM = "a reference is HOST/REPOSITORY:TAG, such as 'registry.example/team/digits:1'"

DOCKER_HUB = "docker.io"
DEFAULT_TAG = "latest"


@dataclass(frozen=True, slots=True)
class RegistryReference:
    """A repository of a registry, and a tag or digest in it."""

    host: str
    """With its port, as it was written."""
    repository: str
    tag: str | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host):
            raise BadReferenceError(f"'{_shown(self.host)}' is not a host", hint=_FORM)
        if not _REPOSITORY.fullmatch(self.repository) or len(self.repository) > 255:
            raise BadReferenceError(
                f"'{_shown(self.repository)}' cannot be a repository",
                hint="it has lower-case letters, digits and single '.', '_', '-' and '/' between them",
            )
        if self.tag is not None and not _TAG.fullmatch(self.tag):
            raise BadReferenceError(f"'{_shown(self.tag)}' cannot be a tag", hint=_FORM)
        if self.digest is not None and not DIGEST.fullmatch(self.digest):
            raise BadReferenceError(
                f"'{_shown(self.digest)}' is not a digest", hint="a digest is sha256:HEX"
            )

    @property
    def wanted(self) -> str:
        """What is asked for: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or DEFAULT_TAG

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


@dataclass(frozen=True, slots=True)
class LayoutReference:
    """An OCI image layout at a URL, and a tag or digest in its index."""

    url: str
    """Without a slash at its end."""
    tag: str | None = None
    digest: str | None = None

    @property
    def scheme(self) -> str:
        """``file``, ``s3``, ``http`` or ``https``."""
        return self.url.partition(":")[0]

    def __str__(self) -> str:
        wanted = self.digest or self.tag
        return f"{self.url}#{wanted}" if wanted else self.url


Reference = RegistryReference | LayoutReference


def parse(text: str, *, below: str | None = None) -> Reference:
    """Read a reference; one without a host is meant below ``below``; raises BadReferenceError."""
    if "://" in text:
        return _parse_url(text)
    if text.startswith(("/", "./", "../")):
        raise BadReferenceError(
            f"'{_shown(text)}' names no registry",
            hint=f"a folder is written 'file://{_shown(text) if text[0] == '/' else '/FOLDER'}'",
        )
    first, slash, rest = text.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    if is_host:
        return _parse_repository(first, rest, text)
    if below:
        if "://" in below:
            return parse(f"{below.rstrip('/')}#{text}")
        return parse(f"{below.rstrip('/')}/{text}")
    raise BadReferenceError(
        f"'{_shown(text)}' names no registry",
        hint=f"put its host in front, such as 'registry.example/{_shown(text)}', "
        "or set MODELPACK_REGISTRY",
    )


def destination(
    text: str | None, own: Tag, *, prefix: str = "", below: str | None = None
) -> Reference:
    """Return where an entry is pushed to.

    own     the tag of the entry: a reference without a tag gets its version, a URL all of it
    prefix  ``models/`` for a model, whose tags stand below that in a layout
    below   where to without a text, and what a text without a host is meant below

    ``HOST/PATH/`` with a slash at its end gets the name of the entry.  Raises BadReferenceError.
    """
    if text is None:
        if not below:
            raise BadReferenceError(
                "there is no place to push to",
                hint=f"give one, such as 'registry.example/team/{own.name}', "
                "or set MODELPACK_REGISTRY",
            )
        text = below if "://" in below else f"{below.rstrip('/')}/"
    if text.endswith("/") and "://" not in text:
        text += own.name
    found = parse(text, below=below)
    if found.digest is not None:
        raise BadReferenceError(
            f"'{found}' has a digest: one can pull by it, not push to it",
            hint="leave the digest out",
        )
    if isinstance(found, RegistryReference):
        return found if found.tag else replace(found, tag=own.version)
    wanted = Tag.parse(found.tag.removeprefix("models/")) if found.tag else own
    if wanted.name != own.name:
        raise BadReferenceError(
            f"a bundle keeps its name: '{own.name}' cannot become '{wanted.name}'",
            hint=f"write '{found.url}#{own.name}:{wanted.version or own.version}'",
        )
    return replace(found, tag=f"{prefix}{Tag(own.name, wanted.version or own.version)}")


def counterpart(source: Reference, target: Reference) -> Reference:
    """Return where a copy goes: a target without a tag gets that of the source.

    Raises BadReferenceError where that does not say enough.
    """
    if target.tag is not None or target.digest is not None:
        return target
    if isinstance(target, RegistryReference):
        if isinstance(source, RegistryReference):
            return replace(target, tag=source.tag, digest=source.digest)
        version = source.tag.partition(":")[2] if source.tag else ""
        if version:
            return replace(target, tag=version)
    elif isinstance(source, LayoutReference) and ":" in (source.tag or ""):
        return replace(target, tag=source.tag)
    elif target.scheme == "file":
        return target
    raise BadReferenceError(
        f"'{target}' does not say the tag that the copy gets",
        hint=f"write '{target}:VERSION'"
        if isinstance(target, RegistryReference)
        else f"write '{target}#NAME:VERSION'",
    )


def is_loopback(host: str) -> bool:
    """Say whether a host (with or without a port) is this very machine."""
    is_bracketed = host.startswith("[")
    name = host[1:].partition("]")[0] if is_bracketed else host.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _parse_repository(host: str, rest: str, text: str) -> RegistryReference:
    rest, at, digest = rest.partition("@")
    repository, colon, tag = rest.partition(":")
    if (at and not digest) or (colon and not tag):
        raise BadReferenceError(f"'{_shown(text)}' ends too early", hint=_FORM)
    if host == DOCKER_HUB and repository and "/" not in repository:
        repository = f"library/{repository}"
    return RegistryReference(host, repository, tag or None, digest or None)


def _parse_url(text: str) -> Reference:
    url, _, fragment = text.partition("#")
    try:
        parts = urlsplit(url)
        has_user = parts.username is not None or parts.password is not None
        host = parts.hostname
    except ValueError:
        raise BadReferenceError(f"'{_shown(text)}' is not a URL", hint=_FORM) from None
    if parts.scheme in ("docker", "oci"):
        rest = url.partition("://")[2]
        raise BadReferenceError(
            f"'{_shown(text)}' has a scheme that is not needed", hint=f"write '{_shown(rest)}'"
        )
    if parts.scheme not in _SCHEMES:
        raise BadReferenceError(
            f"'{_shown(text)}' is of no kind that is known",
            hint="a URL begins with file://, s3://, http:// or https://",
        )
    if has_user:
        raise BadReferenceError("a reference holds no user and no password", hint=_FORM)
    if not url.isprintable() or " " in url or parts.query:
        raise BadReferenceError(f"'{_shown(text)}' is not the URL of a layout", hint=_FORM)
    if bool(host) == (parts.scheme == "file") or not (host or len(parts.path) > 1):
        form = {"file": "file:///FOLDER", "s3": "s3://BUCKET/PREFIX"}.get(
            parts.scheme, "https://HOST/PATH"
        )
        raise BadReferenceError(f"'{_shown(text)}' does not say where", hint=f"write '{form}'")
    if DIGEST.fullmatch(fragment):
        return LayoutReference(url.rstrip("/"), digest=fragment)
    if fragment:
        name = fragment.removeprefix("models/")
        Tag.parse(name)
    return LayoutReference(url.rstrip("/"), tag=fragment or None)


def _shown(text: str) -> str:
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 80 else text[:77] + "..."
