"""A collector of CloudEvents over a real socket, for the tests of whatever sends them.

Its events are read by the SDK of CloudEvents, which is nobody of ours.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event
from prometheus_client.parser import text_string_to_metric_families

WAIT_S = 20.0

REQUEST = "org.kubeflow.serving.inference.request"
RESPONSE = "org.kubeflow.serving.inference.response"


@dataclass
class Post:
    """A message that a collector took."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> BaseCloudEvent:
        """The event that it is, in binary content mode."""
        return from_binary_event(HTTPMessage(self.headers, self.body))


@dataclass
class Collector:
    """What a collector was sent, and how it answers."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    """The next answers; 200 when there are no more."""
    retry_after: str = ""
    posts: list[Post] = field(default_factory=list)
    """The messages that were answered 200."""
    tries: int = 0
    delay_s: float = 0.0
    """How long each answer takes."""
    waiting: int = 0
    """Messages that wait for their answer."""
    most_waiting: int = 0
    """Most of them at a time."""
    connections: set[Any] = field(default_factory=set)
    """Addresses that messages came from."""
    sockets: set[Any] = field(default_factory=set)
    """The connections themselves."""
    gate: threading.Event = field(default_factory=threading.Event)
    """Answers wait until it is set, as it is at first."""

    def wait_for(self, count: int) -> list[Post]:
        """Return the messages once there are so many; fails when there never are, or more.

        They come on several connections: events are put in the order of their time.
        """
        end = time.monotonic() + WAIT_S
        while len(self.posts) < count:
            assert time.monotonic() < end, f"{len(self.posts)} of {count} messages came"
            time.sleep(0.005)
        time.sleep(0.03)  # one too many would be here by now
        assert len(self.posts) == count
        self.posts.sort(
            key=lambda post: (post.headers.get("ce-time", ""), post.headers.get("ce-type"))
        )
        return list(self.posts)

    def events(self, count: int) -> list[BaseCloudEvent]:
        """Return the events, once there are so many."""
        return [post.event for post in self.wait_for(count)]

    def pair(self) -> tuple[BaseCloudEvent, BaseCloudEvent]:
        """Return the request and the response of the only call."""
        by_type = {event.get_type(): event for event in self.events(2)}
        return by_type[REQUEST], by_type[RESPONSE]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    collector: Collector

    def do_POST(self) -> None:
        collector = self.collector
        body = self.rfile.read(int(self.headers["content-length"]))
        collector.waiting += 1
        collector.most_waiting = max(collector.most_waiting, collector.waiting)
        collector.gate.wait(WAIT_S)
        time.sleep(collector.delay_s)
        collector.waiting -= 1
        collector.tries += 1
        collector.connections.add(self.client_address)
        collector.sockets.add(self.connection)
        status = collector.statuses.pop(0) if collector.statuses else 200
        if status == 200:
            head = {name.lower(): value for name, value in self.headers.items()}
            collector.posts.append(Post(self.path, head, body))
        self.send_response(status)
        if collector.retry_after:
            self.send_header("retry-after", collector.retry_after)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing: a sender that hangs up is no failure here."""


@contextmanager
def serving(collector: Collector, context: ssl.SSLContext | None = None) -> Iterator[None]:
    """Let a collector answer, over TLS when there is a context."""
    collector.gate.set()
    handler = type("Handler", (_Handler,), {"collector": collector})
    with _Server(("127.0.0.1", 0), handler) as server:
        scheme = "http"
        if context is not None:
            scheme = "https"
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        collector.url = f"{scheme}://127.0.0.1:{server.server_port}/events"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            collector.gate.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that takes everything, until it is told otherwise."""
    collector = Collector()
    with serving(collector):
        yield collector


def sample(page: str, name: str, **labels: str) -> float:
    """Return one number of a page of metrics."""
    for family in text_string_to_metric_families(page):
        for one in family.samples:
            if one.name == name and one.labels == labels:
                return float(one.value)
    raise AssertionError(f"no {name}{labels} in the page")
