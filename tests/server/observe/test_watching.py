"""What is done with requests beyond counting them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import modelpack
from modelpack.config.settings import ServerSettings
from modelpack.server.observe.stats import ApiStats
from modelpack.server.observe.watching import Watching

Start = Callable[..., Any]


@modelpack.service
class Demo:
    @modelpack.api(batch=True)
    def double(self, x: list[int]) -> list[int]:
        return [n * 2 for n in x]


def test_nothing_is_watched_by_default() -> None:
    assert Watching(ServerSettings()).watch(ApiStats("a"), "/a") is None


@pytest.mark.parametrize("setting", ["access_log", "exemplars"])
def test_what_is_turned_on_is_watched(setting: str) -> None:
    settings = ServerSettings(**{setting: True})
    assert Watching(settings).watch(ApiStats("a"), "/a") is not None


def exemplars_of(page: str) -> list[Any]:
    return [
        sample.exemplar
        for family in text_string_to_metric_families(page)
        if family.name == "modelpack_request_duration_seconds"
        for sample in family.samples
        if sample.exemplar is not None
    ]


def test_exemplars_name_requests_that_clients_made(start: Start, lane: str) -> None:
    server = start(Demo, lane, exemplars=True)
    given = server.post("/double", {"x": [1]}, headers={"x-request-id": "mine"})
    assert given.headers["x-request-id"] == "mine"

    page = server.client.get("/metrics", headers={"accept": "application/openmetrics-text"}).text

    [exemplar] = exemplars_of(page)
    assert exemplar.labels == {"request_id": "mine"}
    assert 0 < exemplar.value < 60
    assert exemplar.timestamp is not None
    plain = server.client.get("/metrics").text
    assert "mine" not in plain


def test_an_id_too_long_for_an_exemplar_is_left_out(start: Start) -> None:
    server = start(Demo, exemplars=True)
    server.post("/double", {"x": [1]}, headers={"x-request-id": "x" * 128})

    page = server.client.get("/metrics", headers={"accept": "application/openmetrics-text"}).text

    assert exemplars_of(page) == []


def test_without_the_setting_no_request_is_named(start: Start) -> None:
    server = start(Demo)
    server.post("/double", {"x": [1]}, headers={"x-request-id": "mine"})

    page = server.client.get("/metrics", headers={"accept": "application/openmetrics-text"}).text

    assert exemplars_of(page) == []
