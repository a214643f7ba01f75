"""The models of a bundle, fetched from a registry before a server starts."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelpack.server.fetch.__main__ import main
from modelpack.server.fetch.pulling import TRIES

from .registry_at_hand import CODE, WEIGHT, AtHand, at_hand, digest, tar_of

WEIGHTS = bytes(range(256)) * 4096
LAYER = tar_of({"bundle/models/net/model.onnx": WEIGHTS})
SIDE = tar_of({"bundle/models/net/model.json": b"{}"})
MODEL = "bundle/models/net/model.onnx"


@pytest.fixture
def registry() -> Iterator[AtHand]:
    with at_hand() as found:
        yield found


@pytest.fixture
def bundle(registry: AtHand) -> str:
    """Return the reference of a bundle of two layers of a model, and one of code."""
    code = tar_of({"bundle/code/service.py": b"x = 1"})
    made = registry.put((WEIGHT, MODEL, LAYER), (WEIGHT, MODEL, SIDE), (CODE, "bundle/code", code))
    return registry.reference(made)


def fetched(reference: str, to: Path, *more: str) -> int:
    return main([reference, "--to", str(to), *more], sleep=lambda _: None)


def blobs_asked(registry: AtHand) -> list[str]:
    return [path.rpartition("/")[2] for path, _ in registry.asked if "/blobs/" in path]


def test_the_models_are_there_and_nothing_else(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(bundle, tmp_path) == 0
    files = sorted(str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file())
    assert files == ["net/model.json", "net/model.onnx"]
    assert (tmp_path / "net" / "model.onnx").read_bytes() == WEIGHTS
    said = json.loads(capsys.readouterr().err)
    assert (said["event"], said["layers"], said["reference"]) == ("models-fetched", 2, bundle)
    assert said["received_bytes"] == len(LAYER) + len(SIDE)


def test_a_second_fetch_does_no_harm(bundle: str, tmp_path: Path) -> None:
    assert [fetched(bundle, tmp_path), fetched(bundle, tmp_path)] == [0, 0]
    assert (tmp_path / "net" / "model.onnx").read_bytes() == WEIGHTS


def test_a_connection_that_breaks_off_is_gone_on_with(
    registry: AtHand, bundle: str, tmp_path: Path
) -> None:
    registry.breaks, registry.ends_after = 3, 300_000
    assert fetched(bundle, tmp_path) == 0
    assert (tmp_path / "net" / "model.onnx").read_bytes() == WEIGHTS
    ranges = [head.get("Range") for path, head in registry.asked if path.endswith(digest(LAYER))]
    assert ranges == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_a_registry_without_ranges_is_read_anew(
    registry: AtHand, bundle: str, tmp_path: Path
) -> None:
    registry.breaks, registry.ends_after, registry.has_ranges = 1, 300_000, False
    assert fetched(bundle, tmp_path) == 0
    assert (tmp_path / "net" / "model.onnx").read_bytes() == WEIGHTS


def test_a_process_that_ended_is_gone_on_with(
    registry: AtHand, bundle: str, tmp_path: Path
) -> None:
    registry.breaks, registry.ends_after = TRIES + 1, 0
    assert fetched(bundle, tmp_path) == 1
    work = tmp_path / ".fetched"
    (work / f"{digest(LAYER)[7:]}.part").write_bytes(LAYER[:500_000])
    registry.breaks = 0
    assert fetched(bundle, tmp_path) == 0
    heads = [head.get("Range") for path, head in registry.asked if path.endswith(digest(LAYER))]
    assert heads[-1] == "bytes=500000-"
    assert not work.exists()


def test_one_that_gets_nowhere_gives_up_with_a_reason(
    registry: AtHand, bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.breaks, registry.ends_after = 1000, 0
    assert fetched(bundle, tmp_path) == 1
    assert "error[unreachable]: " in capsys.readouterr().err
    assert len(blobs_asked(registry)) == TRIES


def test_a_busy_registry_is_asked_again(registry: AtHand, bundle: str, tmp_path: Path) -> None:
    registry.busy = TRIES - 1
    assert fetched(bundle, tmp_path) == 0


def test_bytes_that_are_not_those_of_their_digest_are_never_unpacked(
    registry: AtHand, bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.blobs[digest(LAYER)] = LAYER[:-1] + b"x"
    assert fetched(bundle, tmp_path) == 4
    assert "error[digest-mismatch]: " in capsys.readouterr().err
    assert not (tmp_path / "net" / "model.onnx").exists()
    assert not list(tmp_path.rglob("*.part")), "the next attempt begins anew"


def test_another_manifest_under_the_digest_is_refused(
    registry: AtHand, bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.blobs[bundle.rpartition("@")[2]] = b"{}"
    assert fetched(bundle, tmp_path) == 4
    assert "error[digest-mismatch]: " in capsys.readouterr().err


def login_file(tmp_path: Path, host: str, user: str = "me", secret: str = "hidden") -> Path:
    auth = base64.b64encode(f"{user}:{secret}".encode()).decode()
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"auths": {f"https://{host}/v1/": {"auth": auth}}}))
    return file


def test_a_token_is_asked_for_with_the_login(registry: AtHand, bundle: str, tmp_path: Path) -> None:
    registry.token = "let-me-in"
    registry.basic = "Basic " + base64.b64encode(b"me:hidden").decode()
    file = login_file(tmp_path, registry.host)
    assert fetched(bundle, tmp_path / "models", "--login", str(file)) == 0
    asked = [path for path, _ in registry.asked if path.startswith("/token")]
    assert asked == ["/token?scope=repository%3Ax%3Apull&service=registry"]


@pytest.mark.parametrize("user", [None, "other"])
def test_without_the_right_login_it_says_so(
    registry: AtHand, bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    user: str | None,
) -> None:  # fmt: skip
    registry.token, registry.basic = "let-me-in", "Basic nobody"
    more = ["--login", str(login_file(tmp_path, registry.host, user))] if user else []
    assert fetched(bundle, tmp_path / "models", *more) == 4
    said = capsys.readouterr().err
    assert said.startswith("error[login-needed]: ")
    assert "pull_secret" in said
    assert "hidden" not in said


def test_the_secret_stays_with_its_host(registry: AtHand, bundle: str, tmp_path: Path) -> None:
    """Blobs that are kept elsewhere are fetched without it."""
    registry.token = "let-me-in"
    with at_hand() as elsewhere:
        elsewhere.blobs = registry.blobs
        registry.moved_to = elsewhere.url
        assert fetched(bundle, tmp_path) == 0
        assert len(elsewhere.asked) == 2
        assert not any("Authorization" in head for _, head in elsewhere.asked)


def test_a_way_into_the_clear_is_not_followed(
    registry: AtHand, bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.moved_to = "http://storage.example"
    assert fetched(bundle, tmp_path) == 1
    assert "without TLS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (tar_of({"bundle/models/../../x": b""}), "no file of a model"),
        (tar_of({"/etc/x": b""}), "no file of a model"),
        (tar_of({"bundle/code/x": b""}), "no file of a model"),
        (tar_of({}, link="bundle/models/net/x"), "no file of a model"),
        (b"no tar", "no archive"),
    ],
)
def test_files_that_belong_elsewhere_are_refused(
    registry: AtHand, tmp_path: Path, capsys: pytest.CaptureFixture[str], layer: bytes, said: str
) -> None:
    made = registry.put((WEIGHT, MODEL, layer))
    assert fetched(registry.reference(made), tmp_path / "models") == 4
    assert said in capsys.readouterr().err
    assert not [one for one in tmp_path.rglob("*") if one.is_file() and one.suffix != ".part"]


@pytest.mark.parametrize(
    "reference",
    ["digits:1", "team/digits@sha256:" + "0" * 64, "r.example/team/digits:1", "r.example/a@sha256:12", "@sha256:" + "0" * 64,
     "https://r.example/a@sha256:" + "0" * 64, "u:p@r.example/a@sha256:" + "0" * 64],
)  # fmt: skip
def test_only_a_digest_names_a_bundle(
    reference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(reference, tmp_path) == 2
    assert "by its digest" in capsys.readouterr().err


def test_what_is_no_bundle_is_refused(
    registry: AtHand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = registry.put((WEIGHT, MODEL, LAYER), kind="model")
    assert fetched(registry.reference(made), tmp_path) == 4
    empty = registry.put((CODE, "bundle/code", LAYER))
    assert fetched(registry.reference(empty), tmp_path) == 4
    said = capsys.readouterr().err
    assert "is no bundle" in said
    assert "has no models" in said


def test_a_bundle_that_is_not_there_is_named(
    registry: AtHand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(registry.reference("sha256:" + "0" * 64), tmp_path) == 3
    assert capsys.readouterr().err.startswith("error[not-found]: ")


def test_a_folder_that_cannot_be_written_is_said(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert fetched(bundle, tmp_path / "file") == 1
    assert "error[registry-failed]: cannot keep the models in" in capsys.readouterr().err


def test_a_login_that_cannot_be_read_is_not_repeated(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("secret words", '["secret words"]', '{"auths": {"127.0.0.1": "secret words"}}'):
        file = tmp_path / "config.json"
        file.write_text(text.replace("127.0.0.1", bundle.partition("/")[0]))
        assert fetched(bundle, tmp_path / "models", "--login", str(file)) == 2
        assert "secret words" not in capsys.readouterr().err


def test_it_needs_nothing_but_the_standard_library(bundle: str, tmp_path: Path) -> None:
    """A process of its own, as a container runs it: quick to start, ended by a signal."""
    code = (
        "import sys; from modelpack.server.fetch.__main__ import main; "
        "print(sorted({m.partition('.')[0] for m in sys.modules} & {'numpy', 'starlette', 'httpx'}));"
        f"sys.exit(main(['{bundle}', '--to', '{tmp_path}']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "[]"), done.stderr


def test_a_signal_ends_it_at_once(registry: AtHand, bundle: str, tmp_path: Path) -> None:
    registry.breaks, registry.ends_after = 10**6, 0
    words = ["-I", "-m", "modelpack.server.fetch", bundle, "--to", str(tmp_path)]
    with subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL) as process:
        while not blobs_asked(registry):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
