"""``python -I -m modelpack.server``, as an image starts it; and what it must not need."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from modelpack.manifest import BUNDLE_FILE, BundleManifest, canonical_json

SERVICE = """
import modelpack

@modelpack.service
class Doubler:
    @modelpack.api(batch=True)
    def double(self, x: modelpack.Tensor["float32", "batch"]) -> modelpack.Tensor["float32", "batch"]:
        return x * 2
"""


def write_bundle(folder: Path, service: str = "service:Doubler", **settings: object) -> Path:
    code = folder / "code"
    code.mkdir(parents=True)
    (code / "service.py").write_text(SERVICE)
    manifest = BundleManifest(
        service=service,
        model=None,
        python="3.11",
        files=(),
        models=(),
        lock_sha256="0" * 64,
        apis=(),
        settings={"server": settings},
    )
    (folder / BUNDLE_FILE).write_bytes(canonical_json(manifest.to_json()))
    return folder


def start(bundle: Path | None, **environment: str) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MODELPACK_")}
    if bundle is not None:
        clean["MODELPACK_BUNDLE"] = str(bundle)
    return subprocess.Popen(
        [sys.executable, "-I", "-m", "modelpack.server"],
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    )


def test_a_bundle_is_served_until_sigterm(tmp_path: Path) -> None:
    server = start(write_bundle(tmp_path), MODELPACK_PORT="0", MODELPACK_TAG="doubler:7c1f")
    assert server.stderr is not None
    ready = json.loads(server.stderr.readline())
    answer = httpx.post(f"{ready['url']}/double", json={"x": [1, 2]})
    document = httpx.get(f"{ready['url']}/openapi.json").json()
    server.send_signal(signal.SIGTERM)
    out, err = server.communicate(timeout=10)

    assert (ready["event"], ready["service"], ready["tag"]) == ("ready", "doubler", "doubler:7c1f")
    assert answer.json() == [2.0, 4.0]
    assert document["info"]["version"] == "7c1f"
    assert server.returncode == 0
    assert out == ""
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["draining", "stopped"]


def test_the_bundles_settings_hold_unless_the_environment_says_otherwise(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, max_body_bytes=10, log_level="error", log_format="text")
    server = start(bundle, MODELPACK_PORT="0", MODELPACK_LOG_LEVEL="info", MODELPACK_LOG_FORMAT="json")  # fmt: skip
    assert server.stderr is not None
    url = json.loads(server.stderr.readline())["url"]
    answer = httpx.post(f"{url}/double", json={"x": [1, 2, 3, 4, 5]})
    server.terminate()
    server.communicate(timeout=10)

    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("service", "environment", "status", "said"),
    [
        ("service:Doubler", {"MODELPACK_PORT": "many"}, 2, "error[usage]: MODELPACK_PORT: "),
        (
            "service:Doubler",
            {"MODELPACK_PORT": "99999"},
            2,
            "error[usage]: MODELPACK_PORT: must be from",
        ),
        ("service:Doubler", {"MODELPACK_HOST": "203.0.113.7"}, 2, "error[usage]: '203.0.113.7' is"),
        ("servise:Doubler", {}, 2, "error[module-not-found]: "),
        ("service:Dobler", {}, 2, "error[attribute-not-found]: "),
    ],
)
def test_what_is_wrong_is_said_in_a_few_lines(
    tmp_path: Path, service: str, environment: dict[str, str], status: int, said: str
) -> None:
    server = start(write_bundle(tmp_path, service), **{"MODELPACK_PORT": "0", **environment})
    _, err = server.communicate(timeout=20)

    assert server.returncode == status
    assert err.startswith(said)
    assert len(err.splitlines()) <= 4


def test_no_bundle_is_said(tmp_path: Path) -> None:
    for bundle in (None, tmp_path / "nothing"):
        server = start(bundle)
        _, err = server.communicate(timeout=20)

        assert server.returncode in (1, 2)
        assert err.startswith("error[")
        assert len(err.splitlines()) <= 4


def test_a_port_in_use_ends_within_three_seconds(tmp_path: Path) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        began = time.monotonic()
        server = start(write_bundle(tmp_path), MODELPACK_PORT=str(port))
        _, err = server.communicate(timeout=20)

    assert server.returncode == 1
    assert time.monotonic() - began < 3
    assert err.startswith(f"error[port-in-use]: 127.0.0.1:{port} is in use")


def test_a_service_that_fails_to_load_is_said_at_once(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    broken = SERVICE + "    def __init__(self):\n        raise OSError('no weights')\n"
    (bundle / "code" / "service.py").write_text(broken)
    server = start(bundle, MODELPACK_PORT="0")
    _, err = server.communicate(timeout=20)

    assert server.returncode == 1
    assert "error[service-failed]: 'Doubler' failed as it was made: OSError: no weights" in err
    assert len(err.splitlines()) <= 4


def test_a_thread_of_the_service_cannot_keep_the_process(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    stubborn = "import threading, time\n" + SERVICE
    stubborn += (
        "    def __init__(self):\n        threading.Thread(target=time.sleep, args=(99,)).start()\n"
    )
    (bundle / "code" / "service.py").write_text(stubborn)
    server = start(bundle, MODELPACK_PORT="0")
    assert server.stderr is not None
    server.stderr.readline()
    server.terminate()
    server.communicate(timeout=10)

    assert server.returncode == 0


TOOLCHAIN = ["typer", "rich", "docker", "pydantic", "yaml", "uv", "platformdirs", "pathspec",
             "packaging", "boto3", "httpx", "cryptography", "PIL"]  # fmt: skip


def test_serving_imports_nothing_of_the_toolchain(tmp_path: Path) -> None:
    """In a fresh interpreter, after an answer, a page and a scrape."""
    program = f"""
import sys, threading, urllib.request
sys.path.insert(0, {str(write_bundle(tmp_path) / "code")!r})
from modelpack.config.settings import ServerSettings
from modelpack.sdk.loading import load_import_string
from modelpack.server import run
import os, signal, pathlib

def ask(url):
    def work():
        head = {{"content-type": "application/json"}}
        data = urllib.request.Request(url + "/double", b'{{"x":[1]}}', head)
        assert urllib.request.urlopen(data).read() == b"[2.0]"
        for page in ("/docs", "/metrics", "/openapi.json", "/readyz"):
            urllib.request.urlopen(url + page).read()
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=work).start()

spec = load_import_string("service:Doubler", pathlib.Path({str(tmp_path / "code")!r}))
assert run(spec, ServerSettings(port=0, log_level="error"), on_ready=ask) == 0
print([name for name in {TOOLCHAIN!r} if name in sys.modules])
print("onnxruntime" in sys.modules, os.environ["ORT_DISABLE_TELEMETRY"])
"""
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60
    )

    assert done.stdout.splitlines() == ["[]", "False 1"], done.stderr
