"""Where an image says that its server listens, by the settings of the bundle."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelpack.config.settings import ImageSettings
from modelpack.errors import RefusedError, UsageError
from modelpack.image import ImagePlan, plan_image, render_dockerfile
from modelpack.image.ports import labelled
from modelpack.store import Entry, Store
from modelpack.version import __version__

GOLDEN = Path(__file__).parent / "golden" / "grpc.Dockerfile"
GRPCIO = "grpcio==1.80.0 \\\n    --hash=sha256:" + "1" * 64 + "\n"

MakeBundle = Callable[..., Entry]
Plan = Callable[..., ImagePlan]


@pytest.fixture
def plan(store: Store, make_bundle: MakeBundle) -> Plan:
    """Plan the image of a bundle with some settings of the server."""

    def planned(
        server: Any, env: Mapping[str, str] | None = None, packages: str = GRPCIO
    ) -> ImagePlan:
        entry = make_bundle("cpu", extra_lock=packages, settings={"server": server})
        return plan_image(store, entry, ImageSettings(env=env or {}))

    return planned


def test_an_image_names_the_port_of_grpc(plan: Plan) -> None:
    """In the file that people review: EXPOSE, and a label that says what is spoken there."""
    made = plan({"grpc_port": 8001, "max_queue_rows": 100})
    digest = "sha256:" + "0" * 64
    labels = {**made.labels, "dev.modelpack.bundle.digest": digest}
    made = replace(made, entry=replace(made.entry, digest=digest), labels=labels)

    text = render_dockerfile(made).replace(__version__, "VERSION")

    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
    assert "\nEXPOSE 3000 8001\n" in text
    assert 'dev.modelpack.port.grpc="8001"' in text


def test_the_plan_says_it_to_people_and_programs(plan: Plan) -> None:
    made = plan({"grpc_port": 8001, "metrics_port": 9000})

    assert made.to_json()["other_ports"] == {"grpc": 8001, "metrics": 9000}
    assert "runs as 65532:65532, port 3000, 8001 for grpc, 9000 for metrics: " in "\n".join(
        made.describe()
    )
    assert labelled(made.labels) == made.other_ports


def test_without_settings_there_is_one_port(plan: Plan) -> None:
    made = plan({}, packages="")

    assert made.other_ports == {}
    assert "\nEXPOSE 3000\n" in render_dockerfile(made)
    assert not [name for name in made.labels if ".port." in name]


def test_a_variable_of_the_image_wins(plan: Plan) -> None:
    made = plan({"grpc_port": 8001}, {"MODELPACK_GRPC_PORT": "9001"})

    assert made.other_ports == {"grpc": 9001}


def test_a_free_port_is_one_that_nobody_knows(plan: Plan) -> None:
    made = plan({"grpc_port": 0})

    assert made.other_ports == {}
    assert "grpc_port is 0: nobody outside a container knows that port" in made.warnings


@pytest.mark.parametrize(
    ("server", "env", "said"),
    [
        ({"grpc_port": 3000}, {}, "grpc_port: 3000 is taken in an image"),
        ({"metrics_port": 8001, "grpc_port": 8001}, {}, "metrics_port: 8001 is taken in an image"),
        ({}, {"MODELPACK_GRPC_PORT": "x"}, "image.env: MODELPACK_GRPC_PORT"),
        ({}, {"MODELPACK_GRPC_PORT": "70000"}, "image.env: MODELPACK_GRPC_PORT"),
    ],
)
def test_ports_with_which_no_server_starts_are_refused(
    plan: Plan, server: Any, env: Mapping[str, str], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plan(server, env)

    assert caught.value.message.startswith(said)


def test_grpc_without_its_package_is_refused(plan: Plan) -> None:
    with pytest.raises(UsageError, match="on port 9001, and the lock has no grpcio") as caught:
        plan({}, {"MODELPACK_GRPC_PORT": "9001"}, packages="")

    assert "grpc_port" in str(caught.value.hint)


@pytest.mark.parametrize("server", [7, {"grpc_port": "80 RUN true"}, {"grpc_port": -1}])
def test_settings_of_a_bundle_that_cannot_be_are_refused(plan: Plan, server: Any) -> None:
    with pytest.raises(RefusedError, match="the bundle's own settings are not valid"):
        plan(server)
