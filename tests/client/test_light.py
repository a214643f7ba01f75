"""What it costs to have a client, and what it brings along."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = (
    "numpy",
    "httpx",
    "starlette",
    "uvicorn",
    "grpc",
    "typer",
    "modelpack.server",
    "modelpack.sdk",
)


def loaded(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has after some code."""
    code += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_a_client_loads_nothing_of_the_server_and_no_arrays_before_there_are_any() -> None:
    modules = loaded("import modelpack; modelpack.Client('http://127.0.0.1:1')")

    assert "modelpack.client.wire" in modules
    assert modules & set(HEAVY) == set()


def test_importing_modelpack_loads_no_client() -> None:
    modules = loaded("import modelpack") - loaded("")  # what watches tests loads some itself

    assert not [name for name in modules if name.startswith("modelpack.client")]
    assert modules & {"ssl", "socket", *HEAVY} == set()


def test_every_name_that_is_offered_is_there() -> None:
    from modelpack import client

    for name in client.__all__:
        assert getattr(client, name).__name__ == name
