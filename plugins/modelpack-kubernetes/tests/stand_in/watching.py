"""Watches: what came after a version, or all that is there and then what comes.

    resourceVersion=N           events after N, or ERROR 410 where N was compacted away
    none, 0                     ADDED for each object, then events
    sendInitialEvents=true      ADDED for each object, a BOOKMARK that says so, then events

It ends after ``timeoutSeconds``, with a BOOKMARK where one is asked for.  Sources: Kubernetes, "API
Concepts" (watches, bookmarks, streaming lists); KEP-3157 for what goes with ``sendInitialEvents``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from . import refusals
from .refusals import Refused
from .selectors import Selector
from .store import Event, Item, Json, Store

if TYPE_CHECKING:
    from .server import Asked

_CHUNKS_S = 0.05
_END_OF_FIRST = "k8s.io/initial-events-end"


def chosen(store: Store, asked: Asked) -> list[Item]:
    """Return the objects that a request speaks of."""
    selector = Selector.parse(asked.query)
    found = store.list(asked.kind, asked.namespace if asked.kind.is_namespaced else None)
    return [item for item in found if selector.takes(item.value)]


def check(query: Mapping[str, str]) -> None:
    """Raise Refused for parameters that do not go together."""
    match = query.get("resourceVersionMatch")
    if query.get("sendInitialEvents") is None:
        if match is not None:
            raise _invalid(
                "resourceVersionMatch", "is forbidden for watch unless sendInitialEvents"
            )
        return
    if match != "NotOlderThan":
        raise _invalid("resourceVersionMatch", "sendInitialEvents requires NotOlderThan")


def watched(store: Store, asked: Asked, is_over: Callable[[], bool]) -> Iterator[Json]:
    """Yield the events of a watch until its time is over; raises nothing."""
    selector, query = Selector.parse(asked.query), asked.query
    until = time.monotonic() + float(query.get("timeoutSeconds") or 30)
    wants_marks = query.get("allowWatchBookmarks") in ("true", "1")
    wants_all = query.get("sendInitialEvents") == "true"
    begin, seen = int(query.get("resourceVersion") or 0), set[str]()
    if begin == 0 or wants_all:
        with store.changed:  # one moment, as a list is
            begin, first = store.version, [one.to_json() for one in chosen(store, asked)]
        for value in first:
            seen.add(value["metadata"]["uid"])
            yield {"type": "ADDED", "object": value}
        if wants_all and wants_marks:
            yield _bookmark(asked, begin, **{_END_OF_FIRST: "true"})
    while not is_over() and time.monotonic() < until:
        with store.changed:
            if begin < store.compacted:
                text = f"too old resource version: {begin} ({store.compacted})"
                yield {"type": "ERROR", "object": Refused(410, "Expired", text).to_json()}
                return
            fresh = [one for one in store.log if one.version > begin]
            if not fresh:
                store.changed.wait(_CHUNKS_S)
                continue
            begin = fresh[-1].version
        for one in fresh:
            if (event := _told(one, asked, selector, seen)) is not None:
                yield event
    if wants_marks:
        yield _bookmark(asked, begin)


def _told(event: Event, asked: Asked, selector: Selector, seen: set[str]) -> Json | None:
    """Return what a watch is told of an event; what left its selector is gone for it."""
    meta = event.value["metadata"]
    if event.kind.key != asked.kind.key:
        return None
    if asked.namespace and meta.get("namespace") != asked.namespace:
        return None
    if selector.takes(event.value):
        seen.add(meta["uid"])
        return {"type": event.type, "object": event.value}
    if meta["uid"] not in seen:
        return None
    seen.discard(meta["uid"])
    return {"type": "DELETED", "object": event.value}


def _bookmark(asked: Asked, version: int, **notes: str) -> Json:
    meta: Json = {"resourceVersion": str(version)} | ({"annotations": notes} if notes else {})
    head = {"kind": asked.kind.kind, "apiVersion": asked.kind.api_version}
    return {"type": "BOOKMARK", "object": {**head, "metadata": meta}}


def _invalid(field: str, why: str) -> Refused:
    return refusals.invalid("ListOptions.meta.k8s.io", "", [f"{field}: Forbidden: {why}"])
