"""The target keeps what every target must."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from modelpack.deploy import DeploymentSpec, DeploySettings
from modelpack.testing import CLAIMS, Claim, TargetCase

from modelpack_@{module} import @{class}Target
from modelpack_@{module}.platform import FolderPlatform


class Moody(FolderPlatform):
    """A stand-in where the version ``broken`` crashes."""

    def state_of(self, notes: Mapping[str, str]) -> str:
        """Return what becomes of an app."""
        return "crashed" if ":broken" in notes["spec"] else "up"


def spec(version: str) -> DeploymentSpec:
    """Return a deployment of a bundle of that version."""
    return DeploymentSpec(
        name="contract",
        bundle=f"contract:{version}",
        digest="sha256:" + "0" * 64,
        settings=DeploySettings(ready_timeout_s=5),
    )


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_contract(claim: Claim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each claim starts from nothing and leaves nothing."""
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path / "home"))
    platform = Moody(tmp_path / "apps")
    claim(
        TargetCase(
            target=@{class}Target(platform, str(platform.folder)),
            spec=spec("1"),
            changed=spec("2"),
            broken=spec("broken"),
            resources=platform.names,
        )
    )
