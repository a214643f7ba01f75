"""What an apply has begun and what it has done, on disk before and after every step.

    step("create/service", do) ──► line "begun" ──► do() ──► line "done", result
                                        └── killed here, or there: the next apply reads it

    deployments/NAME.journal     one line of JSON each, 0600, on disk before the step goes on

A journal is there only while an apply is under way, or after one that was killed.  What is true
is what the engine says: every step is safe to repeat, and a journal never lets one be left out
that is not marked ``once``.  It is for what no engine can tell: that an apply was cut short, what
it may have made without a trace, and which token a call was made with.

Results are written down, so a secret is never one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelpack import paths
from modelpack.deploy.plan import Plan
from modelpack.deploy.records import write_private
from modelpack.manifest import canonical_json
from modelpack.tag import check_name

Result = Mapping[str, Any] | None
"""What a step has found out: plain JSON values, never a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """An apply that was cut short."""

    target: str
    revision: str
    bundle: str
    plan: str
    """Digest of the plan that was applied."""
    began: str
    """When, UTC, RFC 3339."""
    attempt: str
    begun: tuple[str, ...]
    """Keys of the steps that it came to, in their order."""
    done: Mapping[str, Result]
    """What those steps have said that are done; of the others no more is known."""
    left: tuple[str, ...] = ()
    """Steps of applies of other revisions before it, which were cut short too."""

    @property
    def last(self) -> str | None:
        """Key of the step it came to; None: not even to the first."""
        return self.begun[-1] if self.begun else None


Confirm = Callable[[str], bool]
"""Asks for consent to what no plan could know; gets a question, and gives whether it was granted."""


def never(question: str) -> bool:  # noqa: ARG001
    """Grant nothing beyond the plan."""
    return False


@dataclass(slots=True)
class Journal:
    """The steps of one apply.  Without a file nothing is written: for a first try of a target."""

    attempt: str = field(default_factory=lambda: secrets.token_hex(16))
    """Differs from apply to apply, and stays when one is taken up again."""

    file: Path | None = None

    former: Interrupted | None = None
    """The apply before this one, when it was cut short."""

    is_resumed: bool = False
    """True when ``former`` was of the same revision at the same target."""

    begun: list[str] = field(default_factory=list)
    """Keys of the steps so far."""

    confirm: Confirm = never
    """Asked by a target that learns in the middle of an apply what no plan could know, such as what
    a cloud says that a change set replaces.  Without consent it raises ConflictError."""

    def step(self, key: str, do: Callable[[], Result], *, once: bool = False) -> Result:
        """Do one step and return what it says; raises what ``do`` raises.

        ``do`` must be safe to repeat.  With ``once``, one that an interrupted apply of the same
        revision has done already is not done again: only for what cannot be undone by others, such
        as the upload of something that is named by its digest.
        """
        if once and self.is_resumed and self.former is not None and key in self.former.done:
            return self.former.done[key]
        self.begun.append(key)
        self._write({"step": key, "is": "begun"})
        result = do()
        self._write({"step": key, "is": "done", "result": result})
        return result

    def token(self, key: str) -> str:
        """Return 32 hex digits for the call of a step, the same when the apply is taken up again.

        For clouds that make something once for each token, however often they are asked.
        """
        return hashlib.sha256(f"{self.attempt}/{key}".encode()).hexdigest()[:32]

    def recall(self, key: str) -> Result:
        """Return what a step of an interrupted apply of this revision has said; None: nothing."""
        if not self.is_resumed or self.former is None:
            return None
        return self.former.done.get(key)

    @property
    def leftovers(self) -> tuple[str, ...]:
        """Keys of the steps that applies before had begun and not ended, of whichever revision."""
        if self.former is None:
            return ()
        return tuple(dict.fromkeys((*self.former.left, *self.former.begun)))

    def close(self) -> None:
        """The apply has come to an end, good or bad, and nothing is left open."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)

    def _write(self, line: Mapping[str, Any]) -> None:
        if self.file is None:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self.file, flags), "ab") as stream:
            stream.write(canonical_json(dict(line)) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())


OpenJournal = Callable[[Plan], Journal]
"""Begins the journal of an apply; ``open_journal``, but for tests."""


def open_journal(plan: Plan, kind: Callable[..., Journal] = Journal) -> Journal:
    """Begin the journal of an apply, or take up that of one which was cut short.

    Whoever calls holds the lock of the deployment.  ``kind`` is there for tests.
    """
    spec = plan.spec
    former = interrupted(spec.name)
    is_resumed = former is not None and (former.target, former.revision) == (
        plan.target,
        spec.revision,
    )
    journal = kind(file=_file(spec.name), former=former, is_resumed=is_resumed)
    if is_resumed and former is not None:
        journal.attempt = former.attempt
    head = {
        "target": plan.target,
        "revision": spec.revision,
        "bundle": spec.bundle,
        "plan": plan.digest,
        "began": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "attempt": journal.attempt,
    }
    lines: list[dict[str, Any]] = [head]
    if former is not None:
        # What was begun and done stays known, should this one be killed too.
        lines += [{"step": key, "is": "left"} for key in former.left]
        word = "begun" if is_resumed else "left"
        lines += [{"step": key, "is": word} for key in former.begun]
    if former is not None and is_resumed:
        for key, result in former.done.items():
            lines.append({"step": key, "is": "done", "result": result})
    write_private(_file(spec.name), b"".join(canonical_json(line) + b"\n" for line in lines))
    return journal


def interrupted(name: str) -> Interrupted | None:
    """Return the apply of a deployment that was cut short; raises TagError.

    None while none is open; one that is under way right now looks the same.
    """
    try:
        lines = _file(name).read_bytes().split(b"\n")
        head = json.loads(lines[0])
        begun: dict[str, None] = {}
        left: dict[str, None] = {}
        done: dict[str, Result] = {}
        for line in lines[1:]:
            if not line:
                continue
            try:
                said = json.loads(line)
                key = str(said["step"])
                if said["is"] == "done":
                    done[key] = said["result"]
                elif said["is"] == "left":
                    left[key] = None
                else:
                    begun.pop(key, None)  # the last one stands last
                    begun[key] = None
                    done.pop(key, None)
            except (ValueError, KeyError, TypeError):
                break  # it was killed while it wrote this line: what follows is nothing
        facts = {key: str(head[key]) for key in _HEAD}
        return Interrupted(begun=tuple(begun), done=done, left=tuple(left), **facts)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def forget(name: str) -> None:
    """Drop the journal of a deployment that is gone."""
    _file(name).unlink(missing_ok=True)


_HEAD = ("target", "revision", "bundle", "plan", "began", "attempt")


def _file(name: str) -> Path:
    return paths.deployments_dir() / f"{check_name(name)}.journal"
