"""A server that is started for a run: with TLS as its settings say, and gone with the run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelpack.bench.inputs import Input
from modelpack.bench.load import Load
from modelpack.bench.opening import Opened, opened
from modelpack.bench.place import place_of
from modelpack.bench.session import measure
from modelpack.errors import BenchError
from modelpack.progress import SILENT

SHORT = Load(duration_s=0.5, warmup_s=0.1, concurrency=4)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate and its key in one file, which nobody trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl program to make certificates with")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", "key", "-out", "crt"]  # fmt: skip
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    both = tmp_path / "both.pem"
    both.write_bytes((tmp_path / "key").read_bytes() + (tmp_path / "crt").read_bytes())
    return both


def test_server_with_tls_is_loaded_over_tls(project: Path, certificate: Path) -> None:
    environ = {"MODELPACK_TLS_CERT": str(certificate)}
    with opened(str(project), verifies=True, progress=SILENT, environ=environ) as server:
        assert server.place.url.startswith("https://")
        (result,) = measure(server.aims(["greet"], Input(), {}), SHORT)
        assert result.whole.good > 0
        assert result.whole.failed == 0
        assert result.server is not None

        strict = Opened(place_of(server.place.url))
        with pytest.raises(BenchError, match="certificate"):
            strict.aims(["greet"], Input(), {})


HOLD = """
import sys, time
from modelpack.bench.served import serving
from modelpack.progress import SILENT
with serving(sys.argv[1], progress=SILENT) as served:
    print(served.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the signal of a parent's death is Linux's")
def test_server_ends_with_a_run_that_is_killed(project: Path) -> None:
    words = [sys.executable, "-c", HOLD, str(project)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        run.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not runs(pid)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
