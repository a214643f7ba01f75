"""What is different in another image, and what a push of it sends where the first one is.

    Looked a, Looked b ──compare_images──► layers kept, added, gone ──► bytes of a push
                                           packages, models, files, settings ──► why so many

A registry knows a layer by its digest, that is, compressed in exactly one way; an engine knows it by
its diff_id and compresses it as it pushes.  Where an engine has one of the two, layers are therefore
compared by diff_id, and the bytes are those before compression.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from modelpack.config.units import format_size
from modelpack.image.looking.contents import FileFacts
from modelpack.image.looking.described import Looked, LookedLayer, env_of, ports_of
from modelpack.image.looking.packages import MODELS
from modelpack.image.reading import Kind, Where

_NOT_FILES = (f"{MODELS}/", "bundle/venv/")
_IN_ENGINES = (Where.ENGINE, Where.DOCKER_ARCHIVE)
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Changed:
    """One thing that is not the same; a side that has it not is None."""

    name: str
    old: str | int | None
    new: str | int | None

    @property
    def sign(self) -> str:
        """``+``, ``-`` or ``~``."""
        return "+" if self.old is None else "-" if self.new is None else "~"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"name": self.name, "old": self.old, "new": self.new}


@dataclass(frozen=True)
class ImageDifference:
    """Two images beside each other; ``bool`` says whether anything differs."""

    a: Looked
    b: Looked

    def __bool__(self) -> bool:
        return self.a.image.config_blob != self.b.image.config_blob or bool(self.added)

    @property
    def is_by_content(self) -> bool:
        """True when layers are compared by what is in them, whatever their compression."""
        return any(one.image.where in _IN_ENGINES for one in (self.a, self.b))

    @cached_property
    def kept(self) -> list[LookedLayer]:
        """Layers of b that a has, too."""
        known = {self._key(one) for one in self.a.layers}
        return [one for one in self.b.layers if self._key(one) in known]

    @cached_property
    def added(self) -> list[LookedLayer]:
        """Layers of b that a has not, each once."""
        known = {self._key(one) for one in self.a.layers}
        found = {self._key(one): one for one in self.b.layers if self._key(one) not in known}
        return list(found.values())

    @cached_property
    def removed(self) -> list[LookedLayer]:
        """Layers of a that b has not."""
        known = {self._key(one) for one in self.b.layers}
        return [one for one in self.a.layers if self._key(one) not in known]

    @cached_property
    def push_bytes(self) -> int:
        """Bytes that a push of b sends where a is: layers, config, manifest."""
        old, new = self.a.image, self.b.image
        size = sum(one.size_bytes for one in self.added)
        if new.config_blob != old.config_blob:
            size += new.config_blob.size
        if new.digest != old.digest:
            size += new.document.blob.size
        return size

    @cached_property
    def packages(self) -> list[Changed]:
        """Python packages that came, went, or changed their version."""
        sides = [
            {(one.name, one.place.startswith("bundle/")): one.version for one in looked.packages}
            for looked in (self.a, self.b)
        ]
        return [
            Changed(name if is_bundled else f"{name} (base)", old, new)
            for (name, is_bundled), old, new in _changed(*sides)
        ]

    @cached_property
    def models(self) -> list[Changed]:
        """Models that came, went, or have other bytes, with their sizes."""
        sides = [
            {
                name: (size, self._digests(looked, f"{MODELS}/{name}"))
                for name, size in looked.models.items()
            }
            for looked in (self.a, self.b)
        ]
        return [
            Changed(name, old[0] if old else None, new[0] if new else None)
            for name, old, new in _changed(*sides)
        ]

    @cached_property
    def files(self) -> list[Changed]:
        """Files of the bundle that are neither packages nor models: its code; with their sizes."""
        sides = [
            {
                path: _state(one.facts)
                for path, one in looked.tree.below("bundle")
                if one.facts.kind is not Kind.FOLDER and not path.startswith(_NOT_FILES)
            }
            for looked in (self.a, self.b)
        ]
        return [
            Changed(path.removeprefix("bundle/"), old and old[0], new and new[0])
            for path, old, new in _changed(*sides)
        ]

    @cached_property
    def other_files(self) -> int:
        """Files outside of the bundle that are not the same: those of the base."""
        sides = [
            {
                path: _state(one.facts)
                for path, one in looked.tree.files.items()
                if one.facts.kind is not Kind.FOLDER and not path.startswith("bundle/")
            }
            for looked in (self.a, self.b)
        ]
        return sum(1 for _ in _changed(*sides))

    @cached_property
    def settings(self) -> list[Changed]:
        """Variables, labels, user, ports, entry point and the like that are not the same."""
        old, new = (_settings(looked) for looked in (self.a, self.b))
        return [Changed(name, before, after) for name, before, after in _changed(old, new)]

    @cached_property
    def reason(self) -> str:
        """One sentence: why a push of b is as large as it is."""
        if not self:
            return "the two are the same image: nothing is sent"
        if not self.added:
            return "no layer is new: only settings are sent"
        most = max(self.added, key=lambda one: one.size_bytes)
        part = f"'{most.what}' ({format_size(most.size_bytes)})"
        start = f"{part} is new" if len(self.added) == 1 else f"most of it is {part}"
        return f"{start}: {self._why(most)}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "a": {"name": self.a.image.name, "id": self.a.image.config_blob.digest},
            "b": {"name": self.b.image.name, "id": self.b.image.config_blob.digest},
            "is_different": bool(self),
            "push_bytes": self.push_bytes,
            "is_before_compression": self.is_by_content,
            "reason": self.reason,
            "layers": {
                "kept": [one.to_json() for one in self.kept],
                "added": [one.to_json() for one in self.added],
                "removed": [one.to_json() for one in self.removed],
            },
            "packages": [one.to_json() for one in self.packages],
            "models": [one.to_json() for one in self.models],
            "files": [one.to_json() for one in self.files],
            "other_files": self.other_files,
            "settings": [one.to_json() for one in self.settings],
        }

    def _key(self, layer: LookedLayer) -> str:
        return layer.diff_id if self.is_by_content else layer.digest

    def _why(self, layer: LookedLayer) -> str:
        if layer.diff_id in {one.diff_id for one in self.a.layers}:
            return "it has the same files, compressed in another way"
        number = self.b.layers.index(layer)
        mine = [
            (path, one.facts)
            for path, one in self.b.tree.files.items()
            if one.layer == number and one.facts.kind is not Kind.FOLDER
        ]
        old = self.a.tree.files
        changed = [
            path
            for path, facts in mine
            if path not in old or _state(old[path].facts) != _state(facts)
        ]
        if not changed:
            return "its files are the same, but it was written anew, with other times or owners"
        said = f"{len(changed):,} of its {len(mine):,} files are new or changed"
        if layer.what.startswith("Python packages") and self.packages:
            names = [_version(one) for one in self.packages[:_NAMED]]
            more = len(self.packages) - len(names)
            said += f" ({', '.join(names)}{f' and {more} more' * bool(more)})"
        elif len(changed) == 1:
            said = f"'{changed[0]}' is new or changed"
        return said

    @staticmethod
    def _digests(looked: Looked, folder: str) -> tuple[tuple[str, str], ...]:
        return tuple((path, one.facts.sha256) for path, one in looked.tree.below(folder))


def compare_images(a: Looked, b: Looked) -> ImageDifference:
    """Return what is different in ``b``."""
    return ImageDifference(a, b)


def _state(facts: FileFacts) -> tuple[int, str, int, str, str]:
    """Return what makes a file the same file, its size first."""
    return (facts.size, str(facts.kind), facts.mode, facts.sha256, facts.link)


def _changed(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Give key and both values of what is not the same, sorted."""
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if before != after:
            yield key, before, after


def _settings(looked: Looked) -> dict[str, str]:
    image = looked.image
    found = {f"env {name}": value for name, value in env_of(image).items()}
    found |= {f"label {name}": value for name, value in image.labels.items()}
    for key, name in (
        ("Entrypoint", "entry point"),
        ("Cmd", "command"),
        ("User", "user"),
        ("WorkingDir", "workdir"),
        ("StopSignal", "stop signal"),
    ):
        if value := image.settings.get(key):
            found[name] = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    if ports := ports_of(image):
        found["ports"] = ", ".join(ports)
    found["platform"] = image.platform
    return found


def _version(one: Changed) -> str:
    if one.old is None:
        return f"{one.name} {one.new} is new"
    return f"{one.name} is gone" if one.new is None else f"{one.name} {one.old} → {one.new}"
