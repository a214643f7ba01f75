"""Turns what a builder says into steps with durations, and into an error of a few lines.

    lines or events ──(a reader for each builder)──► Said ──follow──┬─► progress: one step a note
                                                                    ├─► the log file
                                                                    └─► ImageBuildError, its tail

A builder numbers the instructions of a stage; which ones it counts differs.  ``titles`` gives the note
of each, so that people read "Python packages" where the builder says ``[4/9] RUN python3.11 …``.
"""

from __future__ import annotations

import os
import re
import secrets
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from modelpack import paths
from modelpack.errors import EngineError
from modelpack.image.engines.orders import ImageBuildError
from modelpack.image.instructions import Instruction
from modelpack.image.plan import ImagePlan
from modelpack.progress import Progress

TAIL_LINES = 20
_KEPT_LOGS = 20


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that a builder said."""

    line: str = ""
    """As the log keeps it."""
    title: str | None = None
    """What it begins to do now, for people; empty: nothing that has a name."""
    words: str = ""
    """What a program that it runs wrote."""
    error: str | None = None
    """Why the build ended."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The instructions from one ``FROM`` to the next."""

    name: str
    """The name that it has, else ``stage-N``; empty when it is the only one."""
    titles: tuple[str, ...]
    """What its counted instructions do, in order."""


def stages(
    instructions: Iterable[Instruction], counted: Collection[str] | None = None
) -> list[Stage]:
    """Return the stages with what their instructions do.

    ``counted`` are the keywords that the builder numbers (default: all).  An instruction without a
    note belongs to the one before it.
    """
    found: list[tuple[str, list[str]]] = []
    note = ""
    for one in instructions:
        note = one.note or note
        if one.keyword == "FROM":
            words = one.parts[0]
            found.append((words[2] if len(words) > 2 else f"stage-{len(found)}", []))
        if counted is None or one.keyword in counted:
            found[-1][1].append(note)
    if len(found) == 1:
        return [Stage("", tuple(found[0][1]))]
    return [Stage(name, tuple(titles)) for name, titles in found]


def follow(
    plan: ImagePlan,
    said: Iterable[Said],
    log: TextIO,
    path: Path,
    progress: Progress,
    *,
    hide: Callable[[str], str] = str,
) -> None:
    """Read what the builder says until it ends; raises EngineError when a step fails.

    ``hide`` takes secrets out of every line before it is kept or shown.
    """
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    title = ""
    seen: set[str] = set()
    asked: re.Match[str] | None = None
    with ExitStack() as running:
        for one in said:
            if one.line:
                log.write(f"{hide(one.line)}\n")
            # Stages may be built side by side: what was shown as begun is not begun again.
            if one.title is not None and one.title != title and one.title not in seen:
                running.close()
                title = one.title
                seen.add(title)
                if title:
                    running.enter_context(progress.step(title))
            if shown := one_line(hide(one.words)):
                tail.append(shown)
                asked = _LOGIN.search(shown) or asked
            if one.error is not None:
                log.flush()
                index = (asked[1] or asked[2]) if asked else None
                raise _failure(plan, title, hide(one.error), path, tuple(tail), index=index)


def wrong_python(plan: ImagePlan, what: str) -> EngineError:
    """Return the error for a base that has not the Python of the lock."""
    return EngineError(
        f"the base '{plan.base.image}' does not fit: {what}, and the bundle is locked for "
        f"Python {plan.python}",
        hint=f"name a base with python{plan.python}, or build the bundle for the base's Python",
    )


def _failure(
    plan: ImagePlan, title: str, error: str, log: Path, tail: Sequence[str], *, index: str | None
) -> EngineError:
    """Return the error for a step that failed; ``index`` is one that wanted a login."""
    if any(re.search(rf"python{re.escape(plan.python)}: (command )?not found", x) for x in tail):
        return wrong_python(plan, f"it has no 'python{plan.python}'")
    telling = [found[0] for x in tail if (found := _TELLING.search(x))] or list(tail)
    shown = telling[-2:] or [one_line(error)]
    hint = f"all that the builder said is in '{log}'"
    if index is not None and any(_NOT_HAD.search(x) for x in tail):
        shown = [f"the index {index} wants another login than it was given"]
        hint = f"give it with --secret id=netrc,src=FILE or id=pip.conf,src=FILE; {hint}"
    elif any("exec format error" in x.lower() for x in (*tail, error)):
        hint = f"this engine runs no programs of that platform: --engine none needs none; {hint}"
    return ImageBuildError(
        f"the image could not be built, at '{title or 'start'}':\n  " + "\n  ".join(shown),
        hint=hint,
        log=log,
        log_lines=tail,
    )


# A builder joins what two streams of a program wrote at once: an error may stand behind a bar.
_TELLING = re.compile(r"^(?:ERROR|E|fatal|error)\b.*|\bERROR: .*")
_NOT_HAD = re.compile(r"No matching distribution|EOFError")
# What pip says: it asks, and nobody answers; or it was given a login that is wrong.
_LOGIN = re.compile(r"User for ([\w.:-]+): |401 Error, Credentials not correct for (\S+)")


@contextmanager
def log_file(plan: ImagePlan) -> Iterator[tuple[TextIO, Path]]:
    """Give a file for the builder's words; it stays when the block fails.

    Who interrupts a build knows why, so nothing of it is kept.  The oldest logs make room.
    """
    folder = paths.cache_dir() / "logs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    tag = plan.entry.tag
    path = folder / f"image-{tag.name}-{tag.version}-{secrets.token_hex(4)}.log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as log:
            yield log, path
    except Exception:
        _keep_newest(folder)
        raise
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)


def _keep_newest(folder: Path) -> None:
    dated = []
    for path in folder.glob("image-*.log"):
        try:
            dated.append((path.stat().st_mtime_ns, path))
        except FileNotFoundError:  # another build's, which went well
            continue
    for _, path in sorted(dated)[:-_KEPT_LOGS]:
        path.unlink(missing_ok=True)


def one_line(text: str) -> str:
    """Return a text as one line for people: no colours, no control characters, 300 at most."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", " ".join(text.split()))
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 300 else text[:297] + "..."
