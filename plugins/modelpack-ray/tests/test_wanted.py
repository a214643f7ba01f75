"""Settings become the words of Ray Serve; the files that are written say the same."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from modelpack_ray.kept import Kept
from modelpack_ray.packages import Storage, bundle_package, names_of, node_package, write_package
from modelpack_ray.rest import last_line
from modelpack_ray.standing import reason_in
from modelpack_ray.wanted import ACCELERATORS, Place, application, application_name, scaling

from modelpack.deploy import DeploySettings
from modelpack.deploy.shipping import Shipment
from modelpack.errors import DeployError

from .conftest import spec


def application_of(place: Place | None = None, **more: Any) -> dict[str, Any]:
    kept = Kept(spec=spec("a", **more), route="/digits", since="2026-01-01T00:00:00Z")
    return application("digits--1", kept, place or Place())


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, {"num_replicas": 1}),
        ({"min_replicas": 3}, {"num_replicas": 3}),
        ({"min_replicas": 3, "max_replicas": 3}, {"num_replicas": 3}),
        (
            {"min_replicas": 2, "max_replicas": 8, "in_flight": 5},
            {
                "min_replicas": 2,
                "initial_replicas": 2,
                "max_replicas": 8,
                "target_ongoing_requests": 5,
            },
        ),
        (
            {
                "min_replicas": 0,
                "idle_s": 9.0,
                "cooldown_up_s": 1.0,
                "cooldown_down_s": 2.0,
                "window_s": 3.0,
            },
            {
                "min_replicas": 0,
                "initial_replicas": 1,
                "max_replicas": 1,
                "target_ongoing_requests": 32,
                "upscale_delay_s": 1.0,
                "downscale_delay_s": 2.0,
                "downscale_to_zero_delay_s": 9.0,
                "look_back_period_s": 3.0,
            },
        ),
    ],
)
def test_scaling_is_said_in_serves_words(settings: dict[str, Any], wanted: dict[str, Any]) -> None:
    said = scaling(DeploySettings(**settings))
    assert said.pop("max_ongoing_requests") == 256
    assert said == (wanted if "num_replicas" in wanted else {"autoscaling_config": wanted})


def test_a_replica_may_always_get_twice_what_it_should_have() -> None:
    assert scaling(DeploySettings(in_flight=1000))["max_ongoing_requests"] == 2000


def test_resources_are_said_in_rays_words() -> None:
    app = application_of(cpu=2.0, memory_bytes=1 << 30, accelerator="nvidia-h200:2")
    assert app["deployments"][0]["ray_actor_options"] == {
        "num_cpus": 2.0,
        "memory": 1 << 30,
        "num_gpus": 2,
        "accelerator_type": "H200",
    }
    any_gpu = application_of(accelerator="nvidia:1")["deployments"][0]["ray_actor_options"]
    assert any_gpu == {"num_cpus": 1.0, "num_gpus": 1}
    assert all(name.partition("-")[0] in ("nvidia", "amd") for name in ACCELERATORS)


def test_what_is_on_trial_has_a_route_of_its_own() -> None:
    assert application_of()["route_prefix"] == "/digits--1"


def test_packages_that_the_cluster_keeps_are_held_on_its_head() -> None:
    service, anchor = application_of()["deployments"]
    assert service["name"] == "service"
    assert anchor["ray_actor_options"] == {
        "num_cpus": 0,
        "resources": {"node:__internal_head__": 0.001},
    }
    elsewhere = application_of(Place(storage=Storage("s3://models/ray")))
    assert [one["name"] for one in elsewhere["deployments"]] == ["service"]
    assert elsewhere["runtime_env"]["working_dir"].startswith("s3://models/ray/_ray_pkg_")


def test_what_differs_in_scaling_alone_is_the_same_application() -> None:
    def name(**more: Any) -> str:
        wanted = spec("a", **more)
        return application_name(wanted, wanted.facts())

    assert name() == name(min_replicas=2, max_replicas=9, in_flight=4, labels={"team": "a"})
    assert len({name(), name(cpu=2.0), name(GREETING="x"), name(secrets={"A": "env:B"})}) == 4


def test_what_is_kept_survives_its_way_through_serve() -> None:
    kept = Kept(spec=spec("a"), route="/r", since="t0").settled()
    scaled = kept.scaled(spec("a", min_replicas=2), "t1")
    for one in (kept, scaled, scaled.settled(), scaled.reverted()):
        assert Kept.from_config(one.to_config()) == one
    assert scaled.reverted() == kept
    assert [past.since for past in scaled.settled().past()] == ["t0", "t1"]


@pytest.mark.parametrize("config", [None, {}, {"modelpack": 1}, {"modelpack": {"spec": {}}}])
def test_what_is_not_ours_is_not_read_as_ours(config: Any) -> None:
    assert Kept.from_config(config) is None


@pytest.fixture
def bundle(tmp_path: Path) -> Shipment:
    folder = tmp_path / "bundle"
    (folder / "code").mkdir(parents=True)
    (folder / "requirements.lock").write_text("numpy==2.0.0 --hash=sha256:00\n")
    (folder / "code" / "service.py").write_text("x = 1\n")
    return Shipment(folder, "3.11", ("--torch-backend=cpu",))


def test_a_package_is_the_same_bytes_each_time(bundle: Shipment) -> None:
    data = bundle_package(bundle)
    assert data == bundle_package(bundle)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == [
            "bundle/code/service.py",
            "bundle/requirements.lock",
            "ship.json",
        ]
        assert (
            archive.read("ship.json") == b'{"arguments": ["--torch-backend=cpu"], "python": "3.11"}'
        )


def test_the_code_of_the_node_goes_with_the_runtime() -> None:
    with zipfile.ZipFile(io.BytesIO(node_package())) as archive:
        names = archive.namelist()
    assert "modelpack_ray_node/relay.py" in names
    assert (
        sum(name.startswith("modelpack_ray_node/runtime/modelpack_runtime-") for name in names) == 1
    )
    assert names_of(spec("a")) == names_of(spec("a", GREETING="x"))
    assert names_of(spec("a")) != names_of(spec("b"))


def test_a_shared_folder_has_a_package_below_one_folder(bundle: Shipment, tmp_path: Path) -> None:
    shared = tmp_path / "shared" / "packages"
    write_package(shared, "p.zip", bundle_package(bundle))
    with zipfile.ZipFile(shared / "p.zip") as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {"package"}
    assert [file.name for file in shared.iterdir()] == ["p.zip"]
    with pytest.raises(DeployError, match="cannot write the package"):
        write_package(shared / "p.zip", "q.zip", b"")


def test_the_telling_line_of_a_traceback_is_found() -> None:
    said = "Traceback\n  File x\nRuntimeError: modelpack: no weights\nother: words\n"
    assert reason_in(said) == "no weights"
    assert reason_in("a\nValueError: b\nc") == "ValueError: b"
    assert last_line("a\n \x1b[31mb\n\n") == "[31mb"
    assert len(last_line("x" * 9999)) == 240
