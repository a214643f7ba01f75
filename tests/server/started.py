"""A server's program, started as the program of an image is."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelpack.manifest import BUNDLE_FILE, BundleManifest, canonical_json

SLOW = '''
import time
import modelpack

@modelpack.service
class Slow:
    """Waits."""

    @modelpack.api
    def predict(self, seconds: float) -> str:
        time.sleep(seconds)
        return "done"
'''


def write_bundle(folder: Path, code: str = SLOW, service: str = "service:Slow") -> Path:
    """Write an unpacked bundle that runs in threads; returns its folder."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "service.py").write_text(code)
    manifest = BundleManifest(
        service=service,
        model=None,
        python="3.11",
        files=(),
        models=(),
        lock_sha256="0" * 64,
        apis=(),
        settings={"server": {"port": 3000, "runner": "thread"}},
    )
    (folder / BUNDLE_FILE).write_bytes(canonical_json(manifest.to_json()))
    return folder


@contextmanager
def started(*arguments: str, **environ: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the program as an image does; gives it and its URL once it is ready."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MODELPACK_")}
    image = {"MODELPACK_HOST": "127.0.0.1", "MODELPACK_PORT": "3000"}
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "modelpack.server", *arguments],
        env={**clean, **image, **environ},
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        while line and '"ready"' not in line:
            line = process.stderr.readline()
        yield process, json.loads(line)["url"]
    finally:
        process.terminate()
        process.communicate(timeout=20)


def free_port() -> str:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])
