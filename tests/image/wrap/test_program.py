"""A program becomes a bundle as it is, is never run by that, and its plan has the rules of every image."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from modelpack.archive.platforms import Platform, host_platform
from modelpack.config.settings import ImageSettings
from modelpack.errors import NotFoundError, SecretFoundError, StoreError, UsageError
from modelpack.image import ImagePlan, plan_image, render_dockerfile
from modelpack.image.context import context_files
from modelpack.image.wrap import bundle_of_program
from modelpack.manifest import BundleManifest, ProgramRecord
from modelpack.server.life import init
from modelpack.store import Entry, Store
from modelpack.version import __version__

GOLDEN = Path(__file__).parents[1] / "golden" / "wrap"
SCRIPT = "#!/usr/bin/env python3\nopen('ran', 'w')\n"
INTERPRETER = Path(sys.executable).resolve()


class Notes:
    """Writes down what is noted."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)

    def step(self, _text: str) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return executable(tmp_path / "server", SCRIPT)


def executable(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o755)
    return file


@pytest.fixture
def wrapped(script: Path, store: Store) -> Entry:
    return bundle_of_program(script, store, port=8080, arguments=["--model", "a b"])


@pytest.fixture
def plan(wrapped: Entry, store: Store) -> ImagePlan:
    return plan_image(store, wrapped, ImageSettings())


def test_the_bundle_holds_the_program_and_its_process_1(wrapped: Entry, store: Store) -> None:
    manifest = store.bundle_manifest(wrapped)

    assert manifest.program == ProgramRecord(
        path="bin/server", arguments=("--model", "a b"), port=8080, platform=None
    )
    assert (manifest.service, manifest.model) == (None, None)
    assert [(file.path, file.mode) for file in manifest.files] == [
        ("bin/server", 0o755),
        ("init.py", 0o644),
    ]


def test_it_is_unpacked_as_it_was(wrapped: Entry, store: Store, tmp_path: Path) -> None:
    bundle = store.unpack(wrapped, tmp_path / "unpacked")

    assert (bundle / "code/bin/server").read_text() == SCRIPT
    assert os.access(bundle / "code/bin/server", os.X_OK)
    assert (bundle / "code/init.py").read_bytes() == Path(init.__file__).read_bytes()


def test_wrapping_runs_nothing(wrapped: Entry, tmp_path: Path) -> None:
    assert wrapped.tag.name == "server"
    assert not (tmp_path / "ran").exists()


def test_the_same_program_is_the_same_bundle(script: Path, store: Store, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    copy = executable(other / "server", SCRIPT)
    copy.chmod(0o700)
    one, two = (bundle_of_program(file, store, port=8080) for file in (script, copy))
    three = bundle_of_program(script, store, port=8081)

    assert one.digest == two.digest
    assert three.digest != one.digest


def test_the_plan_keeps_the_rules_and_starts_the_program(plan: ImagePlan) -> None:
    assert plan.user == "65532:65532"
    assert plan.port == 8080
    assert plan.stop_signal == "SIGTERM"
    assert plan.entry_point == (
        "python3", "-I", "-S", "/bundle/code/init.py", "/bundle/code/bin/server", "--model", "a b",
    )  # fmt: skip
    assert plan.env["PORT"] == "8080"
    assert "MODELPACK_PORT" not in plan.env
    assert [layer.what for layer in plan.layers] == ["base", "code"]
    assert "glibc" in plan.base.reason


def test_a_base_that_was_asked_for_keeps_its_reason(wrapped: Entry, store: Store) -> None:
    plan = plan_image(store, wrapped, ImageSettings(), base="debian:12-slim")
    assert (plan.base.image, plan.base.reason) == ("debian:12-slim", "this base was asked for")


@pytest.mark.parametrize(("name", "cuda"), [("program", None), ("program-cuda", "12.6")])
def test_the_dockerfile_is_the_one_that_was_reviewed(
    wrapped: Entry, store: Store, name: str, cuda: str | None
) -> None:
    """A linter looks at it with all the others, in ``test_dockerfile``."""
    text = render_dockerfile(plan_image(store, wrapped, ImageSettings(), cuda=cuda))
    for changing, word in {
        wrapped.digest: f"sha256:{'0' * 64}",  # process 1 is a part of the bundle
        str(wrapped.tag.version): "CONTENT",
        __version__: "VERSION",
    }.items():
        text = text.replace(changing, word)

    golden = GOLDEN / f"{name}.Dockerfile"
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_no_package_and_no_server_is_installed(plan: ImagePlan, store: Store) -> None:
    text = render_dockerfile(plan)
    names = [file.path for file in context_files(plan, store)]

    assert "pip" not in text
    assert "venv" not in text
    assert not [name for name in names if name.endswith(".whl")]
    assert "code/bin/server" in names


def test_on_a_cuda_base_it_is_started_by_the_python_that_is_installed_there(
    wrapped: Entry, store: Store
) -> None:
    plan = plan_image(store, wrapped, ImageSettings(), cuda="12.6")

    assert plan.entry_point[0] == plan.health_check[0] == f"python{plan.python}"
    assert plan.env["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert "CUDA 12.6" in plan.base.reason


def test_a_compiled_program_is_for_its_own_platform(store: Store) -> None:
    notes = Notes()
    entry = bundle_of_program(INTERPRETER, store, port=80, name="compiled", progress=notes)
    here = host_platform()
    other = Platform("aarch64" if here.machine == "x86_64" else "x86_64")

    assert plan_image(store, entry, ImageSettings(), platform=here).platform == here
    with pytest.raises(UsageError, match=f"was compiled for {here.name}, and the image is for"):
        plan_image(store, entry, ImageSettings(), platform=other)
    assert notes.texts[0] == f"compiled for {here.name}"
    assert any(text.startswith("the base must have glibc 2.") for text in notes.texts)


def test_a_script_is_for_every_platform(wrapped: Entry, store: Store) -> None:
    for machine in ("x86_64", "aarch64"):
        plan = plan_image(store, wrapped, ImageSettings(), platform=Platform(machine))
        assert plan.program is not None


@pytest.mark.parametrize(
    ("first", "interpreter"),
    [
        ("#!/bin/sh", "/bin/sh"),
        ("#!/usr/bin/env node", "node"),
        ("#!/usr/bin/env -S deno run --allow-net", "deno"),
        ("#! /usr/bin/perl -w", "/usr/bin/perl"),
    ],
)
def test_the_interpreter_of_a_script_is_noted(
    tmp_path: Path, store: Store, first: str, interpreter: str
) -> None:
    notes = Notes()
    bundle_of_program(executable(tmp_path / "s", f"{first}\n"), store, port=80, progress=notes)
    assert notes.texts == [f"a script: the base must have '{interpreter}'"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("print('hello')\n", "neither a compiled Linux program nor a script"),
        ("", "neither a compiled Linux program nor a script"),
        ("MZ\x90", "neither a compiled Linux program nor a script"),
        ("#!/usr/bin/env python3\r\nprint()\r\n", "as on Windows"),
        ("#!\n", "names no interpreter"),
        ("#!/bin/s\x1b[31mh\n", r"U\+001B"),
    ],
)
def test_what_linux_could_not_start_is_refused(
    tmp_path: Path, store: Store, text: str, why: str
) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        bundle_of_program(executable(tmp_path / "server", text), store, port=80)
    assert caught.value.hint
    assert store.list() == []


def test_a_file_that_is_not_executable_may_be_the_wrong_one(script: Path, store: Store) -> None:
    script.chmod(0o644)
    if os.access(script, os.X_OK):
        pytest.skip("this file system makes everything executable")
    with pytest.raises(UsageError, match="is not executable") as caught:
        bundle_of_program(script, store, port=80)
    assert "chmod +x" in str(caught.value.hint)


def test_what_is_not_there_is_said(tmp_path: Path, store: Store) -> None:
    with pytest.raises(NotFoundError):
        bundle_of_program(tmp_path / "none", store, port=80)
    with pytest.raises(UsageError, match="is not a file"):
        bundle_of_program(tmp_path, store, port=80)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_there_is_not_is_refused(script: Path, store: Store, port: int) -> None:
    with pytest.raises(UsageError, match="is not a port"):
        bundle_of_program(script, store, port=port)


@pytest.mark.parametrize("word", ["a\nRUN evil", "\x1b[2J", "\u202eevil", "nul\0byte"])
def test_no_argument_becomes_an_instruction(script: Path, store: Store, word: str) -> None:
    with pytest.raises(UsageError, match="may not stand in an image"):
        bundle_of_program(script, store, port=80, arguments=[word])


@pytest.mark.parametrize("word", ["$HOME", "`id`", '"], "x": ["', "; rm -rf /", "--", "\\", "${A}"])
def test_an_argument_stays_one_word(script: Path, store: Store, word: str) -> None:
    entry = bundle_of_program(script, store, port=80, arguments=[word])
    plan = plan_image(store, entry, ImageSettings())
    last = render_dockerfile(plan).strip().splitlines()[-1]

    assert json.loads(last.removeprefix("ENTRYPOINT "))[-1] == word


def test_a_script_with_a_key_in_it_is_refused(tmp_path: Path, store: Store) -> None:
    key = "AKIA" + "IOSFODNN7" + "ABCDEFG"
    file = executable(tmp_path / "server", f"#!/bin/sh\nexport AWS_ACCESS_KEY_ID={key}\n")
    with pytest.raises(SecretFoundError, match=":2 holds what looks like"):
        bundle_of_program(file, store, port=80)


def test_the_bill_of_materials_names_the_program(
    wrapped: Entry, store: Store, script: Path, tmp_path: Path
) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    bundle = store.unpack(wrapped, tmp_path / "unpacked")
    text = (bundle / "doc" / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    (component,) = json.loads(text)["components"]

    assert (component["type"], component["name"]) == ("application", "server")
    assert component["hashes"][0]["content"] == hashlib.sha256(script.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("file", "name"), [("serve.py", "serve"), ("run.sh", "run"), ("llama3.1", "llama3.1")]
)
def test_a_bundle_is_called_like_its_program(
    tmp_path: Path, store: Store, file: str, name: str
) -> None:
    assert bundle_of_program(executable(tmp_path / file, SCRIPT), store, port=80).tag.name == name


def test_a_link_is_followed_to_the_program(script: Path, store: Store, tmp_path: Path) -> None:
    link = tmp_path / "latest"
    link.symlink_to(script)
    entry = bundle_of_program(link, store, port=8080)
    assert entry.digest == bundle_of_program(script, store, port=8080).digest


def test_the_health_check_asks_the_program(plan: ImagePlan, tmp_path: Path) -> None:
    """Any answer but a failure of the program's own is a good one; no answer is none."""
    for answer, healthy in {
        b"HTTP/1.1 200 OK\r\n\r\n": True,
        b"HTTP/1.0 404 Not Found\r\n\r\n": True,
        b"HTTP/1.1 503 Service Unavailable\r\n\r\n": False,
        b"HTTP/1.1 500 x\r\n\r\n": False,
        b"SSH-2.0-x\r\n": False,
        b"": False,
    }.items():
        assert probe(plan, answer) == healthy, answer
    assert not probe(plan, None)


def probe(plan: ImagePlan, answer: bytes | None) -> bool:
    """Run the health check against a server that says ``answer``; None: nobody listens."""
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer or b"")

        if answer is None:
            listener.close()
        else:
            threading.Thread(target=serve, daemon=True).start()
        done = subprocess.run(
            [sys.executable, *plan.health_check[1:]],
            env={"PORT": str(port)},
            capture_output=True,
            timeout=30,
            check=False,
        )
    return done.returncode == 0


def test_the_record_is_read_strictly(wrapped: Entry, store: Store) -> None:
    value = store.bundle_manifest(wrapped).to_json()
    assert BundleManifest.from_json(value).to_json() == value
    for wrong in (
        {"path": "x"},
        {**value["program"], "port": "80"},
        {**value["program"], "port": 0},
        {**value["program"], "arguments": [1]},
        {**value["program"], "more": 1},
        [],
    ):
        with pytest.raises(StoreError):
            BundleManifest.from_json({**value, "program": wrong})


def test_bundles_without_a_program_are_what_they_were(store: Store, wrapped: Entry) -> None:
    """Their digests were made without the key."""
    value = store.bundle_manifest(wrapped).to_json()
    del value["program"]
    assert "program" not in BundleManifest.from_json(value).to_json()
