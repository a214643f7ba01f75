"""What is in a layer: every path with its facts, and nothing written anywhere.

    layer ──unpacked──► members ──scan──► LayerContents ──► $MODELPACK_CACHE/image/contents/HEX.json
    the same layer again ───────────────────────────────────► read from there, by its diff_id

Whiteouts are told from files here; a path that climbs out or is of no use is listed as odd and left
out.  What a layer can make us hold in memory is bounded.

Whiteouts ``.wh.NAME`` and ``.wh..wh..opq``: OCI image specification 1.1, layer.md.
"""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass, field

from modelpack.errors import RefusedError
from modelpack.image.reading import Kind, Member, Pulled, ReadLayer, members
from modelpack.store.names import MAX_PATH_BYTES, WHITEOUT, shown

MAX_MEMBERS = 2_000_000
MAX_NAME_BYTES = 512 * 1024**2
"""Names of a layer together, and what is kept of each file."""
MAX_TEXT_BYTES = 4 * 1024**2
MAX_TEXTS_BYTES = 64 * 1024**2
MAX_ODD = 20
"""Odd paths that are listed."""

_FACTS_BYTES = 200
_OPAQUE = ".wh..wh..opq"
_TEXTS = (".dist-info/RECORD", "bundle/bundle.json", "bundle/requirements.lock")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a layer says of one path."""

    kind: Kind
    size: int
    mode: int
    user: int = 0
    group: int = 0
    sha256: str = ""
    """Hex digest of a file's bytes; else empty."""
    link: str = ""


@dataclass(slots=True)
class LayerContents:
    """What a layer brings and takes away."""

    diff_id: str
    size: int = 0
    """Bytes of the tar."""
    files: dict[str, FileFacts] = field(default_factory=dict)
    """By path, without a slash at either end."""
    whiteouts: list[str] = field(default_factory=list)
    """Paths below which nothing of the layers beneath is left."""
    opaque: list[str] = field(default_factory=list)
    """Folders that hide what they held beneath."""
    odd: list[str] = field(default_factory=list)
    """Paths that no image should have, each with why."""
    texts: dict[str, bytes] = field(default_factory=dict)
    """Short files that are read: lists of what a package installed, the record of a bundle."""

    @property
    def file_bytes(self) -> int:
        """Bytes of all files."""
        return sum(one.size for one in self.files.values())


def scan(layer: ReadLayer) -> LayerContents:
    """Read a layer once, to its end.

    Raises DigestMismatchError, RefusedError for a bomb of bytes or of names, and what its place
    raises.
    """
    found = LayerContents(layer.diff_id)
    counted = _Counted(layer)
    budget, text_budget = MAX_NAME_BYTES, MAX_TEXTS_BYTES
    what = f"the layer '{layer.blob.digest[:19]}'"
    for number, (member, content) in enumerate(members(Pulled(counted), what)):
        budget -= _FACTS_BYTES + len(member.path) + len(member.link)
        if budget < 0 or number == MAX_MEMBERS:
            raise RefusedError(
                f"{what} holds more names than any image has",
                hint="get it again from who made it",
            )
        path = _path(member.path)
        if path is None:
            _note(found, member.path, "leads out of the image, or nowhere")
        elif (name := posixpath.basename(path)).startswith(WHITEOUT):
            _take_away(found, path, name)
        elif path:
            keep = _is_text(path, member) and member.size <= text_budget
            text_budget -= member.size if keep else 0
            digest, text = hashlib.sha256(), bytearray()
            for data in content:
                digest.update(data)
                if keep:
                    text += data
            found.files[path] = FileFacts(
                kind=member.kind,
                size=member.size,
                mode=member.mode,
                user=member.user,
                group=member.group,
                sha256=digest.hexdigest() if member.kind is Kind.FILE else "",
                link=member.link,
            )
            if keep:
                found.texts[path] = bytes(text)
            _note_odd(found, path, member)
    found.size = counted.size
    return found


class _Counted:
    """The bytes of a layer's tar, counted as they go by."""

    def __init__(self, layer: ReadLayer) -> None:
        self._chunks = layer.unpacked()
        self.size = 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> bytes:
        data = next(self._chunks)
        self.size += len(data)
        return data


def _path(raw: str) -> str | None:
    """Return a path as all layers have it, empty for the root; None when it climbs out."""
    parts = [part for part in raw.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in raw or len(raw) > MAX_PATH_BYTES:
        return None
    return "/".join(parts)


def _take_away(found: LayerContents, path: str, name: str) -> None:
    folder = posixpath.dirname(path)
    if name == _OPAQUE:
        found.opaque.append(folder)
    elif not name.startswith(f"{WHITEOUT}{WHITEOUT}"):  # those are notes of AUFS for itself
        target = posixpath.join(folder, name.removeprefix(WHITEOUT))
        if target != folder and name != WHITEOUT:
            found.whiteouts.append(target)


def _note_odd(found: LayerContents, path: str, member: Member) -> None:
    if member.kind is Kind.FILE and member.mode & 0o4000 and path.startswith("bundle/"):
        _note(found, path, "runs with the rights of its owner (setuid)")
    if member.kind is Kind.DEVICE and path.startswith("bundle/"):
        _note(found, path, "is a device")
    if member.kind is Kind.HARDLINK and _path(member.link) is None:
        _note(found, path, "is a link to a place outside of the image")


def _note(found: LayerContents, path: str, why: str) -> None:
    if len(found.odd) < MAX_ODD:
        found.odd.append(f"'{shown(path)}' {why}")


def _is_text(path: str, member: Member) -> bool:
    is_short = member.kind is Kind.FILE and member.size <= MAX_TEXT_BYTES
    return is_short and path.endswith(_TEXTS)
