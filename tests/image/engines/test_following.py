"""What a builder says becomes steps for people, a log for the curious, and an error in four lines."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import EngineError
from modelpack.image import ImagePlan
from modelpack.image.dockerfile import instructions_of
from modelpack.image.engines import ImageBuildError
from modelpack.image.engines.classic import read_events
from modelpack.image.engines.following import Said, follow, log_file


def hear(plan: ImagePlan, events: list[dict[str, Any]], progress: Any) -> str:
    """Read events as those of an engine; return the log."""
    with log_file(plan) as (log, path):
        follow(plan, read_events(plan, events), log, path, progress)
        log.flush()
        return path.read_text()


def steps(plan: ImagePlan) -> list[dict[str, Any]]:
    made = list(instructions_of(plan))
    return [
        {"stream": f"Step {number}/{len(made)} : {one.keyword} x\n"}
        for number, one in enumerate(made, start=1)
    ]


def test_progress_names_what_is_done_not_how(plan: ImagePlan, cache: Path, progress: Any) -> None:
    log = hear(plan, steps(plan), progress)

    assert progress.begun == [
        f"base {plan.base.image}",
        "what to install",
        "Python packages",
        "model digits-clf",
        "code",
        "settings",
    ]
    assert progress.ended == progress.begun
    assert log.count("Step ") == len(list(instructions_of(plan)))


def test_nothing_is_kept_of_a_build_that_went_well(
    plan: ImagePlan, cache: Path, progress: Any
) -> None:
    hear(plan, steps(plan), progress)

    assert list((cache / "logs").iterdir()) == []


def failing(plan: ImagePlan, *said: str) -> list[dict[str, Any]]:
    made = [one.keyword for one in instructions_of(plan)]
    return [
        *steps(plan)[: made.index("RUN") + 1],
        *({"stream": f"{line}\n"} for line in said),
        {"error": "The command '/bin/sh -c ...' returned a non-zero code: 1"},
    ]


def test_a_failed_step_shows_its_last_words_in_four_lines(
    plan: ImagePlan, cache: Path, progress: Any
) -> None:
    events = failing(
        plan,
        "Collecting x",
        "ERROR: Could not find a version that satisfies the requirement x==1",
        "\x1b[31mERROR: No matching distribution found for x==1\x1b[0m",
    )

    with pytest.raises(EngineError) as caught:
        hear(plan, events, progress)

    error = caught.value
    assert isinstance(error, ImageBuildError)
    assert error.message.splitlines() == [
        "the image could not be built, at 'Python packages':",
        "  ERROR: Could not find a version that satisfies the requirement x==1",
        "  ERROR: No matching distribution found for x==1",
    ]
    assert error.hint == f"all that the builder said is in '{error.log}'"
    assert "Collecting x" in error.log.read_text()
    assert error.log_lines[0] == "Collecting x"
    assert stat.S_IMODE(error.log.stat().st_mode) == 0o600
    assert stat.S_IMODE(error.log.parent.stat().st_mode) == 0o700
    assert progress.ended == progress.begun


def test_an_error_is_found_behind_a_bar_that_came_at_the_same_moment(
    plan: ImagePlan, cache: Path, progress: Any
) -> None:
    bar = "     ━━━━━━━━ 134.5/134.5 kB 108.1 MB/s eta 0:00:00"
    said = [f"{bar} ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "  Expected a", "  Got b"]

    with pytest.raises(EngineError) as caught:
        hear(plan, failing(plan, *said), progress)

    assert caught.value.message.splitlines()[1:] == [
        "  ERROR: THESE PACKAGES DO NOT MATCH THE HASHES"
    ]


def test_a_failure_without_words_shows_what_the_engine_says(
    plan: ImagePlan, cache: Path, progress: Any
) -> None:
    with pytest.raises(EngineError, match="returned a non-zero code: 1"):
        hear(plan, failing(plan), progress)


def test_a_base_without_the_python_of_the_lock_is_named(
    plan: ImagePlan, cache: Path, progress: Any
) -> None:
    events = failing(plan, "/bin/sh: 1: python3.11: not found")

    with pytest.raises(EngineError, match=r"does not fit: it has no 'python3\.11'") as caught:
        hear(plan, events, progress)

    assert "name a base with python3.11" in (caught.value.hint or "")


def test_a_secret_is_in_no_log_and_no_message(plan: ImagePlan, cache: Path, progress: Any) -> None:
    said = [
        Said("#7 0.1 asks https://u:hunter2@x", words="ERROR: asks https://u:hunter2@x"),
        Said("hunter2", error="hunter2"),
    ]

    with pytest.raises(ImageBuildError) as caught, log_file(plan) as (log, path):
        follow(plan, said, log, path, progress, hide=lambda text: text.replace("hunter2", "****"))

    error = caught.value
    assert "https://u:****@x" in error.message
    assert "hunter2" not in f"{error.message}{error.hint}{error.log_lines}{error.log.read_text()}"


def test_an_interrupted_build_leaves_no_log(plan: ImagePlan, cache: Path) -> None:
    with pytest.raises(KeyboardInterrupt), log_file(plan):
        raise KeyboardInterrupt

    assert list((cache / "logs").iterdir()) == []


def test_only_the_newest_logs_are_kept(plan: ImagePlan, cache: Path) -> None:
    for number in range(25):
        with pytest.raises(EngineError), log_file(plan) as (_, path):
            raise EngineError("failed")
        os.utime(path, (number, number))

    kept = sorted(one.stat().st_mtime for one in (cache / "logs").iterdir())
    assert len(kept) == 20
    assert kept[-1] == 24


def test_a_platform_that_the_engine_cannot_run_is_said(
    plan: ImagePlan, cache: Path, progress: Any
) -> None:
    said = [Said(words="exec /bin/sh: exec format error"), Said(error="it ended with status 1")]

    with pytest.raises(EngineError) as caught, log_file(plan) as (log, path):
        follow(plan, said, log, path, progress)

    assert "--engine none" in (caught.value.hint or "")
