"""One connection: the p50 of the tiny model against nginx with a static body of that size."""

from __future__ import annotations

from statistics import median

from aims.context import Context
from aims.load import Request, json_request, wrk
from aims.serving import nginx, nginx_missing, our_server
from aims.table import Row, skipped

MOST_TIMES = 2.5
WHAT = "single connection, W1, p50"
_BODY = '{"y":[[0.3333333,0.3333333,0.3333334]]}'


def single(context: Context) -> list[Row]:
    """Measure both in turns."""
    aim = f"{MOST_TIMES} times nginx with a static body"
    if why := nginx_missing():
        return [skipped(WHAT, why, aim)]
    p50: dict[str, list[float]] = {"ours": [], "nginx": []}
    with (
        our_server(context.folder / "tiny.onnx", context.pins, cwd=context.folder) as ours,
        nginx(_BODY, context.pins, cwd=context.folder) as static,
    ):
        requests = {
            "ours": (ours, json_request("/predict", "tiny")),
            "nginx": (static, Request("/", method="GET")),
        }
        for number in range(context.rounds + 1):
            for name, (server, request) in requests.items():
                one = wrk(
                    server.url, request, server.tree, context.pins, connections=1,
                    seconds=min(context.seconds, 3.0),
                )  # fmt: skip
                if number:
                    p50[name].append(one.p50_ms * 1000)
    ours_us, nginx_us = median(p50["ours"]), median(p50["nginx"])
    times = ours_us / nginx_us
    text = f"{ours_us:.0f} µs, nginx {nginx_us:.0f} µs: {times:.1f} times"
    return [Row(WHAT, aim, text, times <= MOST_TIMES, {"times": times, "p50_us": ours_us})]
