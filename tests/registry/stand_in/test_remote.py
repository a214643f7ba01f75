"""What only some registries have: tokens, and an API for statements."""

from __future__ import annotations

from typing import Any

import pytest

from modelpack import registry as registries
from modelpack.errors import LoginNeededError
from modelpack.registry import Credentials, credentials, parse
from modelpack.store import Store


def test_a_token_is_fetched_with_the_login_and_sent_from_then_on(
    workshop: Any, store: Store, other: Store, stand_in: Any
) -> None:
    stand_in.users = {"me": "secret"}
    registries.login(stand_in.host, Credentials("me", "secret"))
    stand_in.requests.clear()
    entry = workshop.bundle()
    registries.push(store, entry, parse(f"{stand_in.host}/x:1"))
    assert len(stand_in.lines("GET /token")) <= 2  # one to begin with, one for the scope
    assert "repository%3Ax%3Apull%2Cpush" in stand_in.lines("GET /token")[0]
    brought, _ = registries.pull(other, parse(f"{stand_in.host}/x:1"))
    assert brought.digest == entry.digest


def test_a_wrong_password_is_not_kept(stand_in: Any) -> None:
    stand_in.users = {"me": "secret"}
    with pytest.raises(LoginNeededError):
        registries.login(stand_in.host, Credentials("me", "wrong"))
    assert credentials.find(stand_in.host) is None


def test_without_a_login_a_token_server_refuses(workshop: Any, store: Store, stand_in: Any) -> None:
    stand_in.users = {"me": "secret"}
    with pytest.raises(LoginNeededError) as caught:
        registries.push(store, workshop.bundle(), parse(f"{stand_in.host}/x:1"))
    assert f"modelpack login {stand_in.host}" in str(caught.value.hint)


@pytest.mark.parametrize("has_api", [True, False])
def test_statements_are_found_by_api_or_by_tag(
    workshop: Any, store: Store, other: Store, stand_in: Any, *, has_api: bool
) -> None:
    stand_in.has_referrers = has_api
    entry = workshop.bundle()
    said = {
        store.attach(entry, artifact_type="t/t", media_type="t/t", data=data).digest
        for data in (b"one", b"two", b"three")
    }
    registries.push(store, entry, parse(f"{stand_in.host}/x:1"))
    stand_ins = [name for _, name in stand_in.manifests if name.startswith("sha256-")]
    assert bool(stand_ins) is not has_api
    brought, _ = registries.pull(other, parse(f"{stand_in.host}/x:1"))
    assert {one.digest for one in other.referrers(brought)} == said
    assert bool(stand_in.lines(r"referrers/.*\?at=2")) is has_api


def test_pushing_a_statement_twice_lists_it_once(
    workshop: Any, store: Store, stand_in: Any
) -> None:
    stand_in.has_referrers = False
    entry = workshop.bundle()
    store.attach(entry, artifact_type="t/t", media_type="t/t", data=b"one")
    for _ in range(2):
        registries.push(store, entry, parse(f"{stand_in.host}/x:1"))
    (listed,) = [d for (_, n), (d, _) in stand_in.manifests.items() if n.startswith("sha256-")]
    assert listed.count(b'"digest"') == 1


def test_a_mount_is_asked_for_where_the_blob_was_seen(
    workshop: Any, store: Store, stand_in: Any
) -> None:
    entry = workshop.bundle()
    registries.push(store, entry, parse(f"{stand_in.host}/x:1"))
    registries.push(store, entry, parse(f"{stand_in.host}/y:1"))
    assert stand_in.lines("POST /v2/y/.*mount=.*from=x")
    # A place that has forgotten it costs one request and no more.
    stand_in.blobs = {}
    moved = registries.push(store, entry, parse(f"{stand_in.host}/z:1"))
    assert moved.counts.mounted_bytes == 0
    assert set(stand_in.blobs["z"]) >= {layer.digest for layer in entry.layers}
