"""What was left to the defaults fits the container; what was set stays."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from modelpack.config.settings import ServerSettings
from modelpack.frameworks.source import Source
from modelpack.server.life.fitting import (
    Room,
    differences,
    ensure_temporary_folder,
    fitted,
    weights_of,
)

MB = 1_000_000
GB = 1000 * MB
LARGE = Room(processors=8, memory_bytes=64 * GB)


def test_a_large_machine_changes_nothing() -> None:
    settings = ServerSettings()
    assert fitted(settings, LARGE) == settings
    assert differences(settings, fitted(settings, LARGE)) == {}


def test_a_small_container_gets_a_small_queue_and_small_bodies() -> None:
    settings = ServerSettings()
    now = fitted(settings, Room(processors=1, memory_bytes=128 * MB))

    assert differences(settings, now) == {
        "max_queue_bytes": 16 * MB,
        "max_inflated_bytes": 16 * MB,
        "max_body_bytes": 8 * MB,
    }


def test_what_was_set_is_not_touched() -> None:
    settings = ServerSettings(max_queue_bytes=500 * MB, max_body_bytes=100 * MB, workers=4)
    now = fitted(settings, Room(processors=1, memory_bytes=128 * MB))

    assert (now.max_queue_bytes, now.max_body_bytes, now.workers) == (500 * MB, 100 * MB, 4)


def test_a_body_of_a_megabyte_can_always_be_read() -> None:
    now = fitted(ServerSettings(), Room(processors=1, memory_bytes=4 * MB))
    assert (now.max_body_bytes, now.max_queue_bytes) == (1024 * 1024, 1024 * 1024)


def test_workers_share_the_memory_of_the_queue() -> None:
    room = Room(processors=4, memory_bytes=1 * GB)
    one, four = (fitted(ServerSettings(workers=n), room).max_queue_bytes for n in (1, 4))
    assert (one, four) == (125 * MB, 31_250_000)


@pytest.mark.parametrize(
    ("processors", "memory", "weights", "settings", "workers"),
    [
        (8, 64 * GB, 0, {}, 8),  # the processors decide
        (8, 400 * MB, 0, {}, 3),  # a process takes 100 MB
        (8, 8 * GB, 1 * GB, {}, 2),  # each loads the model
        (8, 8 * GB, 1 * GB, {"replicas": 3}, 1),
        (8, 8 * GB, 1 * GB, {"replicas": 3, "runner": "process"}, 8),  # they share the runners
        (8, 50 * MB, 0, {}, 1),
        (1000, 1000 * GB, 0, {}, 256),
    ],
)
def test_as_many_workers_as_fit(
    processors: int, memory: int, weights: int, settings: dict[str, object], workers: int
) -> None:
    asked = ServerSettings(workers=0, **settings)  # type: ignore[arg-type]
    assert fitted(asked, Room(processors, memory, weights)).workers == workers


def test_a_service_that_cannot_be_opened_again_has_one_worker() -> None:
    assert fitted(ServerSettings(workers=0), LARGE, is_alone=True).workers == 1


def test_without_a_place_for_temporary_files_there_is_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose root is read-only and that was given no /tmp."""

    def nowhere() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.delenv("TMPDIR", raising=False)
    ensure_temporary_folder(str(tmp_path))
    assert "TMPDIR" not in os.environ

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    ensure_temporary_folder(str(tmp_path / "none"))
    assert "TMPDIR" not in os.environ
    monkeypatch.setenv("TMPDIR", "/nowhere")
    ensure_temporary_folder(str(tmp_path))
    assert os.environ["TMPDIR"] == str(tmp_path)


def test_weights_are_the_files_of_the_models(tmp_path: Path) -> None:
    (tmp_path / "models" / "clf").mkdir(parents=True)
    (tmp_path / "models" / "clf" / "model.onnx").write_bytes(bytes(1000))
    (tmp_path / "models" / "clf" / "model.json").write_bytes(bytes(24))
    (tmp_path / "code.py").write_bytes(bytes(77))

    assert weights_of(Source("bundle", "", str(tmp_path))) == 1024
    assert weights_of(Source("model", "code.py", str(tmp_path))) == 77
    assert weights_of(Source("code", "a:B", str(tmp_path))) == 0
    assert weights_of(None) == 0
