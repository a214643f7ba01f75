"""What a plugin's project must keep is checked from its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.testing import PLUGIN_CLAIMS, TargetContractError
from modelpack.testing.plugins import finds_every_target, stands_on_the_deploy_layer

POINTS = """
[project]
name = "modelpack-x"

[project.entry-points."modelpack.targets"]
{points}
"""


def project(folder: Path, points: str, code: str = "from modelpack.deploy import Target") -> Path:
    (folder / "src" / "modelpack_x").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(POINTS.format(points=points))
    (folder / "src" / "modelpack_x" / "target.py").write_text(code)
    return folder


def test_a_good_project_keeps_every_claim(tmp_path: Path) -> None:
    root = project(tmp_path, 'local = "modelpack.deploy.local:LocalTarget"')
    for claim in PLUGIN_CLAIMS:
        claim(root)


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ("", "no entry point in 'modelpack.targets'"),
        ('mine = "modelpack.deploy.local:LocalTarget"', "'mine' leads to the target 'local'"),
        ('mine = "modelpack.nothing:Target"', "mine.*does not load"),
    ],
)
def test_an_entry_point_that_leads_astray_is_named(tmp_path: Path, points: str, says: str) -> None:
    with pytest.raises(TargetContractError, match=says):
        finds_every_target(project(tmp_path, points))


@pytest.mark.parametrize(
    "code",
    [
        "from modelpack.store import Store",
        "import modelpack.cli.main",
        "import modelpack",
        "def later():\n    from modelpack import paths",
        "from modelpack.deployed import x",
    ],
)
def test_an_import_beyond_the_deploy_layer_is_named(tmp_path: Path, code: str) -> None:
    with pytest.raises(TargetContractError, match=r"target.py imports 'modelpack"):
        stands_on_the_deploy_layer(project(tmp_path, "", code))


def test_its_own_modules_and_others_are_free(tmp_path: Path) -> None:
    code = (
        "import json\nfrom . import other\nfrom modelpack_x.other import y\n"
        "from modelpack.deploy.pushing import Push\nfrom modelpack.errors import DeployError\n"
        "from modelpack.progress import SILENT\n"
    )
    stands_on_the_deploy_layer(project(tmp_path, "", code))


def test_a_project_without_code_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(TargetContractError, match="no code below 'src'"):
        stands_on_the_deploy_layer(tmp_path)
