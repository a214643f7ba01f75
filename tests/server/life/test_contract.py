"""Which platform starts the program, and what it does then: as each of them starts it.

That calls are answered there stands in ``faces/test_checklist``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from modelpack.config.settings import ServerSettings
from modelpack.errors import UsageError
from modelpack.frameworks.source import Source
from modelpack.manifest import BUNDLE_FILE
from modelpack.server.life.contract import Contract, contract_of, settings_for, source_in
from tests.server.started import started, write_bundle

NOWHERE = Path("/nowhere/at/all")

# --- which one ------------------------------------------------------------------------------------


def found(arguments: list[str], mounted: Path = NOWHERE, **environ: str) -> Contract:
    return contract_of(arguments, environ, mounted=mounted, adapter=NOWHERE)


@pytest.mark.parametrize(
    ("arguments", "environ", "platform", "port"),
    [
        ([], {}, "", None),
        (["serve"], {}, "sagemaker", 8080),
        (["serve"], {"SAGEMAKER_BIND_TO_PORT": "9001", "PORT": "1"}, "sagemaker", 9001),
        ([], {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001", "PORT": "1"}, "lambda", None),
        ([], {"AIP_HTTP_PORT": "7080", "PORT": "1"}, "vertex", 7080),
        ([], {"AZUREML_MODEL_DIR": "/models"}, "azureml", None),
        ([], {"K_SERVICE": "digits"}, "cloudrun", 8080),
        ([], {"K_SERVICE": "digits", "PORT": "9090"}, "cloudrun", 9090),
        ([], {"PORT": "5000"}, "cloudrun", 5000),
    ],
)
def test_the_platform_is_told_by_what_it_sets(
    arguments: list[str], environ: dict[str, str], platform: str, port: int | None
) -> None:
    contract = found(arguments, **environ)

    assert (contract.platform, contract.settings.get("port")) == (platform, port)


def test_a_mounted_model_is_kserves(tmp_path: Path) -> None:
    assert found([], tmp_path).platform == ""
    (tmp_path / "model.onnx").touch()

    assert found([], tmp_path) == Contract("kserve", {"port": 8080}, model_dir=tmp_path)


def test_lambdas_web_adapter_asks_over_http(tmp_path: Path) -> None:
    environ = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001", "AWS_LWA_PORT": "8081"}

    contract = contract_of([], environ, mounted=NOWHERE, adapter=tmp_path)

    assert (contract.platform, contract.settings["port"]) == ("lambda-adapter", 8081)


@pytest.mark.parametrize("text", ["many", "0", "65536", "-1", "8080.0"])
def test_a_port_that_is_none_is_refused_by_its_variable(text: str) -> None:
    with pytest.raises(UsageError, match=r"AIP_HTTP_PORT: must be a port, got"):
        found([], AIP_HTTP_PORT=text)


@pytest.mark.parametrize("words", [["train"], ["serve", "now"], ["--port", "1"]])
def test_an_argument_that_is_not_serve_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError, match="unknown argument"):
        found(words)


OWN = replace(ServerSettings(), port=4000, grace_s=20.0, workers=2)


@pytest.mark.parametrize(
    ("set_port", "port"), [(None, 8080), ("3000", 8080), ("4321", 4321), ("0", 0)]
)
def test_the_operator_wins_over_the_platform_and_that_over_the_bundle(
    set_port: str | None, port: int
) -> None:
    """An image says 3000 by itself."""
    environ = {} if set_port is None else {"MODELPACK_PORT": set_port}

    assert settings_for(OWN, found(["serve"]), environ).port == port


def test_the_end_is_sooner_than_the_platform_kills() -> None:
    run, maker = found([], K_SERVICE="x"), found(["serve"])

    assert settings_for(OWN, run, {}).grace_s < 10
    assert settings_for(OWN, maker, {}).grace_s == 20
    assert settings_for(replace(OWN, grace_s=60), maker, {}).grace_s < 30
    assert settings_for(OWN, run, {"MODELPACK_GRACE_S": "15"}).grace_s == 15


def test_sagemaker_may_ask_for_workers() -> None:
    contract = found(["serve"], SAGEMAKER_MODEL_SERVER_WORKERS="3")

    assert settings_for(OWN, contract, {}).workers == 3
    assert settings_for(OWN, contract, {"MODELPACK_WORKERS": "1"}).workers == 1


def test_several_models_are_known_to_one_worker() -> None:
    environ = {"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_MODEL_SERVER_WORKERS": "3"}

    assert settings_for(OWN, found(["serve"], **environ), {}).workers == 1


def test_a_model_folder_holds_a_bundle_or_one_onnx_file(tmp_path: Path) -> None:
    assert source_in(tmp_path) is None
    inner = tmp_path / "digits" / "1"
    inner.mkdir(parents=True)
    (inner / "model.onnx").touch()
    assert source_in(tmp_path) == Source("model", "model.onnx", str(inner))
    (inner / "other.onnx").touch()
    assert source_in(tmp_path) is None
    (tmp_path / "digits" / BUNDLE_FILE).touch()
    assert source_in(tmp_path) == Source("bundle", "", str(tmp_path / "digits"))


# --- as each platform starts it ---------------------------------------------------------------------


def test_without_a_bundle_the_model_folder_of_the_platform_is_served(tmp_path: Path) -> None:
    write_bundle(tmp_path / "slow" / "3")
    environ = {"AZUREML_MODEL_DIR": str(tmp_path), "MODELPACK_PORT": "0"}

    with started(**environ) as (_, url):
        assert httpx.post(f"{url}/score", json={"seconds": 0}).json() == "done"


@pytest.mark.parametrize(
    ("words", "environ", "said"),
    [
        (["train"], {}, "error[usage]: unknown argument 'train'"),
        ([], {"PORT": "x"}, "error[usage]: PORT: must be a port"),
        ([], {"AZUREML_MODEL_DIR": "/nowhere"}, "error[usage]: there is no bundle"),
        ([], {}, "error[usage]: MODELPACK_BUNDLE is not set"),
    ],
)
def test_what_cannot_be_is_said_in_a_few_lines(
    words: list[str], environ: dict[str, str], said: str
) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MODELPACK_")}
    done = subprocess.run(
        [sys.executable, "-I", "-m", "modelpack.server", *words],
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) <= 4
