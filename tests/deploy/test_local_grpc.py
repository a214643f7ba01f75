"""gRPC at the ports of a local deployment, real servers: it wakes, and loses no call in an update."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from modelpack.config.settings import DeploySettings, ServerSettings
from modelpack.deploy import launch, rollout
from modelpack.deploy.local import LocalTarget
from modelpack.deploy.ports import free_port
from modelpack.errors import DeployError, UsageError
from tests.deploy.grpc_calls import CHECK, HOST, SERVING, calling, channel, check
from tests.deploy.local_service import RealService
from tests.deploy.test_local_traffic import SLEEPS, deploy, serving, wait_for
from tests.deploy.traffic import ask


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> RealService:
    return RealService(tmp_path_factory.mktemp("grpc"))


@pytest.fixture
def local(service: RealService) -> Iterator[LocalTarget]:
    target = service.target
    yield target
    for status in target.list():
        target.destroy(status.name)


def test_no_call_fails_through_an_update_and_a_rollback_at_either_port(
    local: LocalTarget, service: RealService
) -> None:
    port, grpc_port = free_port(HOST), free_port(HOST)
    asked = {"port": port, "grpc_port": grpc_port, "min_replicas": 2}
    deploy(local, service.spec(1, **asked))

    with calling(port, grpc_port) as callers:
        url = deploy(local, service.spec(2, **asked))
        assert ask(url) == [3]
        rollout.apply_plan(local, rollout.plan_rollback(local, "traffic"))
        before = callers.answered()
        wait_for(lambda: all(now > before[name] for name, now in callers.answered().items()))

    assert ask(url) == [2]


def test_a_call_wakes_who_sleeps_at_either_port(local: LocalTarget, service: RealService) -> None:
    port, grpc_port = free_port(HOST), free_port(HOST)
    deploy(local, service.spec(1, port=port, grpc_port=grpc_port, **SLEEPS))
    for one in (grpc_port, port):
        wait_for(lambda: not serving().replicas)
        assert check(one) == SERVING


@pytest.mark.long
def test_another_port_for_grpc_takes_the_place_of_the_former_one(
    local: LocalTarget, service: RealService
) -> None:
    port, first, second = (free_port(HOST) for _ in range(3))
    deploy(local, service.spec(1, port=port, grpc_port=first))
    assert check(first) == SERVING

    deploy(local, service.spec(1, port=port, grpc_port=second))

    assert check(second) == SERVING
    with channel(first) as one, pytest.raises(grpc.RpcError) as caught:
        one.unary_unary(CHECK)(b"", timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.long
def test_a_port_that_is_taken_leaves_the_former_revision(
    local: LocalTarget, service: RealService
) -> None:
    import socket

    port = free_port(HOST)
    url = deploy(local, service.spec(1, port=port))
    with socket.create_server((HOST, 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(DeployError, match=str(taken)):
            deploy(local, service.spec(2, port=port, grpc_port=taken))
    assert ask(url) == [2]


@pytest.mark.parametrize(
    ("asked", "own", "found"), [(None, None, None), (None, 9000, 9000), (None, 0, None), (8, 0, 8)]
)
def test_which_port_is_called(make_spec: Any, asked: Any, own: Any, found: Any) -> None:
    spec = make_spec("a", grpc_port=asked)
    assert launch._grpc_port(spec, ServerSettings(grpc_port=own)) == found


def test_a_port_for_grpc_of_a_bundle_that_speaks_none_is_refused(make_spec: Any) -> None:
    with pytest.raises(UsageError, match="speaks no gRPC"):
        launch._grpc_port(make_spec("a", grpc_port=9000), ServerSettings())


@pytest.mark.parametrize("port", [0, 70000, 3000])
def test_a_port_that_cannot_be_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="grpc_port"):
        DeploySettings(grpc_port=port)
