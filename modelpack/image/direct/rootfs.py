"""What the layers of a base image put together, as far as a builder has to know it.

    tars of the layers ──read_layer──► one Listing each ──┐
                                                          └─► Root: links, folders, a few files looked into
    Root ──resolve──► the file that a path leads to; glibc, interpreters, Debian packages

Nothing is written to a disk.  Whiteouts (``.wh.NAME``, ``.wh..wh..opq``) remove what lower layers
brought, as the OCI image specification says (layer.md, "Whiteouts").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from modelpack.errors import RefusedError
from modelpack.image.reading.members import Kind, Member, Pulled, members

MAX_MEMBERS = 1_000_000
MAX_LOOKED_INTO = 256 * 1024 * 1024
"""Longest file that is looked into, in bytes."""
MAX_LINKS = 40
"""Links that one path may lead through, as Linux has it."""

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_INTERPRETER = re.compile(r"(?:lib)?python(3\.\d{1,2})(?:\.so\.1\.0)?")
_LIBC = re.compile(r"libc\.so\.6|libc-2\.\d{1,2}\.so|ld-musl-[a-z0-9_]+\.so\.1")
_TEXTS = ("var/lib/dpkg/status", "etc/os-release", "usr/lib/os-release")
_DPKG_PARTS = "var/lib/dpkg/status.d/"
_MACHINES = {62: "x86_64", 183: "aarch64"}
"""``e_machine`` of the ELF header: System V ABI, ``EM_X86_64`` and ``EM_AARCH64``."""
_GLIBC = rb"GNU C Library .{0,200}?release version (2\.\d{1,2})\b"


@dataclass(frozen=True, slots=True)
class Node:
    """What stands at a path: a folder, a link, or a file."""

    target: str | None = None
    """Where a link leads."""
    is_folder: bool = False
    is_executable: bool = False
    machine: str | None = None
    """Processor of an ELF file that was looked into."""
    version: str | None = None
    """Of glibc or CPython, where the file says one."""
    text: str | None = None
    """Content of the few files that are kept."""


FOLDER = Node(is_folder=True)


@dataclass(slots=True)
class Listing:
    """What one layer adds and removes."""

    nodes: dict[str, Node] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    """Paths of lower layers that are gone."""
    emptied: list[str] = field(default_factory=list)
    """Folders of lower layers whose content is gone."""
    copies: list[tuple[str, str]] = field(default_factory=list)
    """Hard links: path, and the path that it is the same file as."""


def read_layer(chunks: Iterator[bytes], what: str) -> Listing:
    """List the tar of a layer; reads ``chunks`` to their end, where whoever gives them checks them.

    Raises DigestMismatchError and RefusedError for what is no whole tar.
    """
    found = Listing()
    for count, (member, content) in enumerate(members(Pulled(chunks), what)):
        if count >= MAX_MEMBERS:
            raise RefusedError(
                f"{what} has more than {MAX_MEMBERS} files",
                hint="name another base with --base",
            )
        _add(found, member, content)
    return found


class Root:
    """The file system that layers make together, the lowest first."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {"": FOLDER}

    def add(self, layer: Listing) -> None:
        """Lay a layer over what is there."""
        gone = set(layer.removed)
        emptied = set(layer.emptied)
        replaced = {
            path
            for path, node in layer.nodes.items()
            if not node.is_folder and self._nodes.get(path, node).is_folder
        }
        if gone or emptied or replaced:
            below = gone | emptied | replaced
            self._nodes = {
                path: node
                for path, node in self._nodes.items()
                if path not in gone and not any(one in below for one in _parents(path))
            }
        for path, same_as in layer.copies:
            node = layer.nodes.get(same_as) or self._nodes.get(same_as)
            if node is not None:
                layer.nodes[path] = node
        for path, node in layer.nodes.items():
            for parent in _parents(path):
                self._nodes.setdefault(parent, FOLDER)
            self._nodes[path] = node

    def resolve(self, path: str) -> str | None:
        """Return the absolute path that a path leads to through links; None: nowhere."""
        todo = [part for part in path.split("/") if part][::-1]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part in (".", ".."):
                del done[len(done) - (part == "..") :]
                continue
            node = self._nodes.get("/".join((*done, part)))
            if node is None:
                return None
            if node.target is None:
                done.append(part)
                continue
            links += 1
            if links > MAX_LINKS:
                return None
            if node.target.startswith("/"):
                done = []
            todo += [one for one in node.target.split("/") if one][::-1]
        return "/" + "/".join(done)

    def node(self, path: str) -> Node | None:
        """Return what a path leads to."""
        found = self.resolve(path)
        return self._nodes.get(found.strip("/")) if found is not None else None

    def names(self, folder: str) -> list[str]:
        """Return what a folder holds, sorted; nothing for what is no folder."""
        found = self.resolve(folder)
        start = f"{found.strip('/')}/".lstrip("/") if found is not None else "\0"
        below = (path.removeprefix(start) for path in self._nodes if path.startswith(start))
        return sorted(name for name in below if name and "/" not in name)

    def find(self, pattern: re.Pattern[str]) -> Iterator[tuple[str, Node]]:
        """Give the files whose name is of a form, with their absolute paths."""
        for path, node in self._nodes.items():
            if not node.is_folder and pattern.fullmatch(path.rpartition("/")[2]):
                yield f"/{path}", node

    def texts(self, folder: str) -> list[str]:
        """Return the kept files of a folder, by name."""
        start = folder.strip("/") + "/"
        found = sorted((p, n.text) for p, n in self._nodes.items() if p.startswith(start))
        return [text for _, text in found if text is not None]

    def libc(self) -> Node | None:
        """Return the C library that programs get here: glibc if there is one."""
        found = [node for _, node in self.find(_LIBC) if node.target is None]
        return max(found, key=lambda node: node.version is not None, default=None)


def _add(found: Listing, member: Member, content: Iterator[bytes]) -> None:
    path = _clean(member.path)
    if path is None:
        return
    folder, _, name = path.rpartition("/")
    if name == _OPAQUE:
        found.emptied.append(folder)
    elif name.startswith(_WHITEOUT):
        found.removed.append(f"{folder}/{name.removeprefix(_WHITEOUT)}".lstrip("/"))
    elif member.kind is Kind.SYMLINK:
        found.nodes[path] = Node(target=member.link)
    elif member.kind is Kind.FOLDER:
        found.nodes[path] = FOLDER
    elif member.kind is Kind.HARDLINK:
        if (same_as := _clean(member.link)) is not None:
            found.copies.append((path, same_as))
    elif member.kind is Kind.FILE:
        found.nodes[path] = _look_into(member, content, path, name)


def _look_into(member: Member, content: Iterator[bytes], path: str, name: str) -> Node:
    is_executable = bool(member.mode & 0o111)
    is_text = path in _TEXTS or path.startswith(_DPKG_PARTS)
    python = _INTERPRETER.fullmatch(name)
    is_wanted = is_text or python or _LIBC.fullmatch(name)
    if not is_wanted or member.size > MAX_LOOKED_INTO:
        return Node(is_executable=is_executable)
    data = b"".join(content)
    if is_text:
        return Node(is_executable=is_executable, text=data.decode("utf-8", "replace"))
    pattern = rb"\x00(%s\.\d{1,2})\+?\x00" % re.escape(python[1].encode()) if python else _GLIBC
    version = re.search(pattern, data, re.DOTALL)
    is_elf = data[:4] == b"\x7fELF"
    return Node(
        is_executable=is_executable,
        machine=_MACHINES.get(int.from_bytes(data[18:20], "little")) if is_elf else None,
        version=version[1].decode() if version else None,
    )


def _clean(name: str) -> str | None:
    """Return a member's path without ``./`` and slashes around it; None for one that leads out."""
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", ".")]
    return None if ".." in parts or not parts else "/".join(parts)


def _parents(path: str) -> Iterator[str]:
    while path:
        path = path.rpartition("/")[0]
        yield path
