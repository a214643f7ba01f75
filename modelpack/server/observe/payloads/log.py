"""The payload log of one process: its rules, its queue, its end.

    ServerSettings, MODELPACK_PAYLOAD_LOG_HEADER ──open_log──► PayloadLog, or None when it is off
    PayloadLog.api(service, api) ──► ApiPayloads ──► put(exchange): queued, or dropped and counted

The queue is bounded in events and in bytes of bodies; both count until somebody has taken the events.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from time import monotonic
from urllib.parse import unquote, urlsplit

from modelpack.config.settings import ServerSettings
from modelpack.errors import UsageError
from modelpack.server.observe.logs import event
from modelpack.server.observe.payloads.collector import Collector, header_from
from modelpack.server.observe.payloads.events import RESERVED, Form
from modelpack.server.observe.payloads.journal import Journal
from modelpack.server.observe.payloads.record import (
    REQUEST,
    RESPONSE,
    ApiPayloads,
    Exchange,
    Rules,
)
from modelpack.server.observe.payloads.sender import Sender
from modelpack.server.observe.payloads.sinks import Sink
from modelpack.server.observe.stats import PayloadStats

HEADER = "MODELPACK_PAYLOAD_LOG_HEADER"
"""Variable with the header line by which the server proves who it is: ``Authorization: Bearer …``."""

_KINDS = {"all": (REQUEST, RESPONSE), "request": (REQUEST,), "response": (RESPONSE,)}
_STEP_S = 0.005


class PayloadLog:
    """Takes exchanges on the event loop; another thread sends them."""

    def __init__(
        self,
        sink: Callable[[], Sink],
        rules: Rules,
        *,
        max_events: int,
        max_bytes: int,
        name: str = "",
    ) -> None:
        """``sink`` makes what takes the events, in the thread; ``name`` is what it is called."""
        self.rules = rules
        self.name = name
        self.stats = PayloadStats()
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sender = Sender(sink, self.stats, tell=self._tell)

    def api(self, service: str, api: str) -> ApiPayloads:
        """Return what keeps the payloads of an api."""
        return ApiPayloads(service, api, self.rules, self.put)

    def put(self, exchange: Exchange) -> None:
        """Queue an exchange, both of its events or none."""
        stats = self.stats
        events, size = len(exchange.kinds), exchange.kept_bytes
        if (
            stats.waiting_events + events > self._max_events
            or stats.waiting_bytes + size > self._max_bytes
        ):
            stats.drop("queue-full", events)
            return
        stats.taken_events += events
        stats.taken_bytes += size
        self._sender.put(exchange)

    def open(self) -> None:
        """Begin to send; called on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._sender.start()
        event("payload-log", sink=self.name, mode="+".join(sorted(self.rules.kinds)))

    async def flush(self, limit_s: float) -> None:
        """Return when all is sent, when it cannot be, or after ``limit_s``."""
        end = monotonic() + limit_s
        while self.stats.waiting_events and not self._sender.is_failing and monotonic() < end:
            await asyncio.sleep(_STEP_S)

    async def close(self, limit_s: float, force: asyncio.Event) -> None:
        """Send what waits within ``limit_s`` and until ``force``; what is left then is dropped."""
        if self._loop is None:
            return
        end = monotonic() + limit_s
        self._sender.end(limit_s)
        while not self._sender.has_ended and monotonic() < end and not force.is_set():
            await asyncio.sleep(_STEP_S)
        self._sender.abandon()
        dropped = {reason: n for reason, n in self.stats.dropped.items() if n}
        level = logging.WARNING if dropped else logging.INFO
        event("payload-log-ended", level=level, sent=self.stats.sent, dropped=dropped)

    def _tell(self, name: str, sink: str, why: str) -> None:
        """Log something on the event loop, whichever thread it is said in."""
        dropped = sum(self.stats.dropped.values())
        facts = {"sink": sink, "dropped": dropped, **({"error": why} if why else {})}
        level = logging.WARNING if why else logging.INFO
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(partial(event, name, level=level, **facts))


def open_log(
    settings: ServerSettings, environ: Mapping[str, str] = os.environ
) -> PayloadLog | None:
    """Return the payload log that the settings ask for, None when it is off; raises UsageError."""
    url = settings.payload_log_url
    if url is None:
        return None
    form = Form(added_attributes(settings.payload_log_attributes or ""))
    make: Callable[[], Sink]
    if url.startswith("file://"):
        file = unquote(urlsplit(url).path)
        make = partial(Journal, file, form, settings.payload_log_file_bytes)
        name = Journal.check(file)
    else:
        header = header_from(HEADER, environ.get(HEADER, ""))
        is_batched = settings.payload_log_form == "batch"
        make = partial(Collector, url, form, header=header, is_batched=is_batched)
        name = Collector.name_of(url)
    kinds = frozenset(_KINDS[settings.payload_log_mode])
    return PayloadLog(
        make,
        Rules(kinds, settings.payload_log_share, settings.payload_log_max_body_bytes),
        max_events=settings.payload_log_max_events,
        max_bytes=settings.payload_log_max_bytes,
        name=name,
    )


def added_attributes(text: str) -> dict[str, str]:
    """Return attributes of the operator's own: ``namespace=prod,team=vision``; raises UsageError.

    Their grammar is checked with the settings.
    """
    found = dict(one.strip().split("=", 1) for one in text.split(",") if one.strip())
    for name in found:
        if name in RESERVED:
            raise UsageError(
                f"payload_log_attributes: '{name}' is set by the server",
                hint=f"choose another name than {', '.join(sorted(RESERVED))}",
            )
    return found
