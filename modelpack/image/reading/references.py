"""What a reference to an image means, before anything is opened.

    oci:DIR[:TAG]               an OCI image layout in a folder
    oci-archive:FILE[:TAG]      the same as one tar
    docker-archive:FILE[:NAME]  what ``docker save`` writes
    engine:NAME                 in the container engine of this machine, by name or id
    registry:HOST/NAME:TAG      in a registry, by tag or ``@sha256:…``
    NAME:TAG                    in the engine where it has it, else in a registry

Paths may hold colons, and so may tags: the path is the longest beginning that stands on the disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from modelpack.errors import BadReferenceError, NotFoundError
from modelpack.store.names import shown

_MAX_CHARACTERS = 4096
_FORMS = (
    "write NAME:TAG, engine:NAME, registry:HOST/NAME:TAG, oci:DIR, oci-archive:FILE "
    "or docker-archive:FILE"
)
_OTHER_WORDS = {
    "docker://": "registry:",
    "docker-daemon:": "engine:",
    "containers-storage:": "oci:",
    "dir:": "oci:",
    "oci://": "registry:",
    "https://": "registry:",
    "http://": "registry:",
}


class Where(StrEnum):
    """The kinds of places in which an image can be."""

    LAYOUT = "oci"
    LAYOUT_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"
    ENGINE = "engine"
    REGISTRY = "registry"
    ANYWHERE = ""
    """In the engine, else in a registry."""


_OF_FILES = (Where.LAYOUT, Where.LAYOUT_ARCHIVE, Where.DOCKER_ARCHIVE)


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A place, and what is meant there."""

    where: Where
    name: str
    """Path of a folder or file, or the name of the image."""
    tag: str | None = None
    """Tag, digest or name within a folder or file; None: the only one."""

    def __str__(self) -> str:
        text = f"{self.where}:{self.name}" if self.where else self.name
        return f"{text}:{self.tag}" if self.tag else text

    @property
    def path(self) -> Path:
        """The folder or file."""
        return Path(self.name)


def parse_image(text: str) -> ImageReference:
    """Read a reference; raises BadReferenceError, NotFoundError when no such path is there."""
    is_path = text.partition(":")[0] in _OF_FILES
    if (
        not text
        or len(text) > _MAX_CHARACTERS
        or not text.isprintable()
        or (" " in text and not is_path)
    ):
        raise BadReferenceError(f"'{shown(text)}' does not name an image", hint=_FORMS)
    for word, ours in _OTHER_WORDS.items():
        if text.startswith(word):
            raise BadReferenceError(
                f"'{shown(text)}' is written in the way of another tool",
                hint=f"write '{ours}{shown(text.removeprefix(word))}'",
            )
    word, colon, rest = text.partition(":")
    if not colon or word not in set(Where) - {Where.ANYWHERE}:
        return ImageReference(Where.ANYWHERE, text)
    if not rest:
        raise BadReferenceError(f"'{shown(text)}' ends too early", hint=_FORMS)
    where = Where(word)
    if where not in _OF_FILES:
        return ImageReference(where, rest)
    path, tag = _split(rest, where)
    return ImageReference(where, path, tag)


def _split(rest: str, where: Where) -> tuple[str, str | None]:
    """Return path and tag of ``PATH[:TAG]``; raises NotFoundError."""
    parts = rest.split(":")
    for count in range(len(parts), 0, -1):
        path = ":".join(parts[:count])
        if path and Path(path).exists():
            return path, ":".join(parts[count:]) or None
    what = "folder" if where is Where.LAYOUT else "file"
    raise NotFoundError(
        f"no {what} '{shown(rest)}'", hint=f"'{where}:' is followed by the path of a {what}"
    )
