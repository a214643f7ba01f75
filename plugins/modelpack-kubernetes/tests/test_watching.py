"""How the stand-in lets clients watch, as clients of Kubernetes expect it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from clustered import connect_to
from modelpack_kubernetes.cluster import Response
from stand_in import StandIn

PLACE = "/api/v1/namespaces/default/configmaps"
LIST = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": "60"}


@contextmanager
def watch(cluster: StandIn, **query: str) -> Iterator[Response]:
    asked = "&".join(f"{key}={one}" for key, one in (LIST | query).items())
    client = connect_to(cluster)()
    url = f"{client.server}{PLACE}?{asked}"
    response = client.call("GET", url, headers={}, body=None, timeout_s=60)
    try:
        yield response
    finally:
        response.close()
        client.close()


def events(response: Response, count: int) -> list[Any]:
    found: list[bytes] = []
    for data in response.stream(65536):
        found += [line for line in data.split(b"\n") if line]
        if len(found) >= count:
            break
    return [json.loads(one) for one in found]


def put(cluster: StandIn, name: str) -> None:
    with cluster.store.changed:
        kind = cluster.store.named("ConfigMap")
        cluster.store.create(kind, "default", {"metadata": {"name": name}}, "test")


def test_a_watch_answers_before_anything_has_happened(cluster: StandIn) -> None:
    """A client cannot leave a request that has no head yet: ``rollout status`` never ended."""
    with watch(cluster, resourceVersion=str(cluster.store.version)) as response:
        assert response.status == 200
        put(cluster, "first")
        assert [one["type"] for one in events(response, 1)] == ["ADDED"]


def test_a_list_that_streams_says_when_it_is_whole(cluster: StandIn) -> None:
    for name in ("first", "second"):
        put(cluster, name)
    asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    with watch(cluster, **asked) as response:
        found = events(response, 3)
    assert [one["type"] for one in found] == ["ADDED", "ADDED", "BOOKMARK"]
    assert found[-1]["object"]["metadata"] == {
        "resourceVersion": str(cluster.store.version),
        "annotations": {"k8s.io/initial-events-end": "true"},
    }


@pytest.mark.parametrize(
    "query", [{"sendInitialEvents": "true"}, {"resourceVersionMatch": "NotOlderThan"}]
)
def test_half_of_what_belongs_together_is_refused(cluster: StandIn, query: dict[str, str]) -> None:
    with watch(cluster, **query) as response:
        assert response.status == 422


def test_who_leaves_is_noticed(cluster: StandIn) -> None:
    with watch(cluster, resourceVersion=str(cluster.store.version)):
        assert cluster.watches
    until = time.monotonic() + 60
    while cluster.watches:
        assert time.monotonic() < until, "a watch goes on without a client"
        time.sleep(0.01)
