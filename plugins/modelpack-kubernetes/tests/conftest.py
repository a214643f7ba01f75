"""What the tests of the cluster share: a stand-in for each module, a home for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_in import StandIn


@pytest.fixture(autouse=True)
def _own_surroundings(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give each test a home of its own, and nothing of this machine's kubeconfig."""
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path_factory.getbasetemp() / "no-kubeconfig"))


@pytest.fixture(scope="module")
def whole_cluster() -> Iterator[StandIn]:
    with StandIn() as found:
        yield found


@pytest.fixture
def cluster(whole_cluster: StandIn) -> Iterator[StandIn]:
    """Return the stand-in of the module, as if it were new: nothing stands, nothing is forbidden."""
    yield whole_cluster
    whole_cluster.reset()


@pytest.fixture
def kubeconfig(cluster: StandIn, tmp_path: Path) -> Path:
    return cluster.kubeconfig(tmp_path)
