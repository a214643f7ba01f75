from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from modelpack.archive.environment import ensure_environment
from modelpack.archive.lock import Inputs, ensure_lock, target_platform
from modelpack.archive.runtime_wheel import wheel_bytes
from modelpack.errors import BuildError, ToolMissingError
from modelpack.manifest import RUNTIME_REQUIREMENTS

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def lock(index: Any, tmp_path: Path) -> str:
    inputs = Inputs(tuple(sorted([*RUNTIME_REQUIREMENTS, "tiny"])), PYTHON, target_platform())
    return ensure_lock(inputs, tmp_path / "requirements.lock")[0]


def ask(program: Path, code: str) -> Any:
    done = subprocess.run(
        [program, "-I", "-c", f"import json, sys\n{textwrap.dedent(code)}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_it_holds_the_lock_and_the_runtime_and_nothing_else(lock: str) -> None:
    program = ensure_environment(lock, PYTHON)
    names = ask(
        program,
        """
        from importlib.metadata import distributions
        print(json.dumps(sorted(d.name for d in distributions())))
        """,
    )
    assert {"modelpack-runtime", "tiny", "tiny-helper", "numpy"} <= set(names)
    assert not {"pip", "modelpack-cli", "typer", "pydantic", "docker"} & set(names)
    place = ask(program, "import modelpack.tag\nprint(json.dumps(modelpack.tag.__file__))")
    assert place.startswith(str(program.parent.parent))


def test_a_second_time_needs_nothing(
    lock: str, index: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = ensure_environment(lock, PYTHON)
    shutil.rmtree(index.folder)
    monkeypatch.setattr("modelpack.archive.environment.run_uv", lambda *_, **__: pytest.fail("ran"))
    assert ensure_environment(lock, PYTHON) == program


def test_other_locks_have_other_environments(lock: str, index: Any, tmp_path: Path) -> None:
    inputs = Inputs(("tiny==1.0",), PYTHON, target_platform())
    other, _ = ensure_lock(inputs, tmp_path / "other.lock")
    assert ensure_environment(lock, PYTHON) != ensure_environment(other, PYTHON)


def test_one_that_was_left_half_is_made_again(lock: str) -> None:
    program = ensure_environment(lock, PYTHON)
    folder = program.parent.parent
    (folder / ".modelpack-complete").unlink()
    shutil.rmtree(folder / "lib")
    again = ensure_environment(lock, PYTHON)
    assert again == program
    assert ask(again, "import tiny\nprint(json.dumps(tiny.VERSION))") == "1.1"


def test_one_whose_interpreter_is_gone_is_made_again(lock: str) -> None:
    program = ensure_environment(lock, PYTHON)
    program.unlink()
    program.symlink_to("/nowhere/python")
    assert ask(ensure_environment(lock, PYTHON), "print(json.dumps(1))") == 1


def test_several_at_once_make_it_once(lock: str, tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(lock)
    # One wheel for all, so that somebody who edits the checkout meanwhile changes nothing here.
    (tmp_path / "runtime").write_bytes(wheel_bytes())
    code = f"""
        from pathlib import Path
        from modelpack.archive import environment
        from modelpack.archive.environment import ensure_environment
        lock = Path({str(tmp_path / "lock")!r}).read_text()
        wheel = Path({str(tmp_path / "runtime")!r}).read_bytes()
        environment.wheel_bytes = lambda: wheel
        class Loud:
            def note(self, text): ...
            def step(self, text):
                print("made", flush=True)
                from contextlib import nullcontext
                return nullcontext()
        print(ensure_environment(lock, {PYTHON!r}, Loud()))
    """
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    lines = [line for w in workers for line in w.communicate(timeout=120)[0].splitlines()]
    assert [worker.returncode for worker in workers] == [0] * 4
    assert lines.count("made") == 1
    assert len(set(lines) - {"made"}) == 1


def test_bytes_that_the_lock_does_not_name_are_refused(lock: str, index: Any) -> None:
    """A package of the same version with other content is not installed."""
    index.add("tiny-helper", "2.5", requires=("tiny",))
    shutil.rmtree(os.environ["UV_CACHE_DIR"])  # where the right bytes are, from locking
    with pytest.raises(BuildError) as caught:
        ensure_environment(lock, PYTHON)
    assert "hash" in caught.value.message.lower()
    assert "\n" not in caught.value.message


def test_without_the_packages_nothing_is_left_that_looks_ready(lock: str, index: Any) -> None:
    wheel = index.folder / "tiny_helper-2.5-py3-none-any.whl"
    data = wheel.read_bytes()
    wheel.unlink()
    shutil.rmtree(os.environ["UV_CACHE_DIR"])
    with pytest.raises(BuildError, match="cannot install the locked dependencies"):
        ensure_environment(lock, PYTHON)
    wheel.write_bytes(data)
    assert ask(ensure_environment(lock, PYTHON), "print(json.dumps(1))") == 1


def test_a_python_that_is_not_there_is_said(lock: str) -> None:
    with pytest.raises(ToolMissingError, match=r"no Python 3\.99") as caught:
        ensure_environment(lock, "3.99")
    assert caught.value.exit_code == 6


def test_a_lock_without_hashes_is_never_installed(index: Any) -> None:
    with pytest.raises(BuildError, match="no pinned and hashed package"):
        ensure_environment("tiny==1.0\n", PYTHON)


@pytest.mark.network
def test_the_real_runtime_fits_together_and_starts_without_the_toolchain(tmp_path: Path) -> None:
    import uv

    inputs = Inputs(tuple(sorted(RUNTIME_REQUIREMENTS)), PYTHON, target_platform())
    lock, _ = ensure_lock(inputs, tmp_path / "requirements.lock")
    program = ensure_environment(lock, PYTHON)
    subprocess.run([uv.find_uv_bin(), "pip", "check", f"--python={program}"], check=True)
    ask(program, "import modelpack.server, modelpack.frameworks.bundled\nprint(1)")
