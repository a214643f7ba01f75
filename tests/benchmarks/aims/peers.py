"""Other servers, each from the package index in an environment of its own, with the same service.

    PEERS[name].environment() ──uv──► cache/peers/NAME      made once, on demand
    peer_server(name, workload) ──► Running, and the Request in its own form

They get what their documentation recommends for a small model on one processor: one worker, batches of at
most 32, and as little waiting for company as they allow.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aims.load import BINARY, Request, as_list, json_request
from aims.machine import Pins, Tree
from aims.models import row_of
from aims.serving import Running, free_port, started, wait_until_it_answers

HERE = Path(__file__).parent / "peers"
WORKLOADS = ("echo", "tiny", "mlp", "mlp-binary")


@dataclass(frozen=True, slots=True)
class Peer:
    """How one of them is installed, started and asked."""

    name: str
    requirements: tuple[str, ...]
    words: Callable[[Path, str, Path, int, Path], list[str]]
    """From the folder of its programs, workload, model, port and an empty folder: the command."""
    request: Callable[[str], Request]
    workloads: tuple[str, ...] = WORKLOADS[:3]

    def python(self) -> Path:
        """Return the interpreter of its environment, which is made if it is not there.

        Raises RuntimeError with the resolver's words when it cannot be installed.
        """
        from modelpack.paths import cache_dir

        wanted = (*self.requirements, "onnxruntime", "numpy")
        digest = hashlib.sha256(f"{sys.version_info[:2]}{wanted}".encode()).hexdigest()[:12]
        folder = cache_dir() / "peers" / f"{self.name.lower()}-{digest}"
        python = folder / "bin" / "python"
        if (folder / ".made").exists():
            return python
        shutil.rmtree(folder, ignore_errors=True)
        for words in (
            ["venv", "-q", "--python", sys.executable, str(folder)],
            ["pip", "install", "-q", "--python", str(python), *wanted],
        ):
            done = subprocess.run([_uv(), *words], capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError((done.stderr.strip().splitlines() or ["it fails"])[-1])
        (folder / ".made").touch()
        return python

    def version(self) -> str:
        """Return which version of it is installed."""
        code = f"import importlib.metadata as m; print(m.version({self.name.lower()!r}))"
        words = [str(self.python()), "-c", code]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def peer_server(
    name: str, workload: str, model: Path, pins: Pins, *, cwd: Path
) -> Iterator[tuple[Running, Request]]:
    """Run one of them meanwhile; raises RuntimeError when it cannot be installed or started."""
    peer = PEERS[name]
    programs = peer.python().parent
    folder = cwd / f"{name.lower()}-{workload}"
    folder.mkdir(exist_ok=True)
    port = free_port()
    words = peer.words(programs, workload, model, port, folder)
    environ = {
        "PEER_MODEL": str(model),
        "PEER_WORKLOAD": workload,
        "PYTHONPATH": str(HERE),
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
        "ORT_DISABLE_TELEMETRY": "1",
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(folder / "home"),
        "OMP_NUM_THREADS": "1",
    }
    request = peer.request(workload)
    with started([*pins.server, *words], folder, environ) as (process, log):
        url = f"http://127.0.0.1:{port}"
        wait_until_it_answers(url + request.path, process, log, request.body, request.content_type)
        yield Running(f"{name} {peer.version()}", url, Tree(process.pid)), request


def _script(file: str) -> Callable[[Path, str, Path, int, Path], list[str]]:
    def words(programs: Path, workload: str, model: Path, port: int, _folder: Path) -> list[str]:
        return [str(programs / "python"), str(HERE / file), workload, str(model), str(port)]

    return words


def _mosec(programs: Path, _workload: str, _model: Path, port: int, _folder: Path) -> list[str]:
    return [str(programs / "python"), str(HERE / "mosec_service.py"), "--address", "127.0.0.1",
            "--port", str(port), "--log-level", "warning"]  # fmt: skip


def _bentoml(programs: Path, workload: str, _model: Path, port: int, _folder: Path) -> list[str]:
    service = "Echo" if workload == "echo" else "Model"
    return [str(programs / "bentoml"), "serve", f"bentoml_service:{service}", "--port", str(port),
            "--host", "127.0.0.1", "--working-dir", str(HERE)]  # fmt: skip


def _mlserver(programs: Path, workload: str, _model: Path, port: int, folder: Path) -> list[str]:
    settings = {
        "host": "127.0.0.1", "http_port": port, "grpc_port": free_port(),
        "metrics_port": free_port(), "parallel_workers": 0, "use_structured_logging": False,
        "logging_settings": None, "debug": False,
    }  # fmt: skip
    model: dict[str, object] = {"name": "model", "implementation": "mlserver_service.Model"}
    if workload == "echo":
        model["implementation"] = "mlserver_service.Echo"
    else:
        model |= {"max_batch_size": 32, "max_batch_time": 0.001}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    return [str(programs / "mlserver"), "start", str(folder)]


def _plain(echo: str, predict: str, binary: str = "") -> Callable[[str], Request]:
    def request(workload: str) -> Request:
        if workload == "echo":
            return json_request(echo, None)
        if workload == "mlp-binary":
            return Request(binary, row_of("mlp").tobytes(), BINARY)
        return json_request(predict, workload)

    return request


def _open_inference(workload: str) -> Request:
    rows = [[5.1, 3.5, 1.4, 0.2]] if workload == "echo" else as_list(row_of(workload))
    shape = [1, len(rows[0])]  # type: ignore[arg-type]
    tensor = {"name": "x", "shape": shape, "datatype": "FP32", "data": rows}
    body = json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()
    return Request("/v2/models/model/infer", body)


def _uv() -> str:
    import uv

    return uv.find_uv_bin()


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "FastAPI",
            ("fastapi", "uvicorn", "uvloop", "httptools"),
            _script("fastapi_service.py"),
            _plain("/echo", "/predict", "/binary"),
            WORKLOADS,
        ),
        Peer(
            "mosec",
            ("mosec",),
            _mosec,
            _plain("/inference", "/inference", "/inference"),
            WORKLOADS,
        ),
        Peer(
            "LitServe",
            ("litserve",),
            _script("litserve_service.py"),
            _plain("/predict", "/predict"),
        ),
        Peer("BentoML", ("bentoml",), _bentoml, _plain("/echo", "/predict")),
        Peer("MLServer", ("mlserver",), _mlserver, _open_inference),
    )
}
"""By the name in the table."""
