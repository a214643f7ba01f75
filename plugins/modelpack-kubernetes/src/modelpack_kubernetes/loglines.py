"""The log of a deployment: the lines of all its pods, by their time.

    pods ──log, with timestamps──► (time, pod, line) ──sorted──► lines, with the pod where there are several

Following asks again every second for what came since: pods that come and go meanwhile are seen, and
a connection that breaks loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from modelpack_kubernetes.cluster import Cluster
from modelpack_kubernetes.looking import all_pods
from modelpack_kubernetes.standing import Item, Standing
from modelpack_kubernetes.words import Json

_AGAIN_S = 1.0
_LAST = 10


@dataclass(slots=True)
class _Reader:
    """One pod, and up to where it was read."""

    seen: str = ""
    """Time of the last line."""
    at_that_time: set[str] = field(default_factory=set)

    def fresh(self, text: str) -> list[tuple[str, str]]:
        """Return the lines that were not read before, with their times."""
        found = []
        for line in text.splitlines():
            stamp, _, said = line.partition(" ")
            if stamp < self.seen or (stamp == self.seen and said in self.at_that_time):
                continue
            if stamp != self.seen:
                self.seen, self.at_that_time = stamp, set()
            self.at_that_time.add(said)
            found.append((stamp, said))
        return found


def lines(
    cluster: Cluster,
    read: Callable[[], Standing],
    *,
    follow: bool,
    tail: int | None,
    sleep: Callable[[float], None],
) -> Iterator[str]:
    """Yield the lines of a deployment's pods, the oldest first.

    ``tail`` begins at the last so many; ``follow`` goes on until the deployment is gone.
    """
    readers: dict[str, _Reader] = {}
    while True:
        items = _items(read())
        pods = all_pods(cluster, items)
        found = _read(cluster, pods, readers, tail)
        has_several = len(readers) > 1
        found = found[-tail:] if tail else found if tail is None else []
        for _, pod, said in found:
            yield f"{pod.rpartition('-')[2]} {said}" if has_several else said
        if not follow or not items:
            return
        tail = None
        sleep(_AGAIN_S)


def last_words(cluster: Cluster, pods: Iterable[Json]) -> tuple[str, ...]:
    """Return the last lines of the first pod that has written any, of a container that ended too."""
    for pod in pods:
        name, container = pod["metadata"]["name"], str(pod["spec"]["containers"][0]["name"])
        for more in ({"previous": "true"}, {}):
            text = cluster.log(name, container, {"tailLines": str(_LAST), **more})
            if text:
                return tuple(text.splitlines())
    return ()


def _items(standing: Standing) -> list[Item]:
    found = (standing.stable, standing.canary, *standing.others)
    return [one for one in found if one is not None]


def _read(
    cluster: Cluster, pods: list[Json], readers: dict[str, _Reader], tail: int | None
) -> list[tuple[str, str, str]]:
    found = []
    for pod in pods:
        name = str(pod["metadata"]["name"])
        reader = readers.setdefault(name, _Reader())
        query = {"timestamps": "true"}
        if tail is not None:
            query["tailLines"] = str(tail)
        if reader.seen:
            query["sinceTime"] = reader.seen
        container = str(pod["spec"]["containers"][0]["name"])
        text = cluster.log(name, container, query)
        found += [(stamp, name, said) for stamp, said in reader.fresh(text or "")]
    return sorted(found, key=lambda one: one[0])
