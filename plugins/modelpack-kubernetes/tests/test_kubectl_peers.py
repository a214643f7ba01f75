"""The stand-in as kubectl sees it: a cross-check that it behaves as an API server does."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from clustered import deploy, spec, target_at
from stand_in import StandIn

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl"),
]


def kubectl(config: Path, *words: str, status: int = 0) -> str:
    env = {**os.environ, "KUBECONFIG": str(config), "HOME": str(config.parent)}
    done = subprocess.run(
        ["kubectl", *words], capture_output=True, text=True, timeout=60, env=env, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_kubectl_sees_what_modelpack_deployed(cluster: StandIn, kubeconfig: Path) -> None:
    deploy(target_at(cluster), spec())
    labels = "app.kubernetes.io/instance=digits,app.kubernetes.io/managed-by=modelpack"
    found = kubectl(kubeconfig, "get", "deployments,services,networkpolicies", "-l", labels)
    assert found.count("/digits") == 3
    assert "this is digits:a" in kubectl(kubeconfig, "logs", "deploy/digits")
    managed = kubectl(kubeconfig, "get", "deploy/digits", "-o", "yaml", "--show-managed-fields")
    [manager] = {
        one["manager"]
        for one in yaml.safe_load(managed)["metadata"]["managedFields"]
        if one["operation"] == "Apply"
    }
    assert manager == "modelpack"
