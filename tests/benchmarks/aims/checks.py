"""What metrics, request id, deadline and limits cost a request together.

A call in a loop that does just these, with the objects of the server itself: its head is looked up
(limits of size, request id of the client), it gets an id, its clock and its deadline, its place in
the queue is granted or not, and its answer is counted.  The same loop without them is taken off.
"""

from __future__ import annotations

from time import process_time
from typing import Any, cast

import numpy as np

import modelpack
from aims.context import Context
from aims.table import Row
from modelpack.config.serving import ServerSettings
from modelpack.sdk.service import spec_of
from modelpack.server.batching.lines import Lines
from modelpack.server.batching.pace import Gate, Pace
from modelpack.server.batching.seats import Seats
from modelpack.server.endpoint import Endpoint
from modelpack.server.http.heads import RequestIds
from modelpack.server.http.known import KnownHeads
from modelpack.server.http.protocol import FastCall

AIM_US = 4.0
_CALLS = 20_000


@modelpack.service
class Checked:
    """Something with rows."""

    @modelpack.api(batch=True)
    def predict(
        self, x: modelpack.Tensor["float32", "batch", 4]
    ) -> modelpack.Tensor["float32", "batch", 4]:
        return x


def checks(context: Context) -> list[Row]:
    """Time the loop with and without, in turns; the fastest round of each counts."""
    with_them, without = _loops()
    costs = [(_us(with_them), _us(without)) for _ in range(3 if context.is_quick else 15)]
    cost = min(one for one, _ in costs) - min(other for _, other in costs)
    what = "metrics, request id, deadline and limits together"
    return [Row(what, f"{AIM_US:g} µs", f"{cost:.1f} µs", cost <= AIM_US, {"cpu_us": cost})]


def _us(loop: Any) -> float:
    began = process_time()
    loop()
    return (process_time() - began) / _CALLS * 1e6


def _loops() -> tuple[Any, Any]:
    settings = ServerSettings()
    endpoint = Endpoint(spec_of(Checked).apis[0], settings)
    ids, heads, routes = RequestIds(), KnownHeads(), {b"/predict": endpoint}
    asked = endpoint.asked({b"content-type": b"application/json"})
    body = b'{"x":[[0.1,0.2,0.3,0.4]]}'
    head = b"POST /predict HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
    head += b"content-length: %d\r\n\r\n" % len(body)
    known = heads.remember(head, endpoint, asked, routes)
    assert known is not None
    data, protocol = head + body, cast("Any", None)
    values = {"x": np.zeros((1, 4), np.float32)}
    lines, pace = Lines(), Pace(32, settings.max_queue_rows)
    gate = Gate(lines, pace, Seats(), settings.max_queue_rows, settings.max_queue_bytes)

    def with_them() -> None:
        for _ in range(_CALLS):
            seen = known.read(data)
            assert seen is not None
            assert seen[1] <= settings.max_body_bytes
            call = FastCall(protocol, endpoint, ids.new_id())
            endpoint.begin(call, asked)
            call.values, call.size_bytes, call.run_s = values, seen[1], 1e-5
            assert not gate.objection(call)
            endpoint.count(call, 200)

    def without() -> None:
        for _ in range(_CALLS):
            call = FastCall(protocol, endpoint, b"1")
            call.values = values

    return with_them, without
