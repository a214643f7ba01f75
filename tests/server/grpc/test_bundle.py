"""A bundle brings what gRPC needs when its settings ask for it, and the server its protos."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.archive.builder import lock_inputs
from modelpack.config.load import load_project
from modelpack.manifest import GRPC_REQUIREMENTS
from modelpack.store import Store


@pytest.mark.parametrize(("port", "is_there"), [("grpc_port: 8001", True), ("port: 8000", False)])
def test_a_bundle_is_locked_with_grpc_when_it_has_a_port(
    tmp_path: Path, port: str, is_there: bool
) -> None:
    (tmp_path / "service.py").write_text("")
    text = f"name: demo\nservice: service:Demo\nserver:\n  {port}\n"
    (tmp_path / "modelpack.yaml").write_text(text)

    inputs = lock_inputs(load_project(tmp_path), [], Store())

    names = {line.partition(">")[0] for line in inputs.requirements}
    assert ({"grpcio", "protobuf"} <= names) is is_there


def test_the_extra_is_what_a_bundle_is_locked_with() -> None:
    import tomllib

    root = Path(__file__).parents[3]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]

    assert tuple(extras["grpc"]) == GRPC_REQUIREMENTS
