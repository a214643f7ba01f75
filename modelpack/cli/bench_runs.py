"""What ``modelpack bench`` does once its words are understood: run, print, save, judge.

    servers, Load, Flags ──one_run | in_turns | suites──► results ──► stdout, --save
                                                             └─goals, --fail-if-worse──► status

Results alone go to standard output; what happens meanwhile goes to standard error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelpack.bench.goals import Goals, misses
from modelpack.bench.inputs import Input
from modelpack.bench.load import Load, parse_seconds
from modelpack.bench.opening import Opened, opened
from modelpack.bench.presets import PRESETS, Bench, run_suite, seconds_of, suites_of
from modelpack.bench.report import COMPARE_HEAD, difference_rows, facts_of, live_text
from modelpack.bench.result import FORM, Result, load_results, save_results
from modelpack.bench.session import Progress, measure
from modelpack.bench.turns import measure_in_turns
from modelpack.cli import console
from modelpack.cli.live import LiveLine
from modelpack.errors import GoalMissedError, UsageError, did_you_mean

if TYPE_CHECKING:
    from modelpack.bench.aim import Aim
    from modelpack.bench.compare import Difference
    from modelpack.bench.suite import Suite

INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the words of the command say beside the load."""

    apis: tuple[str, ...] = ()
    given: Input = field(default_factory=Input)
    headers: Mapping[str, str]
    verifies: bool = True
    save: Path | None = None
    compare: Path | None = None
    fail_if_worse: float | None = None
    goals: Goals = field(default_factory=Goals)
    is_json: bool = False

    def aims(self, server: Opened) -> tuple[Aim, ...]:
        """Return what to send to a server."""
        return server.aims(self.apis, self.given, self.headers)


def open_in(stack: ExitStack, target: str | None, flags: Flags) -> Opened:
    """Make a server available for as long as the stack is open."""
    server = opened(target, verifies=flags.verifies, progress=console.Steps())
    return stack.enter_context(server)


def one_run(servers: Sequence[Opened], load: Load, flags: Flags) -> int:
    """Measure once, every api of every server at the same time; return the status."""
    before = load_results(flags.compare) if flags.compare is not None else []
    aims = [aim for server in servers for aim in flags.aims(server)]
    with _live() as watch:
        results = measure(aims, load, watch=watch)
    differences = [
        (one.label, differences_of(old, one)) for one in results for old in _like(one, before)
    ]
    if before and not differences:
        raise UsageError(f"'{flags.compare}' has no run of '{results[0].label}'")
    _print_results(results, differences, flags)
    if flags.save is not None:
        save_results(results, flags.save)
        console.note(f"kept in '{flags.save}': compare with '--compare {flags.save}'")
    if any(one.is_cut for one in results):
        return INTERRUPTED
    _judge(results, [one for _, found in differences for one in found], flags)
    return 0


def in_turns(
    servers: Sequence[Opened], other: Opened, load: Load, rounds: int, flags: Flags
) -> int:
    """Measure two servers in turns and compare them; return the status."""
    if len(servers) > 1 or len(flags.apis) > 1:
        raise UsageError("--against compares one api of one server with that of another")
    a, b = flags.aims(servers[0])[0], flags.aims(other)[0]
    try:
        with _live() as watch:
            turns = measure_in_turns(a, b, load, rounds=rounds, watch=watch)
    except ValueError as error:
        raise UsageError(f"--{error}") from None
    results = [turns.a, turns.b]
    _print_results(results, [("", turns.differences)], flags)
    if flags.save is not None:
        save_results(results, flags.save)
    if any(one.is_cut for one in results):
        return INTERRUPTED
    _judge([turns.b], turns.differences, flags)
    return 0


def suites(
    preset: str, servers: Sequence[Opened], load: Load, flags: Flags, admin_socket: Path | None
) -> int:
    """Run the suites of a preset, print a table for each; return the status."""
    if preset not in PRESETS:
        near = did_you_mean(preset, PRESETS)
        hint = f"did you mean '{near}'?" if near else f"there are: {', '.join(PRESETS)}"
        raise UsageError(f"--preset: no preset '{preset}'", hint=hint)
    names = suites_of(preset)
    seconds = sum(seconds_of(name, load) for name in names)
    console.note(f"{', '.join(names)}: about {console.duration(seconds)}")
    with _live() as watch:
        bench = Bench(
            aims=flags.aims(servers[0]),
            every=lambda: [aim for one in servers for aim in one.every_aim(flags.headers)],
            base=load,
            admin_socket=admin_socket or servers[0].admin_socket,
            watch=watch,
        )
        done: list[Suite] = []
        for name in names:
            done.append(run_suite(name, bench))
            watch.clear()
            if not flags.is_json:
                _print_suite(done[-1])
            if done[-1].is_cut:
                break
    results = [one for suite in done for one in suite.results]
    if flags.is_json:
        console.out_json({"form": FORM, "suites": [s.to_json() for s in done]})
    if flags.save is not None:
        save_results(results, flags.save)
    if done[-1].is_cut:
        return INTERRUPTED
    _judge(results, [], flags)
    return 0


def differences_of(before: Result, after: Result) -> list[Difference]:
    """Compare two runs of the same api."""
    from modelpack.bench.compare import compare

    return compare(before, after)


def headers_of(words: Sequence[str]) -> dict[str, str]:
    """Return header lines by name; raises UsageError for what is none."""
    headers = {}
    for word in words:
        name, colon, value = word.partition(":")
        is_line = colon and name.strip() and not set("\r\n\0") & set(word)
        if not is_line or not name.strip().replace("-", "").replace("_", "").isalnum():
            # The value may be a secret: it is not shown.
            raise UsageError("--header: must be NAME:VALUE", hint="--header 'authorization: …'")
        headers[name.strip().lower()] = value.strip()
    return headers


def load_of(times: Mapping[str, str], **amounts: Any) -> Load:
    """Return the load that the flags say; raises UsageError that names the flag."""
    given = {name: value for name, value in amounts.items() if value is not None}
    try:
        for name, text in times.items():
            try:
                given[f"{name}_s"] = parse_seconds(text)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return Load(**given)
    except ValueError as error:
        raise UsageError(f"--{error}") from None


def _like(result: Result, before: Sequence[Result]) -> list[Result]:
    """Return the kept run of the same api, if there is one; a single run of each always fits."""
    same = [one for one in before if one.label == result.label]
    return same[:1] or (list(before) if len(before) == 1 else [])


def _print_results(
    results: Sequence[Result],
    differences: Sequence[tuple[str, Sequence[Difference]]],
    flags: Flags,
) -> None:
    if flags.is_json:
        plain: dict[str, Any] = {"form": FORM, "runs": [one.to_json() for one in results]}
        compared = [
            {"api": name, "figures": [d.to_json() for d in d_s]} for name, d_s in differences
        ]
        console.out_json({**plain, "compared": compared} if compared else plain)
        return
    for number, result in enumerate(results):
        if number:
            console.out("")
        console.facts(facts_of(result))
    for name, found in differences:
        console.out("")
        if name and len(differences) > 1:
            console.out(f"{name}:")
        console.table(COMPARE_HEAD, difference_rows(found))


def _print_suite(suite: Suite) -> None:
    console.out(f"{suite.name}: {suite.title}")
    if suite.skipped:
        console.out(f"  skipped: {suite.skipped}")
    else:
        console.table(suite.head, suite.rows)
    if suite.finding:
        console.out(suite.finding)
    console.out("")


def _judge(results: Sequence[Result], differences: Sequence[Difference], flags: Flags) -> None:
    """Raise GoalMissedError unless every goal was reached."""
    missed = [text for result in results for text in misses(result, flags.goals)]
    if flags.fail_if_worse is not None:
        limit = flags.fail_if_worse
        missed += [
            f"{one.figure} is worse by {abs(one.change):.1f} %, --fail-if-worse {limit:g}"
            for one in differences
            if one.is_worse and one.is_worse_by(limit)
        ]
    if missed:
        raise GoalMissedError("; ".join(missed))


class _Watch:
    """Draws each second of a load on a terminal."""

    def __init__(self) -> None:
        self._line = LiveLine()

    def __call__(self, progress: Progress) -> None:
        self._line.show(live_text(progress))

    def clear(self) -> None:
        """Take the line away."""
        self._line.clear()


@contextmanager
def _live() -> Iterator[_Watch]:
    watch = _Watch()
    try:
        yield watch
    finally:
        watch.clear()
