"""``modelpack sign``: keys are made with care, passwords come from three places."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from modelpack.store import Entry, Store
from modelpack.trust import new_key
from modelpack.trust.envelope import BUNDLE_TYPE

Cli = Callable[..., Any]


def test_key_is_made_and_signs(inside: Cli, bundle: Entry, tmp_path: Path) -> None:
    made = inside("sign", "--new-key", "a.pem", "--no-password")
    assert made.out == "a.pub\n"
    assert "keep it to yourself" in made.err
    done = inside("sign", "hello", "--key", "a.pem", "--save", "hello.sig")
    (referrer,) = Store().referrers(bundle, BUNDLE_TYPE)
    assert done.out == f"{referrer.digest}\n"
    assert "signed 'hello:1' with key " in done.err
    assert (tmp_path / "hello.sig").read_bytes() == Store().read_referrer(referrer)


def test_facts_for_programs(inside: Cli, bundle: Entry) -> None:
    made = json.loads(inside("sign", "--new-key", "a.pem", "--no-password", "-o", "json").out)
    assert (made["private"], made["public"], len(made["key_id"])) == ("a.pem", "a.pub", 64)
    signed = json.loads(inside("sign", "hello", "--key", "a.pem", "-o", "json").out)
    assert (signed["tag"], signed["subject"]) == ("hello:1", bundle.digest)


def test_password_comes_from_a_file_or_a_variable(
    inside: Cli, bundle: Entry, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("secret\n")
    inside("sign", "--new-key", "a.pem", "--password-file", "password")
    assert "ENCRYPTED" in (tmp_path / "a.pem").read_text()
    given = {"MODELPACK_KEY_PASSWORD": "secret"}
    first = inside("sign", "hello", "--key", "a.pem", "--password-file", "password")
    assert first.status == 0
    assert inside("sign", "hello", "--key", "a.pem", env=given).out == first.out

    inside("sign", "hello", "--key", "a.pem").failed_well(2, "usage")
    wrong = {"MODELPACK_KEY_PASSWORD": "guess"}
    inside("sign", "hello", "--key", "a.pem", env=wrong).failed_well(2, "usage")
    assert "guess" not in inside("sign", "hello", "--key", "a.pem", env=wrong).err


def test_new_key_without_a_terminal_needs_a_word_about_its_password(
    inside: Cli, tmp_path: Path
) -> None:
    done = inside("sign", "--new-key", "a.pem")
    done.failed_well(2, "usage")
    assert "--no-password" in done.err
    assert list(tmp_path.glob("a.*")) == []


def test_password_is_asked_for_on_a_terminal_and_not_shown(
    cli: Cli, bundle: Entry, tmp_path: Path
) -> None:
    status, shown = typed(["sign", "--new-key", "a.pem"], ["secret", "secret"], tmp_path)
    assert (status, "secret" in shown) == (0, False), shown
    assert "ENCRYPTED" in (tmp_path / "a.pem").read_text()
    status, shown = typed(["sign", "hello", "--key", "a.pem"], ["secret"], tmp_path)
    assert (status, "secret" in shown) == (0, False), shown
    assert len(Store().referrers(bundle, BUNDLE_TYPE)) == 1
    status, shown = typed(["sign", "--new-key", "b.pem"], ["one", "two"], tmp_path)
    assert (status, "the two passwords differ" in shown) == (2, True)
    assert not (tmp_path / "b.pem").exists()


def test_key_that_others_may_read_is_warned_of(inside: Cli, bundle: Entry, tmp_path: Path) -> None:
    new_key(tmp_path / "a.pem", None)
    (tmp_path / "a.pem").chmod(0o644)
    assert "others can read the key" in inside("sign", "hello", "--key", "a.pem").err


WRONG = (
    (),
    ("hello",),
    ("hello", "--key", "a.pem", "--attach", "b.sig"),
    ("hello", "--new-key", "c.pem"),
    ("--key", "a.pem"),
    ("hello", "--key", "a.pem", "--expires", "soon"),
    ("hello", "--key", "a.pem", "--expires", "2001-01-01"),
    ("hello", "--attach", "a.pem", "--expires", "2101-01-01"),
    ("hello", "--attach", "a.pem"),
    ("hello", "--key", "a.pub"),
)


def test_words_that_do_not_fit_are_refused(inside: Cli, bundle: Entry, tmp_path: Path) -> None:
    new_key(tmp_path / "a.pem", None)
    for words in WRONG:
        inside("sign", *words).failed_well(2, "usage")
    assert Store().referrers(bundle, BUNDLE_TYPE) == []


def test_what_is_not_there_is_said(inside: Cli, bundle: Entry) -> None:
    inside("sign", "hello", "--key", "a.pem").failed_well(3, "not-found")
    inside("sign", "--new-key", "a.pem", "--no-password")
    inside("sign", "other", "--key", "a.pem").failed_well(3, "bundle-not-found")
    inside("sign", "models/other", "--key", "a.pem").failed_well(3, "model-not-found")
    inside("sign", "--new-key", "a.pem", "--no-password").failed_well(5, "conflict")


def typed(words: Sequence[str], lines: Sequence[str], cwd: Path) -> tuple[int, str]:
    """Run a command on a terminal and type a line for each ``:`` that it ends on."""
    program = Path(sys.executable).with_name("modelpack")
    terminal, inner = pty.openpty()
    process = subprocess.Popen(
        [program, *words], cwd=cwd, stdin=inner, stdout=inner, stderr=inner, start_new_session=True
    )
    os.close(inner)
    shown, left, answered = b"", list(lines), 0
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.1)
        try:
            shown += os.read(terminal, 4096) if ready else b""
        except OSError:
            break  # the other end is closed
        if left and shown[answered:].rstrip().endswith((b"key:", b"again:")):
            answered = len(shown)
            os.write(terminal, f"{left.pop(0)}\n".encode())
        if process.poll() is not None and not ready:
            break
    os.close(terminal)
    return process.wait(30), shown.decode(errors="replace")
