"""What an image is, put together from its config, its layers and what is in them.

    ReadImage ──contents of each layer──► Tree ──► Looked: layers, packages, models, files, statements

Nothing of it is run, and nothing is believed of it beyond what its digests prove: a label that names
a bundle is shown as what the label says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelpack.config.units import format_size
from modelpack.image.looking.contents import LayerContents, scan
from modelpack.image.looking.packages import MODELS, Package, models_of, packages_of
from modelpack.image.looking.remembered import contents_of
from modelpack.image.looking.tree import Tree, merge
from modelpack.image.reading import Kind, ReadImage, ReadLayer, Where
from modelpack.image.reading.choosing import platforms_of
from modelpack.progress import SILENT, Progress
from modelpack.store.names import shown

LARGEST = 10
"""Files that are listed as the largest."""
BUNDLE_DIGEST = "dev.modelpack.bundle.digest"
BUNDLE_TAG = "dev.modelpack.tag"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"

_VENV = "bundle/venv/"
_LOCK = "the lock"
_LEAST_SHARE = 0.05
"""Of the bytes of a layer: less does not give it its name."""


@dataclass(frozen=True, slots=True)
class LookedLayer:
    """One layer of an image."""

    digest: str
    """As it is stored."""
    diff_id: str
    size_bytes: int
    """As it is stored: what is pulled and pushed."""
    unpacked_bytes: int
    """Bytes of its files."""
    hidden_bytes: int
    """Those of them that higher layers replace or take away."""
    what: str
    """What it brings, in a word or two."""
    created_by: str
    """What its history says; empty when it does not."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "digest": self.digest,
            "diff_id": self.diff_id,
            "size_bytes": self.size_bytes,
            "unpacked_bytes": self.unpacked_bytes,
            "hidden_bytes": self.hidden_bytes,
            "what": self.what,
            "created_by": self.created_by,
        }


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the history of an image."""

    created: str
    created_by: str
    layer: LookedLayer | None
    """None: it changed settings alone."""


@dataclass(frozen=True, slots=True)
class Looked:
    """All that there is to say of an image."""

    image: ReadImage
    layers: tuple[LookedLayer, ...]
    tree: Tree
    packages: tuple[Package, ...]
    models: Mapping[str, int]
    """Bytes by name."""
    odd: tuple[str, ...]
    """What no image should have."""

    @property
    def digest(self) -> str | None:
        """Digest of its manifest; None where it has none but that which we made for it."""
        has_one = self.image.where not in (Where.ENGINE, Where.DOCKER_ARCHIVE)
        return self.image.digest if has_one else None

    @property
    def size_bytes(self) -> int:
        """Bytes as stored: layers, config and manifest."""
        documents = self.image.config_blob.size + self.image.document.blob.size
        return sum(one.size_bytes for one in self.layers) + documents

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of all files in all layers: what it takes on the disk of an engine."""
        return sum(one.unpacked_bytes for one in self.layers)

    @property
    def platforms(self) -> tuple[str, ...]:
        """Every platform of its index, or its own."""
        index = self.image.index
        return platforms_of(index) if index is not None else (self.image.platform,)

    def largest(self, count: int = LARGEST) -> list[tuple[str, int]]:
        """Return the largest files that a container sees."""
        files = ((path, one.facts.size) for path, one in self.tree.files.items())
        return sorted(files, key=lambda one: (-one[1], one[0]))[:count]

    def history(self) -> list[Step]:
        """Return what was done, oldest first; layers without a history stand for themselves."""
        said = _history(self.image)
        layers = iter(self.layers)
        if sum(not one.get("empty_layer") for one in said) != len(self.layers):
            return [Step("", "", layer) for layer in layers]
        return [
            Step(
                created=shown(str(one.get("created") or "")),
                created_by=_created_by(one),
                layer=None if one.get("empty_layer") else next(layers),
            )
            for one in said
        ]

    def referrers(self) -> list[dict[str, Any]]:
        """Return what is said about it: kind, digest and size of each statement."""
        return [
            {
                "kind": shown(_kind_of(one.value)),
                "digest": one.blob.digest,
                "size_bytes": one.blob.size,
            }
            for one in self.image.read_referrers()
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        image, settings, labels = self.image, self.image.settings, self.image.labels
        return {
            "name": image.name,
            "where": str(image.where),
            "digest": self.digest,
            "id": image.config_blob.digest,
            "platform": image.platform,
            "platforms": list(self.platforms),
            "created": image.config.get("created"),
            "size_bytes": self.size_bytes,
            "unpacked_bytes": self.unpacked_bytes,
            "base": {"name": labels.get(BASE_NAME), "digest": labels.get(BASE_DIGEST)},
            "bundle": {"tag": labels.get(BUNDLE_TAG), "digest": labels.get(BUNDLE_DIGEST)},
            "user": settings.get("User"),
            "env": env_of(image),
            "entry_point": settings.get("Entrypoint"),
            "command": settings.get("Cmd"),
            "workdir": settings.get("WorkingDir"),
            "ports": ports_of(image),
            "stop_signal": settings.get("StopSignal"),
            "health_check": settings.get("Healthcheck"),
            "labels": labels,
            "layers": [one.to_json() for one in self.layers],
            "packages": [
                {
                    "name": one.name,
                    "version": one.version,
                    "size_bytes": one.size_bytes,
                    "place": one.place,
                }
                for one in self.packages
            ],
            "models": dict(self.models),
            "largest": [{"path": path, "size_bytes": size} for path, size in self.largest()],
            "referrers": self.referrers(),
            "odd": list(self.odd),
        }


def look(image: ReadImage, *, progress: Progress = SILENT) -> Looked:
    """Read every layer of an image that is not known from before, and say what it is.

    Raises DigestMismatchError, RefusedError for bombs and zstd, and what its place raises.
    """
    count = len(image.layers)

    def read(layer: ReadLayer) -> LayerContents:
        number = image.layers.index(layer) + 1
        with progress.step(f"read layer {number} of {count}, {format_size(layer.blob.size)}"):
            return scan(layer)

    contents = [contents_of(layer, read) for layer in image.layers]
    tree = merge(contents)
    said = [one for one in _history(image) if not one.get("empty_layer")]
    created_by = [_created_by(one) for one in said]
    if len(said) != len(contents):
        created_by = [""] * len(contents)
    layers = tuple(
        LookedLayer(
            digest=layer.blob.digest,
            diff_id=layer.diff_id,
            size_bytes=layer.blob.size,
            unpacked_bytes=found.file_bytes,
            hidden_bytes=hidden,
            what=what_of(found, by),
            created_by=by,
        )
        for layer, found, hidden, by in zip(
            image.layers, contents, tree.hidden_bytes, created_by, strict=True
        )
    )
    return Looked(
        image=image,
        layers=layers,
        tree=tree,
        packages=tuple(packages_of(tree, contents)),
        models=models_of(tree),
        odd=(*(one for found in contents for one in found.odd), *tree.odd),
    )


def what_of(found: LayerContents, created_by: str) -> str:
    """Return in a word or two what a layer brings."""
    kinds: Counter[str] = Counter()
    for path, facts in found.files.items():
        if facts.kind is not Kind.FOLDER:
            # A link or an empty file counts, too, but anything with bytes outweighs it.
            kinds[_kind(path)] += facts.size + 1
    if not kinds:
        return "takes files away" if found.whiteouts or found.opaque else "nothing"
    if kinds.keys() <= {"bytecode", "Python packages"} and kinds["bytecode"] > kinds.total() * 0.9:
        return "bytecode"
    kinds["Python packages"] += kinds.pop("bytecode", 0)
    least = kinds.total() * _LEAST_SHARE
    named = [kind for kind, size in kinds.most_common() if kind != "other files" and size > least]
    if len(named) > 1 and _LOCK in named:
        named.remove(_LOCK)  # it goes with what else is there
    if not named:
        match = re.search(r"apt-get install|apk add|dnf install|yum install", created_by)
        return "system packages" if match else "other files"
    return ", ".join(named[:3])


def env_of(image: ReadImage) -> dict[str, str]:
    """Return the variables that a container gets."""
    found = image.settings.get("Env")
    pairs = (str(one).partition("=") for one in (found if isinstance(found, list) else ()))
    return {name: value for name, _, value in pairs}


def ports_of(image: ReadImage) -> list[str]:
    """Return the ports that an image names, such as ``3000/tcp``."""
    found = image.settings.get("ExposedPorts")
    return sorted(str(one) for one in found) if isinstance(found, dict) else []


def command_of(image: ReadImage) -> list[str]:
    """Return the words that a container is started with."""
    found = [image.settings.get(key) for key in ("Entrypoint", "Cmd")]
    return [str(word) for words in found if isinstance(words, list) for word in words]


def _kind(path: str) -> str:
    if path.startswith(f"{MODELS}/"):
        return f"model {shown(path.split('/')[2])}"
    if path.startswith(_VENV):
        if "-packages/modelpack" in path:
            return "server"
        return "bytecode" if path.endswith(".pyc") else "Python packages"
    if path.startswith("bundle/wheels/"):
        return "wheels"
    if path == "bundle/requirements.lock":
        return _LOCK
    if path.startswith("bundle/doc/"):
        return "documents"
    if path.startswith("bundle/"):
        return "code"
    if path.startswith(("bin/", "lib/", "usr/bin/", "usr/lib/", "etc/os-release")):
        return "system"
    return "other files"


def _history(image: ReadImage) -> Sequence[dict[str, Any]]:
    found = image.config.get("history")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _created_by(step: Mapping[str, Any]) -> str:
    text = " ".join(str(step.get("created_by") or step.get("comment") or "").split())
    for start in ("/bin/sh -c #(nop) ", "/bin/sh -c "):
        text = text.removeprefix(start)
    return text.strip()


def _kind_of(value: Mapping[str, Any]) -> str:
    config = value.get("config")
    fallback = config.get("mediaType") if isinstance(config, dict) else None
    return str(value.get("artifactType") or fallback or "unknown")
