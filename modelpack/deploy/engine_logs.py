"""What several containers wrote, as one log.

    Engine.logs ──pieces──► lines with their time ──merged by time──► lines, "2 | …" of several

Without ``follow`` the lines are in the order of their times; with it, in the order in which they
come, one thread for each container.
"""

from __future__ import annotations

import codecs
import heapq
import queue
import threading
from collections import deque
from collections.abc import Iterator, Mapping

from modelpack.deploy.engine import Engine
from modelpack.errors import ModelpackError


def merged_lines(
    engine: Engine, sources: Mapping[str, str], *, follow: bool, tail: int | None
) -> Iterator[str]:
    """Yield the lines of the containers, without newlines; raises EngineError.

    ``sources``: what stands before a line of a container, and its name.
    """
    if len(sources) == 1:
        (name,) = sources.values()
        return lines_of(engine.logs(name, follow=follow, tail=tail))
    return _followed(engine, sources, tail) if follow else _by_time(engine, sources, tail)


def lines_of(pieces: Iterator[bytes]) -> Iterator[str]:
    """Put the pieces of an engine together to lines."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    for piece in pieces:
        *lines, rest = (rest + decoder.decode(piece)).split("\n")
        yield from (line.removesuffix("\r") for line in lines)
    if rest := rest + decoder.decode(b"", final=True):
        yield rest


def _by_time(engine: Engine, sources: Mapping[str, str], tail: int | None) -> Iterator[str]:
    streams = []
    for word, name in sources.items():
        pieces = engine.logs(name, follow=False, tail=tail, timestamps=True)
        streams.append(_timed(word, lines_of(pieces)))
    merged = heapq.merge(*streams, key=lambda line: line[0])
    yield from deque((text for _, text in merged), maxlen=tail)


def _timed(word: str, lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        moment, _, text = line.partition(" ")
        # Engines leave out zeros at the end of a fraction: "…:01Z" is before "…:01.5Z".
        seconds, _, fraction = moment.rstrip("Z").partition(".")
        yield f"{seconds}.{fraction:0<9}", f"{word} | {text}"


def _followed(engine: Engine, sources: Mapping[str, str], tail: int | None) -> Iterator[str]:
    came: queue.SimpleQueue[str | ModelpackError | None] = queue.SimpleQueue()

    def pass_on(word: str, name: str) -> None:
        try:
            for line in lines_of(engine.logs(name, follow=True, tail=tail)):
                came.put(f"{word} | {line}")
        except ModelpackError as error:
            came.put(error)
        came.put(None)

    for word, name in sources.items():
        threading.Thread(target=pass_on, args=(word, name), daemon=True).start()
    open_ones = len(sources)
    while open_ones:
        line = came.get()
        if isinstance(line, ModelpackError):
            raise line
        if line is None:
            open_ones -= 1
        else:
            yield line
