"""Brings an image into the container engine of this machine, without what is there already.

    diff_ids of our image ──beside those of images there──► layers that can be left out
    stream_archive(without them) ──► POST /images/load ──► there, under its name

An engine looks a layer up by those below and including it before it opens its file (moby,
image/tarexport/load.go), so that a tar need not have the layers of a base that is there.  An engine
that does want them says so, and is given everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from modelpack.errors import EngineError
from modelpack.image.direct.archives import stream_archive
from modelpack.image.direct.assembling import DirectImage
from modelpack.image.direct.source import ImageSource

if TYPE_CHECKING:
    from docker import APIClient

_MOST_LOOKED_AT = 50
"""Images whose layers are compared: those that modelpack made, and the base."""


def load(image: DirectImage, source: ImageSource, name: str) -> int:
    """Load an image into the engine under ``name``; return the bytes that were sent.

    Raises ToolMissingError without an engine, EngineError when it does not take the image.
    """
    from modelpack.image import connect

    with connect() as engine:
        there = _layers_there(engine, image)
        counter = _Counter()
        said = _load(engine, counter.of(stream_archive(image, source, name, without=there)))
        if said is not None and there:
            said = _load(engine, counter.of(stream_archive(image, source, name)))
        if said is None and not _is_there(engine, image, name):
            said = "it is not there afterwards"
    if said is not None:
        raise EngineError(
            f"the engine did not load '{name}': {said}",
            hint="write it with '--output docker-archive:FILE' and see what 'docker load' says",
        )
    return counter.count


class _Counter:
    """Counts the bytes that pass."""

    def __init__(self) -> None:
        self.count = 0

    def of(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for data in chunks:
            self.count += len(data)
            yield data


def _layers_there(engine: APIClient, image: DirectImage) -> set[str]:
    """Return digests of the lowest layers that some image of the engine begins with."""
    ours = [layer.diff_id for layer in image.layers]
    most = 0
    for name in _candidates(engine, image):
        theirs = _diff_ids(engine, name)
        same = 0
        while same < min(len(ours), len(theirs)) and ours[same] == theirs[same]:
            same += 1
        most = max(most, same)
    kept = {layer.blob.digest for layer in image.layers[most:]}
    return {layer.blob.digest for layer in image.layers[:most]} - kept


def _candidates(engine: APIClient, image: DirectImage) -> Sequence[str]:
    """Return ids of images that may share layers with ours, the newest first, and the base."""
    from docker.errors import DockerException

    try:
        found = engine.images(filters={"label": "dev.modelpack.bundle.digest"})
    except DockerException:
        return [image.plan.base.image]
    made = [str(one["Id"]) for one in found[:_MOST_LOOKED_AT]]
    labels = image.manifest.value.get("annotations", {})
    base = labels.get("org.opencontainers.image.base.name", image.plan.base.image)
    return [*made, str(base)]


def _diff_ids(engine: APIClient, name: str) -> list[str]:
    from docker.errors import DockerException

    try:
        found: dict[str, Any] = engine.inspect_image(name)  # type: ignore[no-untyped-call]
    except DockerException:
        return []
    return [str(one) for one in (found.get("RootFS") or {}).get("Layers") or ()]


def _is_there(engine: APIClient, image: DirectImage, name: str) -> bool:
    return _diff_ids(engine, name) == [layer.diff_id for layer in image.layers]


def _load(engine: APIClient, chunks: Iterator[bytes]) -> str | None:
    """Send a tar; return what the engine says against it."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    failure: str | None = None
    try:
        # Not quiet: it says something before the client gives up waiting for the end.
        events: Iterator[dict[str, Any]] = engine.load_image(chunks)  # type: ignore[no-untyped-call]
        for event in events:
            failure = event.get("error", failure)
    except (DockerException, RequestException) as cause:
        failure = str(getattr(cause, "explanation", None) or cause)
    return " ".join(failure.split())[:300] if failure is not None else None
