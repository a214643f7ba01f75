"""What went wrong in a runner, as plain facts, and as an error again on the other side.

    exception ──facts_of──► mapping of texts ──socket──► error_from ──► InputError, BadOutput, …

No exception object crosses.  A declared input error keeps its issues; of anything else its type,
its message and where it came from are kept, as text for the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelpack.errors import InputError, Issue
from modelpack.server.observe.logs import trace_of
from modelpack.server.problems import BadOutput, RefusedRequest, ServiceFailed, problem_from
from modelpack.server.runners.process.frames import FrameError

_MAX_ISSUES = 20
_MAX_TEXT = 2048


def facts_of(error: BaseException, *, is_decoding: bool = False) -> dict[str, Any]:
    """Return what is told of an error; ``is_decoding``: it came before the service was called."""
    facts: dict[str, Any] = {"kind": "failed"}
    if isinstance(error, InputError):
        issues = [
            [_text(i.pointer), _text(i.expected), _text(i.got), i.is_refused]
            for i in error.issues[:_MAX_ISSUES]
        ]
        kind = "misfit" if is_decoding else "refused"
        return {"kind": kind, "message": _text(error.message), "issues": issues}
    if isinstance(error, BadOutput):
        return {"kind": "output", "message": _text(str(error))}
    facts["message"] = _text(f"{type(error).__name__}: {_said(error)}")
    facts["trace"] = [_text(line) for line in trace_of(error)]
    return facts


def error_from(facts: Any) -> Exception:
    """Return the error that the facts are of; raises FrameError when they are none."""
    if not isinstance(facts, Mapping) or not isinstance(message := facts.get("message"), str):
        raise FrameError("no facts of a failure")
    match facts.get("kind"):
        case "refused":
            return InputError(message, issues=_issues(facts))
        case "misfit":
            return RefusedRequest(problem_from(InputError(message, issues=_issues(facts))))
        case "output":
            return BadOutput(message)
        case "failed" if isinstance(trace := facts.get("trace"), list):
            return ServiceFailed(message, [str(line) for line in trace])
        case _:
            raise FrameError("no facts of a failure")


def _issues(facts: Mapping[str, Any]) -> list[Issue]:
    issues = facts.get("issues")
    try:
        return [Issue(str(p), str(e), str(g), is_refused=bool(r)) for p, e, g, r in issues]  # type: ignore[union-attr]
    except (TypeError, ValueError) as cause:
        raise FrameError("no issues of an input") from cause


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # the service's own class may fail at it
        return "(no message)"


def _text(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 3] + "..."
