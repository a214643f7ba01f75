"""MLflow's own scoring client, unmodified, in an environment of its own: ``make test-peers``."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.peers, pytest.mark.network]

SERVICE = """
import modelpack

NAMES = ["setosa", "versicolor", "virginica"]

@modelpack.service
class Iris:
    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float64", "batch", 4], shout: bool = False
    ) -> list[str]:
        names = [NAMES[int(row[2] >= 2.5) + int(row[2] >= 4.9)] for row in x]
        return [name.upper() for name in names] if shout else names
"""

PROGRAM = """
import json, sys
from urllib.parse import urlsplit
import numpy as np
import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

url = urlsplit(sys.argv[1])
client = ScoringServerClient(url.hostname, url.port)
client.wait_server_ready(timeout=10)
x = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]])
frame = pd.DataFrame(x, columns=["a", "b", "c", "d"])
found = {
    "version": client.get_version(),
    "frame": client.invoke(frame).get_predictions().iloc[:, 0].tolist(),
    "array": client.invoke(x).get_predictions().iloc[:, 0].tolist(),
    "listed": client.invoke(x.tolist()).get_predictions().iloc[:, 0].tolist(),
    "params": client.invoke(frame, params={"shout": True}).get_predictions().iloc[:, 0].tolist(),
}
try:
    client.invoke(frame[["a", "b"]])
except Exception as error:
    found["refused"] = str(error)
print(json.dumps(found))
"""

FLOWERS = ["setosa", "virginica"]


def test_the_scoring_client_of_mlflow_is_content(serve: Callable[..., str], tmp_path: Path) -> None:
    project, folder = tmp_path / "project", tmp_path / "environment"
    project.mkdir()
    (project / "service.py").write_text(SERVICE)
    url = serve("--face", "mlflow", cwd=project)
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    packages = ["mlflow-skinny", "numpy", "pandas", "scipy"]
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True, timeout=900)
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MODELPACK_")}

    done = subprocess.run(
        [python, "-W", "ignore", "-c", PROGRAM, url],
        cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    refused = found.pop("refused")
    assert found.pop("version").count(".") == 2
    assert found == {
        "frame": FLOWERS,
        "array": FLOWERS,
        "listed": FLOWERS,
        "params": [name.upper() for name in FLOWERS],
    }
    assert "2 instead of 4" in refused
