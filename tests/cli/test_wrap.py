"""``modelpack containerize --wrap``: a program that never heard of modelpack, in an image like all others."""

from __future__ import annotations

import json
import os
import re
import struct
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.platforms import host_platform

Cli = Callable[..., Any]
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}

SERVER = """#!/usr/bin/env python3
import http.server, json, os, signal, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"arguments": sys.argv[1:], "pid": os.getpid(), "uid": os.getuid()}).encode()
        self.send_response(200 if self.path == "/facts" else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

def stop(*_):
    print("told to stop", flush=True)
    os._exit(7)

signal.signal(signal.SIGTERM, stop)
http.server.HTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def server(tmp_path: Path) -> Path:
    file = tmp_path / "facts-server"
    file.write_text(SERVER)
    file.chmod(0o755)
    return file


def test_the_plan_of_a_program(cli: Cli, server: Path) -> None:
    done = cli(
        "containerize", "--wrap", "./facts-server", "--port", "8080", "--plan", "-o", "json",
        "--", "--name", "a b", env=NO_ENGINE,
    )  # fmt: skip
    assert done.status == 0, done.err
    value = json.loads(done.out)
    assert value["port"] == 8080
    assert value["entry_point"][-3:] == ["/bundle/code/bin/facts-server", "--name", "a b"]
    assert "a script: the base must have 'python3'" in done.err


def test_inspect_and_diff_tell_of_the_program(cli: Cli, server: Path) -> None:
    for number in ("80", "81"):
        done = cli("containerize", "--wrap", "./facts-server", "--port", number, "--plan")
        assert done.status == 0, done.err

    assert "the program 'bin/facts-server' on port 81" in cli("inspect", "facts-server").out
    tags = [line.split()[0] for line in cli("list").out.splitlines() if "facts-server:" in line]
    assert re.search(r"port\W+80\W+81|port\W+81\W+80", cli("diff", *tags).out)


@pytest.mark.parametrize("command", [("serve",), ("deploy", "--target", "local", "--yes")])
def test_what_modelpack_cannot_serve_says_what_can(
    cli: Cli, server: Path, command: tuple[str, ...]
) -> None:
    cli("containerize", "--wrap", "./facts-server", "--port", "8080", "--plan")
    done = cli(command[0], "facts-server:latest", *command[1:])

    done.failed_well(2, "wrapped-program")
    assert "modelpack containerize facts-server:" in done.err


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("--wrap", "./none", "--port", "80"), 3, "not-found"),
        (("--wrap", ".", "--port", "80"), 2, "usage"),
        (("--wrap", "./facts-server", "--port", "0"), 2, "usage"),
        (("./none.onnx",), 3, "not-found"),
        (("./facts-server",), 2, "usage"),
    ],
)
def test_what_cannot_be_wrapped_fails_well(
    cli: Cli, server: Path, arguments: tuple[str, ...], status: int, code: str
) -> None:
    cli("containerize", *arguments, "--plan").failed_well(status, code)


def test_the_context_needs_nothing_of_modelpack(cli: Cli, server: Path, tmp_path: Path) -> None:
    done = cli(
        "containerize", "--wrap", "./facts-server", "--port", "8080", "--dockerfile", "context",
        env=NO_ENGINE,
    )  # fmt: skip
    assert done.status == 0, done.err
    names = {
        str(file.relative_to(tmp_path / "context"))
        for file in (tmp_path / "context").rglob("*")
        if file.is_file()
    }
    assert names == {
        "Dockerfile", "bundle.json", "requirements.lock", "doc/sbom.cdx.json",
        "code/bin/facts-server", "code/init.py",
    }  # fmt: skip


def test_a_program_for_another_processor_is_not_given_to_an_engine(
    cli: Cli, tmp_path: Path
) -> None:
    """It would be put on a base that cannot run it."""
    machine = 62 if host_platform().machine == "aarch64" else 183
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    fields = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 0, 0, 0, 64, 56, 0, 0, 0, 0)
    (tmp_path / "other").write_bytes(ident + fields)
    (tmp_path / "other").chmod(0o755)
    wrap = ("containerize", "--wrap", "./other", "--port", "80")

    done = cli(*wrap, "--engine", "docker")
    done.failed_well(2, "usage")
    assert "use --engine none" in done.err
    # Without an engine the base is looked at first, and there is none in this folder.
    cli(*wrap, "--base", "oci:nowhere").failed_well(3, "not-found")
    assert '"linux/' in cli(*wrap, "--plan", "-o", "json").out


@pytest.fixture(params=["docker", "none"])
def image(cli: Cli, server: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the image of the program, made by an engine and without one."""
    from modelpack.image import connect

    base = os.environ["ENGINE_BASE_IMAGE"]
    name = f"modelpack-test/facts:{uuid.uuid4().hex[:12]}"
    how: list[str] = ["--engine", "docker", "--base", base]
    if request.param == "none":
        how = ["--engine", "none", "--base", f"engine:{base}", "--output", "engine"]
    done = cli(
        "containerize", "--wrap", "./facts-server", "--port", "8080", "--reference", name, *how,
        "--", "--name", "a b",
    )  # fmt: skip
    assert done.status == 0, done.err
    yield name
    with connect() as engine:
        engine.remove_image(name, force=True)


@pytest.mark.engine
def test_it_serves_is_checked_and_stops_as_every_image_does(image: str) -> None:
    from modelpack.image import connect

    with connect() as engine:
        config = engine.inspect_image(image)["Config"]
        assert config["User"] == "65532:65532"
        assert config["Labels"]["dev.modelpack.tag"].startswith("facts-server:")
        container = engine.create_container(
            image,
            host_config=engine.create_host_config(
                read_only=True, cap_drop=["ALL"], security_opt=["no-new-privileges"],
                port_bindings={8080: ("127.0.0.1", None)},
            ),
        )["Id"]  # fmt: skip
        try:
            engine.start(container)
            ports = engine.inspect_container(container)["NetworkSettings"]["Ports"]
            facts = ask(f"http://127.0.0.1:{ports['8080/tcp'][0]['HostPort']}/facts")
            assert facts["arguments"] == ["--name", "a b"]
            assert facts["uid"] == 65532
            assert facts["pid"] != 1
            check = config["Healthcheck"]["Test"]
            assert check[0] == "CMD"
            made = engine.exec_create(container, check[1:])["Id"]
            assert engine.exec_start(made) == b""
            assert engine.exec_inspect(made)["ExitCode"] == 0

            engine.stop(container, timeout=30)

            assert engine.inspect_container(container)["State"]["ExitCode"] == 7
            assert b"told to stop" in engine.logs(container)
        finally:
            engine.remove_container(container, force=True, v=True)


@pytest.fixture
def doubler(tmp_path: Path) -> Path:
    """A model that doubles rows of two numbers."""
    import onnx
    from onnx import TensorProto, helper

    def row(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2])

    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])], "g", [row("x")], [row("y")]
    )
    opsets = [helper.make_opsetid("", 17)]
    file = tmp_path / "doubler.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), file)
    return file


@pytest.mark.engine
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("form", ["file", "mlflow"])
def test_a_model_of_somebody_elses_answers_from_its_image(
    cli: Cli, tmp_path: Path, doubler: Path, form: str
) -> None:
    """From the file or folder to an answer, without a line of code, and without an engine's build."""
    from modelpack.image import connect

    source = "./doubler.onnx"
    if form == "mlflow":
        source = "./from-mlflow"
        (tmp_path / source).mkdir()
        doubler.rename(tmp_path / source / "model.onnx")
        described = {"flavors": {"onnx": {"data": "model.onnx"}}}
        (tmp_path / source / "MLmodel").write_text(json.dumps(described))  # JSON is YAML
    name = f"modelpack-test/doubler:{uuid.uuid4().hex[:12]}"
    base = f"engine:{os.environ['ENGINE_BASE_IMAGE']}"
    done = cli(
        "containerize", source, "--engine", "none", "--base", base,
        "--output", "engine", "--reference", name,
    )  # fmt: skip
    assert done.status == 0, done.err

    run = cli("image", "run", name, "--detach", "-p", "0", "--name", name.partition(":")[2])
    try:
        assert run.status == 0, run.err
        request = urllib.request.Request(
            f"{run.out.strip()}/predict",
            data=json.dumps({"x": [[1, 2], [3, 4.5]]}).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer) == {"y": [[2, 4], [6, 9]]}
    finally:
        with connect() as engine:
            engine.remove_container(name.partition(":")[2], force=True, v=True)
            engine.remove_image(name, force=True)


def ask(url: str) -> Any:
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < end
            time.sleep(0.05)
