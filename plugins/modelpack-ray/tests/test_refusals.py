"""What cannot be is told before anything is asked of a cluster: options, settings, addresses."""

from __future__ import annotations

from typing import Any

import pytest
from modelpack_ray.target import RayTarget

from modelpack.deploy import rollout
from modelpack.errors import CredentialsError, UnreachableError, UsageError

from .conftest import spec
from .ray_stand_in import StandIn


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"adress": "http://x:8265"}, "did you mean 'address'"),
        ({"address": "ray://x:10001"}, "not the port that 'ray start"),
        ({"address": "x:8265"}, "such as http://HOST:8265"),
        ({"route": "digits"}, "write a path"),
        ({"route": "/-/routes"}, "write a path"),
        ({"route": "/a/"}, "write a path"),
        ({"route": "/a b"}, "write a path"),
        ({"http_port": "many"}, "from 1 to 65535"),
        ({"http_port": "0"}, "from 1 to 65535"),
        ({"per_node": "0"}, "from 1 to 100"),
        ({"per_node": "two"}, "from 1 to 100"),
        ({"packages": "shared/folder"}, "a folder that all nodes see"),
        ({"packages": "ftp://x/y"}, "a folder that all nodes see"),
        ({"packages": ""}, "a folder that all nodes see"),
        ({"serve_url": "proxy:8000"}, "proxies of Ray Serve"),
        ({"http_host": "my host"}, "address of a network"),
        ({"http_host": ""}, "address of a network"),
        ({"image": ""}, "rayproject/ray"),
        ({"image": "Ray Image"}, "rayproject/ray"),
        ({"http_port": "²"}, "from 1 to 65535"),
    ],
)
def test_wrong_options_are_told(options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        RayTarget.from_options(options)
    assert said in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"canary_percent": 10}, "one application"),
        ({"public": True}, "network of its nodes"),
        ({"instance": "g6.xlarge"}, "there already"),
        ({"accelerator": "nvidia-voodoo:1"}, "no name for 'nvidia-voodoo'"),
        ({"secrets": {"A": "vault:x"}}, "not a reference"),
    ],
)
def test_what_ray_cannot_do_is_refused(
    target: RayTarget, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        rollout.plan_deployment(target, spec("a", **settings))


def test_without_a_cluster_there_is_a_plan_and_no_apply() -> None:
    target = RayTarget.from_options({})
    plan = rollout.plan_deployment(target, spec("a"))
    assert not plan.is_live_known
    with pytest.raises(CredentialsError, match="no Ray cluster is named"):
        rollout.apply_plan(target, plan)


def test_what_is_no_dashboard_is_told(ray: StandIn) -> None:
    with pytest.raises(UnreachableError, match="is no Ray dashboard"):
        RayTarget.from_options({"address": ray.proxy}).status("digits")
