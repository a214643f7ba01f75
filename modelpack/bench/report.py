"""Says a result for people: pairs of words for one run, rows of a table for several.

Pure: the command line prints what stands here.
"""

from __future__ import annotations

from collections.abc import Sequence

from modelpack.bench.compare import Difference
from modelpack.bench.result import Result
from modelpack.bench.scrape import ServerShare
from modelpack.bench.session import Progress
from modelpack.bench.suite import ms_text
from modelpack.config.units import format_size

COMPARE_HEAD = ("figure", "before", "after", "change", "99 % interval", "verdict")
_LATE_SHARE = 0.01
_LATE_MS = 1.0


def facts_of(result: Result) -> dict[str, object]:
    """Return what one run measured, in the order in which it is shown."""
    facts: dict[str, object] = {
        "target": _target(result),
        "load": result.load.text + (" (interrupted)" if result.is_cut else ""),
        "requests": _requests(result),
        "rate": _rate(result),
        "latency": _latency(result),
    }
    whole = result.whole
    if whole.refused.counts:
        facts["refusals"] = (
            f"answered within p50 {ms_text(whole.refused.at_ms(50))} ms, "
            f"p99 {ms_text(whole.refused.at_ms(99))} ms"
        )
    if whole.late.share_above(_LATE_MS) >= _LATE_SHARE:
        facts["late"] = (
            f"{whole.late.share_above(_LATE_MS):.0%} of the requests were sent more than "
            f"{_LATE_MS:g} ms after their time, at most {ms_text(whole.late.max_ms)} ms"
        )
    facts["bytes"] = f"{format_size(whole.bytes_out)} sent, {format_size(whole.bytes_in)} received"
    if result.server is not None:
        facts["server"] = server_text(result.server)
    if result.failure:
        facts["failure"] = result.failure
    facts["advice"] = result.advice.text
    return facts


def server_text(server: ServerShare) -> str:
    """Return what the server's own metrics say, on one line."""
    parts = []
    if server.mean_batch is not None:
        parts.append(f"mean batch {server.mean_batch:.1f}")
    shares = [
        f"{name} {share:.0%}"
        for name, ms in (("queue", server.queue_ms), ("model", server.model_ms))
        if (share := server.share(ms)) is not None
    ]
    if shares:
        parts.append(f"of {ms_text(server.total_ms)} ms inside: {', '.join(shares)}")
    if server.refused:
        parts.append("refused " + ", ".join(f"{n:,} {why}" for why, n in server.refused.items()))
    if server.cpu is not None:
        parts.append(f"{server.cpu:.2f} processors")
    if server.resident_bytes is not None:
        parts.append(format_size(server.resident_bytes))
    return "; ".join(parts)


def difference_rows(differences: Sequence[Difference]) -> list[tuple[str, ...]]:
    """Return the rows under ``COMPARE_HEAD``."""
    return [
        (
            one.figure if one.figure == "rate" else f"{one.figure} {one.unit}",
            _amount(one, one.before),
            _amount(one, one.after),
            _percent(one.change),
            f"{_percent(one.low)} … {_percent(one.high)}",
            one.verdict,
        )
        for one in differences
    ]


def live_text(progress: Progress) -> str:
    """Return the line that is drawn while a load runs."""
    now = progress.now
    rate = now.good / now.seconds if now.seconds else 0.0
    failed = f"  failed {now.failed:,}" if now.failed else ""
    return (
        f"{progress.elapsed_s:.0f} of {progress.duration_s:g} s  {rate:,.0f}/s  "
        f"p50 {ms_text(now.latencies.at_ms(50))} ms  p99 {ms_text(now.latencies.at_ms(99))} ms{failed}"
    )


def _target(result: Result) -> str:
    target = result.target
    facts = []
    if target["api"]:
        facts.append(f"api '{target['api']}'")
    if target["source"]:
        facts.append(f"'{target['source']}' served for this run")
    if target["bodies"]:
        count = "1 body" if target["bodies"] == 1 else f"{target['bodies']:,} bodies"
        facts.append(f"{count} of {format_size(target['body_bytes'])}")
    return f"{target['method']} {target['url']}{target['path']}  ({', '.join(facts)})".replace(
        "  ()", ""
    )


def _requests(result: Result) -> str:
    whole = result.whole
    parts = [f"{whole.good:,} answered"]
    failed = {str(s): n for s, n in sorted(whole.statuses.items()) if not 200 <= s < 300}
    failed |= dict(sorted(whole.errors.items()))
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in failed.items())
    parts.append(f"{whole.failed:,} failed" + (f" ({kinds})" if kinds else ""))
    return ", ".join(parts)


def _rate(result: Result) -> str:
    offered = "" if result.load.rate is None else f" of {result.load.rate:,g}/s offered"
    rows = result.rows_rate
    many = rows is not None and rows > 1.1 * result.rate
    return f"{result.rate:,.0f}/s{offered}" + (f", {rows:,.0f} rows/s" if many else "")


def _latency(result: Result) -> str:
    names = {"p50": "p50", "p90": "p90", "p99": "p99", "p99_9": "p99.9", "max": "max"}
    latency = result.latency_ms
    return "  ".join(f"{shown} {ms_text(latency[name])} ms" for name, shown in names.items())


def _amount(one: Difference, value: float) -> str:
    if one.figure == "rate":
        return f"{value:,.0f}/s"
    return f"{value:.2f}" if one.figure == "failed" else ms_text(value)


def _percent(value: float) -> str:
    if value in (float("inf"), float("-inf")):
        return "?"
    return f"{value:+.1f} %"
