"""Puts the same questions to two servers and says how far their answers are apart.

    samples.jsonl ──► Sample … ──POST each──► Answer … ┐
                                  the other server ────┴─ compare_answers ──► Behaviour

A line of the file is a body, where the bundle has one api, or ``{"api": NAME, "body": BODY}``.  Numbers
may differ by ``atol + rtol * the greater of the two``; all else must be equal.  Nothing is served here.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelpack.errors import BuildError, NotFoundError, UsageError

RTOL, ATOL = 1e-5, 1e-8
"""What float32 arithmetic in another order comes to."""
_ANSWER_WITHIN_S = 120.0
_MOST_CHANGES = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """One question."""

    line: int
    """Of the file, from 1."""
    route: str
    body: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class AnswerChange:
    """A sample that two bundles answer differently."""

    line: int
    route: str
    what: str


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How two bundles answered the same samples; true when a difference counts."""

    samples: int
    same: int
    """Equal to the last digit."""
    close: int
    """Apart by no more than the tolerance."""
    changes: tuple[AnswerChange, ...] = ()
    """The others, twenty at most."""
    largest: float | None = None
    """Largest difference of two numbers, also one within the tolerance; None: there was none."""
    largest_at: str = ""
    """Line and place of it."""
    tolerance: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.same + self.close < self.samples

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        different = self.samples - self.same - self.close
        return {**asdict(self), "tolerance": dict(self.tolerance), "different": different}


def read_samples(file: Path, apis: Sequence[Mapping[str, Any]]) -> list[Sample]:
    """Read the questions for a bundle with these apis.

    Raises NotFoundError, and UsageError for a line that is no sample.
    """
    try:
        lines = file.read_text("utf-8").splitlines()
    except FileNotFoundError as cause:
        raise NotFoundError(f"no file '{file}'", hint="give a file with a body a line") from cause
    except (OSError, UnicodeDecodeError) as cause:
        raise UsageError(f"cannot read '{file}': {cause}") from cause
    samples = [
        _sample(file, number, line, apis) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not samples:
        raise UsageError(f"'{file}' has no samples", hint="write a JSON body on each line")
    return samples


def _sample(file: Path, number: int, line: str, apis: Sequence[Mapping[str, Any]]) -> Sample:
    place = f"{file.name}:{number}"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as cause:
        raise UsageError(f"{place}: not JSON", hint="write a JSON body on each line") from cause
    if isinstance(value, dict) and set(value) == {"api", "body"}:
        named = [api for api in apis if value["api"] in (api["name"], api["route"])]
        if not named:
            known = ", ".join(f"'{api['name']}'" for api in apis)
            raise UsageError(f"{place}: no api '{value['api']}'", hint=f"there are {known}")
        return Sample(number, str(named[0]["route"]), value["body"])
    if len(apis) != 1:
        raise UsageError(
            f"{place}: which of the {len(apis)} apis is meant is not said",
            hint='write {"api": NAME, "body": BODY}',
        )
    return Sample(number, str(apis[0]["route"]), value)


def ask(url: str, samples: Sequence[Sample]) -> list[Answer]:
    """Send every sample to a server on this machine, one after another.

    Raises BuildError when it gives no answer.
    """
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_ANSWER_WITHIN_S)
    try:
        return [_ask(connection, sample) for sample in samples]
    finally:
        connection.close()


def _ask(connection: http.client.HTTPConnection, sample: Sample) -> Answer:
    headers = {"Content-Type": "application/json"}
    try:
        connection.request("POST", sample.route, json.dumps(sample.body), headers)
        answer = connection.getresponse()
        kind = answer.headers.get_content_type()
        return Answer(answer.status, kind, answer.read())
    except (OSError, http.client.HTTPException) as cause:
        raise BuildError(
            f"line {sample.line} got no answer: {type(cause).__name__}",
            hint="serve the bundle and send it there to see why",
        ) from cause


def compare_answers(
    samples: Sequence[Sample],
    a: Sequence[Answer],
    b: Sequence[Answer],
    *,
    rtol: float = RTOL,
    atol: float = ATOL,
) -> Behaviour:
    """Compare the answers of two bundles to the same samples.

    rtol, atol  how far two numbers may be apart, relative to the greater and absolute
    """
    same = close = 0
    changes = []
    largest: float | None = None
    at = ""
    for sample, old, new in zip(samples, a, b, strict=True):
        comparison = _Comparison(rtol, atol)
        comparison.compare(old, new)
        if comparison.largest is not None and (largest is None or comparison.largest > largest):
            largest, at = comparison.largest, f"line {sample.line} {comparison.largest_at}".strip()
        if comparison.found:
            changes.append(AnswerChange(sample.line, sample.route, comparison.found))
        elif comparison.largest is None:
            same += 1
        else:
            close += 1
    return Behaviour(
        samples=len(samples),
        same=same,
        close=close,
        changes=tuple(changes[:_MOST_CHANGES]),
        largest=largest,
        largest_at=at,
        tolerance={"rtol": rtol, "atol": atol},
    )


class _Comparison:
    """Two answers side by side; remembers the first difference that counts, and the largest."""

    def __init__(self, rtol: float, atol: float) -> None:
        self._rtol, self._atol = rtol, atol
        self.found = ""
        self.largest: float | None = None
        self.largest_at = ""

    def compare(self, old: Answer, new: Answer) -> None:
        if old.status != new.status:
            self._note("", f"status {old.status} → {new.status}{_code(new)}")
        elif old.status >= 400:
            # What else an error says is of this one request, such as its id.
            if _code(old) != _code(new):
                self._note("", f"error{_code(old)} →{_code(new)}")
        elif old.media_type != new.media_type:
            self._note("", f"{old.media_type} → {new.media_type}")
        elif old.body == new.body:
            return
        elif old.media_type == "application/json":
            self._values(json.loads(old.body), json.loads(new.body), "")
        else:
            self._note("", f"other bytes of {old.media_type}")

    def _values(self, old: Any, new: Any, at: str) -> None:
        if _is_number(old) and _is_number(new):
            self._numbers(old, new, at)
        elif isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
            for key in old:
                self._values(old[key], new[key], f"{at}/{key}")
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            for number, (one, other) in enumerate(zip(old, new, strict=True)):
                self._values(one, other, f"{at}/{number}")
        elif type(old) is not type(new) or old != new:
            self._note(at, f"{_brief(old)} → {_brief(new)}")

    def _numbers(self, old: float, new: float, at: str) -> None:
        apart = abs(old - new)
        if apart == 0:
            return
        if self.largest is None or apart > self.largest:
            self.largest, self.largest_at = float(apart), at or "/"
        if apart > self._atol + self._rtol * max(abs(old), abs(new)):
            self._note(at, f"{_brief(old)} → {_brief(new)}")

    def _note(self, at: str, what: str) -> None:
        if not self.found:
            self.found = f"{at}: {what}" if at else what


def behaviour_lines(found: Behaviour) -> Iterator[str]:
    """Give what was found as lines for people."""
    different = found.samples - found.same - found.close
    yield (
        f"{found.samples} samples: {found.same} the same, {found.close} within tolerance, "
        f"{different} different"
    )
    if found.largest is not None:
        yield f"largest difference {found.largest:.6g}, {found.largest_at}"
    yield from (f"line {one.line} {one.route}: {one.what}" for one in found.changes)
    if different > len(found.changes):
        yield f"and {different - len(found.changes)} more"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _code(answer: Answer) -> str:
    try:
        return f" '{json.loads(answer.body)['code']}'"
    except (ValueError, KeyError, TypeError):
        return ""


def _brief(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
