"""The target on a real Ray cluster of two nodes: what every change must keep (``make test``).

The rest of what is shown there, and the whole contract, is in ``test_cluster_peers``.
"""

from __future__ import annotations

import pytest

from modelpack.errors import DeployError

from .conftest import deploy
from .ray_cluster import ask, load, nodes_with_replicas, sums, target_on, wait_for
from .ray_nodes import Nodes

pytestmark = [pytest.mark.cluster, pytest.mark.network, pytest.mark.timeout(900)]


def test_an_update_under_load_fails_no_request_and_both_nodes_take_part(real: Nodes) -> None:
    target = target_on(real)
    status = deploy(target, sums("1"))
    assert status.url is not None
    assert ask(f"{status.url}/predict") == [3.0]
    assert len(nodes_with_replicas(target)) == 2
    with load(f"{status.url}/predict") as seen:
        wait_for(lambda: seen["[3.0]"] > 20)
        assert deploy(target, sums("2")).url == status.url
        wait_for(lambda: seen["[6.0]"] > 20)
    assert set(seen) == {"[3.0]", "[6.0]"}, seen


def test_a_broken_import_leaves_the_old_one_and_says_why(real: Nodes) -> None:
    target = target_on(real)
    status = deploy(target, sums("2"))
    with load(f"{status.url}/predict") as seen, pytest.raises(DeployError) as caught:
        deploy(target, sums("bad", min_replicas=1))
    assert "needs the module 'fruit_that_nobody_has'" in caught.value.message
    assert "(sums:2) runs as before" in (caught.value.hint or "")
    assert set(seen) == {"[6.0]"}, seen
