"""Makes the servers of a run available: those that a URL names, and those that are served for it.

URL ──────► Place, as it is
SOURCE ───► served on a free port for as long as the run takes ──► Place
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelpack.bench.aim import Aim, take_aim, try_once
from modelpack.bench.apis import describe
from modelpack.bench.inputs import Input
from modelpack.bench.place import Place, is_url, place_of
from modelpack.bench.served import serving
from modelpack.errors import ModelpackError
from modelpack.progress import Progress


@dataclass(frozen=True, slots=True)
class Opened:
    """One server that can be put under load."""

    place: Place
    source: str = ""
    """What is served for this run; '' when the server was there."""
    admin_socket: Path | None = None

    def aims(
        self, apis: Sequence[str], given: Input, headers: Mapping[str, str]
    ) -> tuple[Aim, ...]:
        """Return an aim for each api, for the first one when none is named; each is tried once.

        Raises what ``take_aim`` and ``try_once`` raise.
        """
        names: Sequence[str | None] = apis or [None]
        aims = tuple(
            take_aim(self.place, api=name, given=given, headers=headers, source=self.source)
            for name in names
        )
        for aim in aims:
            try_once(aim)
        return aims

    def every_aim(self, headers: Mapping[str, str]) -> tuple[Aim, ...]:
        """Return an aim for each api whose example the server takes; others are passed over."""
        described = describe(self.place, headers)
        found: list[Aim] = []
        for api in described.apis if described is not None else ():
            try:
                found += self.aims([api.name], Input(), headers)
            except ModelpackError:
                continue
        return tuple(found)


@contextmanager
def opened(
    target: str | None,
    *,
    verifies: bool,
    progress: Progress,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Opened]:
    """Make one server available meanwhile; None is the project in this folder.

    Raises UsageError for a bad URL and BenchError when a source cannot be served.
    """
    if target is not None and is_url(target):
        yield Opened(place_of(target, verifies=verifies))
        return
    with serving(target, progress=progress, environ=environ) as server:
        # It is our own: whether its certificate is one that others would take is not the question.
        place = place_of(server.url, verifies=False)
        yield Opened(place, target or Path.cwd().name, server.admin_socket)
