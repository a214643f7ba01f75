from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from modelpack.image import connect
from modelpack.image import instructions as dockerfile

Cli = Callable[..., Any]
PROGRAM = Path(sys.executable).with_name("modelpack")
SITE = "bundle/venv/lib/python3.11/site-packages"


@pytest.fixture(scope="module")
def made() -> ModuleType:
    """The functions of ``tests/image/made.py``."""
    path = Path(__file__).parents[1] / "image" / "made.py"
    spec = importlib.util.spec_from_file_location("made", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["made"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def images(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A layout with two images, ``a`` and ``b``, which differ in code and in a package."""
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))

    def image(version: str, code: bytes) -> Any:
        info = f"{SITE}/foo-{version}.dist-info"
        return made.Made(
            [
                made.tar(made.file("usr/bin/python3", b"p" * 3000)),
                made.tar(
                    made.folder(info),
                    made.file(f"{SITE}/foo.py", version.encode() * 1000),
                    made.file(f"{info}/RECORD", b"foo.py,,\n"),
                ),
                made.tar(made.file("bundle/models/m/weights", b"w" * 9000)),
                made.tar(made.file("bundle/code/service.py", code)),
            ],
            {
                "Entrypoint": ["/bundle/venv/bin/python", "-m", "a b"],
                "Env": ["A=b"],
                "ExposedPorts": {"3000/tcp": {}},
                "Labels": {"dev.modelpack.tag": "digits:1", "evil": "\x1b[2Jcleared"},
                "User": "65532:65532",
            },
            history=[{"created_by": f"step {number}"} for number in range(4)],
        )

    return made.layout(tmp_path / "images", a=image("1.0", b"one"), b=image("2.0", b"other"))


def test_inspect_shows_what_an_image_holds(inside: Cli, images: Path) -> None:
    done = inside("image", "inspect", f"oci:{images}:a")

    assert done.status == 0, done.err
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert f"image oci:{images}:a (oci)" in lines
    assert "platform linux/amd64" in lines
    assert "bundle digits:1" in lines
    assert "user 65532:65532" in lines
    assert "runs /bundle/venv/bin/python -m 'a b'" in lines
    assert "ports 3000/tcp" in lines
    assert "foo 1.0 3.0 kB" in lines
    assert "m 9.0 kB" in lines
    assert "bundle/models/m/weights 9.0 kB" in lines
    assert "layers (4)" in lines
    assert any(line.endswith("model m") for line in lines)


def test_nothing_of_an_image_steers_the_terminal(inside: Cli, images: Path) -> None:
    done = inside("image", "inspect", f"oci:{images}:a")

    assert "evil=\\x1b[2Jcleared" in done.out
    assert "\x1b" not in done.out


def test_what_is_known_already_is_not_read_again(inside: Cli, images: Path) -> None:
    first = inside("image", "inspect", f"oci:{images}:a")
    again = inside("image", "inspect", f"oci:{images}:a")

    assert first.err.count("read layer") == 4
    assert again.err == ""
    assert again.out == first.out


def test_facts_are_also_had_as_json(inside: Cli, images: Path) -> None:
    facts = json.loads(inside("image", "inspect", f"oci:{images}:b", "-o", "json").out)

    assert facts["where"] == "oci"
    assert facts["packages"][0]["version"] == "2.0"
    assert len(facts["layers"]) == 4


def test_history_is_a_table_of_layers(inside: Cli, images: Path) -> None:
    done = inside("image", "history", f"oci:{images}:a")

    head, *rows = done.out.splitlines()
    assert head.split() == ["LAYER", "STORED", "FILES", "WHAT", "CREATED", "BY"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4"]
    assert rows[2].split()[-4:] == ["model", "m", "step", "2"]
    steps = json.loads(inside("image", "history", f"oci:{images}:a", "-o", "json").out)
    assert [one["created_by"] for one in steps] == [f"step {number}" for number in range(4)]
    assert steps[3]["layer"]["what"] == "code"


def test_diff_says_what_changed_and_what_a_push_sends(inside: Cli, images: Path) -> None:
    done = inside("image", "diff", f"oci:{images}:a", f"oci:{images}:b")

    assert done.status == 0
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "= 2 kept, 30.7 kB" in lines
    assert "~ foo 1.0 → 2.0" in lines
    assert "~ code/service.py 3 B → 5 B" in lines
    push = json.loads(
        inside("image", "diff", f"oci:{images}:a", f"oci:{images}:b", "-o", "json").out
    )
    assert lines[-2] == f"a push sends {push['push_bytes'] / 1000:.1f} kB"
    assert lines[-1] == push["reason"]


def test_diff_has_a_status_for_scripts(inside: Cli, images: Path) -> None:
    a, b = f"oci:{images}:a", f"oci:{images}:b"

    assert inside("image", "diff", a, b, "--exit-code").status == 10
    assert inside("image", "diff", a, a, "--exit-code").status == 0
    assert "nothing is sent" in inside("image", "diff", a, a).out


@pytest.mark.parametrize("command", ["inspect", "history"])
@pytest.mark.parametrize(
    ("reference", "status", "code"),
    [
        ("oci:/nowhere", 3, "not-found"),
        ("docker://host/name:1", 2, "bad-reference"),
        ("oci:{images}", 3, "not-found"),
        ("oci:{images}:c", 3, "not-found"),
        ("oci-archive:{images}/oci-layout", 4, "digest-mismatch"),
        ("127.0.0.1:1/digits:1", 1, "unreachable"),
    ],
)
def test_what_cannot_be_read_is_said_in_four_lines(
    inside: Cli, images: Path, *, command: str, reference: str, status: int, code: str
) -> None:
    done = inside("image", command, reference.format(images=images))

    done.failed_well(status, code)


def test_a_platform_that_is_not_there_is_refused(inside: Cli, images: Path) -> None:
    done = inside("image", "inspect", f"oci:{images}:a", "--platform", "linux/arm64")

    done.failed_well(3, "not-found")
    assert "it has 'linux/amd64'" in done.err


STRANGE = [None, 7, "text", {"x": [1]}, [1, None, {}], ["\x1b[2J"]]


@pytest.mark.parametrize("key", ["Env", "Entrypoint", "Cmd", "ExposedPorts", "Labels", "User"])
def test_settings_of_any_form_are_shown_or_left_out(
    inside: Cli, made: Any, tmp_path: Path, key: str
) -> None:
    """Whoever made an image decides what stands in its config."""
    for number, value in enumerate(STRANGE):
        image = made.Made([made.tar(made.file("a", b"x"))], {key: value})
        place = f"oci:{made.layout(tmp_path / str(number), x=image)}"
        for words in (["inspect", place], ["inspect", place, "-o", "json"], ["history", place]):
            done = inside("image", *words)
            assert done.status == 0, (value, done.err)
            assert "\x1b" not in done.out
        assert inside("image", "diff", place, place).status == 0


@pytest.mark.parametrize("key", ["architecture", "os", "created", "history", "config", "variant"])
def test_a_config_of_any_form_is_shown_or_refused(
    inside: Cli, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    config = json.loads(made.Made([made.tar()]).config)
    for number, value in enumerate(STRANGE):
        data = json.dumps({**config, key: value}).encode()
        monkeypatch.setattr(made.Made, "config", property(lambda _, data=data: data))
        place = f"oci:{made.layout(tmp_path / str(number), x=made.Made([made.tar()]))}"
        for command in ("inspect", "history"):
            done = inside("image", command, place)
            assert done.status in (0, 4), (value, done.err)
            assert "\x1b" not in done.out + done.err


def test_run_reads_its_words_before_it_asks_an_engine(inside: Cli) -> None:
    nowhere = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}

    inside("image", "run", "digits:1", "--memory", "12", env=nowhere).failed_well(2, "usage")
    inside("image", "run", "digits:1", env=nowhere).failed_well(6, "tool-missing")


# With a real engine.

SERVER = """
import http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("ended well", flush=True), sys.exit(0)))
print("hello from inside", flush=True)
http.server.HTTPServer(("", 8080), http.server.BaseHTTPRequestHandler).serve_forever()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An image that listens at 8080."""
    reference = f"modelpack-test/cli-{uuid.uuid4().hex[:12]}:1"
    text = dockerfile.render(
        [
            dockerfile.from_image(os.environ["ENGINE_BASE_IMAGE"]),
            dockerfile.user("65532:65532"),
            dockerfile.expose(8080),
            dockerfile.entry_point(
                ["python3", "-c", f"exec(bytes.fromhex('{SERVER.encode().hex()}'))"]
            ),
        ],
        ["a test"],
    )
    with connect() as engine:
        said = engine.build(
            fileobj=io.BytesIO(text.encode()), tag=reference, rm=True, forcerm=True, decode=True
        )
        assert not [event for event in said if "error" in event]
    yield reference
    with connect() as engine, suppress(Exception):
        engine.remove_image(reference, force=True)


def containers(image: str) -> list[Any]:
    with connect() as engine:
        found: list[Any] = engine.containers(all=True, filters={"ancestor": image})
    return found


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_prints_the_url_and_leaves_nothing_when_it_is_stopped(
    server: str, tmp_path: Path, number: int
) -> None:
    words = [PROGRAM, "image", "run", server, "--port", "0"]
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=err, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with suppress(OSError):  # it answers 501, which is an answer
            opener.open(url, timeout=10).close()
        assert len(containers(server)) == 1
        deadline = time.monotonic() + 30
        while "hello" not in (tmp_path / "err").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        process.send_signal(number)
        rest, _ = process.communicate(timeout=60)

    said = (tmp_path / "err").read_text()
    assert process.returncode == 0, said
    assert rest == ""
    assert "hello from inside" in said
    assert "is ready" in said
    assert containers(server) == []


@pytest.mark.engine
def test_what_takes_long_is_said_once(
    inside: Cli, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELPACK_CACHE", str(tmp_path / "cache"))

    first, again = (inside("image", "inspect", f"engine:{server}") for _ in range(2))

    assert f"take {server} out of the engine (" in first.err
    assert "read layer 1 of 1" in first.err
    assert again.err == ""
    assert again.out == first.out
    assert "digest  " not in first.out


@pytest.mark.engine
def test_run_can_leave_it_running(cli: Cli, server: str) -> None:
    done = cli("image", "run", f"engine:{server}", "--port", "0", "--detach", "-o", "json")

    facts = json.loads(done.out)
    try:
        assert done.status == 0
        assert f"'docker rm -f {facts['name']}' ends it" in done.err
        assert [one["Id"] for one in containers(server)] == [facts["id"]]
    finally:
        with connect() as engine:
            engine.remove_container(facts["id"], force=True)


@pytest.mark.engine
def test_run_of_what_ends_at_once_shows_its_words_and_fails(cli: Cli, server: str) -> None:
    done = cli("image", "run", server, "--port", "0", "--memory", "6MiB")

    done.failed_well(1, "engine-failed")
    assert containers(server) == []
