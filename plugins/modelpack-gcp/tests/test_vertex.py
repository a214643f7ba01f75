"""Vertex AI over a small Google of ours on the loopback: the whole contract, and faults on the way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from modelpack_gcp import endpoint
from modelpack_gcp.target import VertexTarget

from modelpack.deploy import State, rollout
from modelpack.errors import DeployError
from modelpack.testing import CLAIMS, KILLS, Claim

from .google_parts import Kind, deploy, faults
from .google_vertex import FakeVertex

CANARY = {"canary_percent": 20, "bake_s": 60.0, "max_replicas": 3}
KINDS = {
    "plain": Kind(VertexTarget),
    "canary": Kind(VertexTarget, {"access_logs": "yes"}, {**CANARY, "accelerator": "nvidia-l4:1"}),
}
API = {
    "name": "predict",
    "batch": {"max_batch_size": 8},
    "input": {
        "type": "object",
        "properties": {"x": {"type": "array", "items": {"type": "number"}}},
    },
}


@pytest.fixture
def google() -> Iterator[FakeVertex]:
    fake = FakeVertex()
    yield fake
    fake.close()


@pytest.fixture(autouse=True)
def apis(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store of this machine has the bundle, with one api."""
    monkeypatch.setattr(endpoint, "apis_of", lambda bundle: (API,))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind == "canary" else pytest.mark.long) for kind in KINDS],
)
def test_the_contract_of_targets(kind: str, claim: Claim, google: FakeVertex) -> None:
    claim(KINDS[kind].case(google, most_kills=3 if claim in KILLS else None))


def test_calls_move_from_one_deployed_model_to_the_next(google: FakeVertex) -> None:
    kind = KINDS["canary"]
    target = kind.at(google)
    deploy(target, kind.spec("a"))
    deploy(target, kind.spec("b"))

    [(first, _)] = google.moves[0].items()
    [(second, _)] = google.moves[-1].items()
    assert google.moves == [{first: 100}, {second: 20, first: 80}, {second: 100}]
    [made] = google.endpoints.values()
    assert [one["id"] for one in made["deployedModels"]] == [second]


def test_a_revision_that_answers_with_failures_gives_its_calls_back(google: FakeVertex) -> None:
    kind = KINDS["plain"]
    target = kind.at(google)
    deploy(target, kind.spec("a"))
    before = google.moves[-1]

    with pytest.raises(DeployError, match="answers an instance with HTTP 500"):
        deploy(target, kind.spec("b", FAKE_MODE="wrong"))

    assert google.moves[-1] == before
    assert target.status("digits").bundle == "digits:a"
    assert target.status("digits").state is State.RUNNING
    assert rollout.plan_deployment(target, kind.spec("a")).is_empty
    assert deploy(target, kind.spec("b")).bundle == "digits:b"


@pytest.mark.parametrize("every", [17, pytest.param(1, marks=pytest.mark.long)])
def test_a_fault_at_any_call_leaves_what_the_next_deploy_brings_to_its_end(
    google: FakeVertex, every: int
) -> None:
    hit = faults(google, KINDS["canary"], every)

    if every == 1:
        api = "aiplatform.projects.locations"
        assert {f"{api}.models.upload", f"{api}.endpoints.deployModel"} <= hit


@pytest.mark.parametrize("end", ["promoted", "undone"])
def test_a_canary_stays_until_the_next_deploy_says_how_it_ends(
    google: FakeVertex, end: str
) -> None:
    plain, canary = Kind(VertexTarget), Kind(VertexTarget, {}, {"canary_percent": 20})
    target = plain.at(google)
    deploy(target, plain.spec("a"))
    first = google.moves[-1]
    shown = deploy(target, canary.spec("b"))
    [second] = set(google.moves[-1]) - set(first)

    assert google.moves[-1] == {second: 20, **dict.fromkeys(first, 80)}
    assert shown.detail == "it gets 20 in 100 calls, 'digits:a' gets the others"
    if end == "promoted":
        assert deploy(target, plain.spec("b")).detail is None
        assert google.moves[-1] == {second: 100}
    else:
        rollout.apply_plan(target, rollout.plan_rollback(target, "digits"))
        assert google.moves[-1] == first
        assert target.status("digits").bundle == "digits:a"
