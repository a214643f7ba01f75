"""A collector behind TLS."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modelpack
from tests.collector import Collector, sample, serving
from tests.server.http.conftest import certificates

__all__ = ["certificates"]

Start = Callable[..., Any]


@modelpack.service
class Demo:
    @modelpack.api
    def double(self, x: int) -> int:
        return 2 * x


def test_certificates_are_checked_against_those_that_the_system_trusts(
    start: Start, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    collector = Collector()
    with serving(collector, context):
        assert collector.url.startswith("https://127.0.0.1:")
        distrustful = start(Demo, payload_log_url=collector.url)
        distrustful.post("/double", {"x": 1})
        distrustful.wait_until(lambda: failures(distrustful) >= 2)
        assert collector.posts == []
        distrustful.stop()

        monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "server.crt"))
        trusting = start(Demo, payload_log_url=collector.url)
        for number in range(2):
            trusting.post("/double", {"x": number})
        events = collector.events(4)

    assert events[2].get_data() == {"x": 1}


def failures(server: Any) -> float:
    page = server.client.get("/metrics").text
    return sample(page, "modelpack_payload_failures_total", reason="unreachable")
