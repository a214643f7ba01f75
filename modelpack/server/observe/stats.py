"""Plain counters of the hot path: a few list and dict operations a request, no library.

    ApiStats.add(status, seconds, …)   one answered request, some 0.3 µs
    BatchStats.add(rows, …)            one batch
    ConnectionStats, RunnerStats       what the server stands on
    TaskStats, PayloadStats            what it does beside requests
    Reading                            what one api, or the server, shows at one moment

A ``Reading`` is what ``metrics`` makes a page of and what ``snapshot`` carries between processes.
All times are counted in the same buckets, ``LATENCY_BOUNDS_S``.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

LATENCY_BOUNDS_S = (
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper bounds, in seconds, of every histogram of times."""

BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Upper bounds, in rows, of the histogram of batch sizes."""


class BatchStats:
    """Counts of the batches of one api."""

    __slots__ = (
        "batches", "buckets", "padded_elements", "real_elements", "reasons", "replays", "rows",
        "run_buckets", "run_s", "size_counts", "size_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self.batches = 0
        self.rows = 0
        self.buckets = [0] * (len(BATCH_BOUNDS) + 1)
        self.reasons: dict[str, int] = {}
        """Why batches were let go."""
        self.run_s = 0.0
        self.run_buckets = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.real_elements = 0
        """Elements of variable length that came from requests."""
        self.padded_elements = 0
        """Elements that only filled them up."""
        self.replays = 0
        """Calls that were run again because their runner was lost."""
        self.size_counts: dict[int, int] = {}
        """Batches by their rows."""
        self.size_s: dict[int, float] = {}
        """How long they ran together, by their rows."""

    def add(self, rows: int, reason: str = "", run_s: float = 0.0) -> None:
        """Count one batch that ran, for how long, and why it was let go."""
        self.batches += 1
        self.rows += rows
        self.buckets[bisect_left(BATCH_BOUNDS, rows)] += 1
        self.run_s += run_s
        self.run_buckets[bisect_left(LATENCY_BOUNDS_S, run_s)] += 1
        counts = self.size_counts
        counts[rows] = counts.get(rows, 0) + 1
        self.size_s[rows] = self.size_s.get(rows, 0.0) + run_s
        if reason:
            self.reasons[reason] = self.reasons.get(reason, 0) + 1


class ApiStats:
    """Counts of one api."""

    __slots__ = (
        "buckets", "exemplars", "faces", "failed_s", "feedback", "in_flight", "last_s", "name",
        "overhead_buckets", "overhead_s", "problems", "queue_buckets", "queue_s", "reward", "rows",
        "seconds", "statuses",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.statuses: dict[int, int] = {}
        self.problems: dict[tuple[int, str], int] = {}
        """Requests that were answered with a problem, by its status and code."""
        self.faces: dict[str, int] = {}
        """Requests that were asked in the contract of another server, by its name."""
        self.rows = 0
        """Rows of the requests that were answered."""
        self.buckets = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.seconds = 0.0
        self.queue_buckets = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.queue_s = 0.0
        self.overhead_buckets = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.overhead_s = 0.0
        self.in_flight = 0
        self.failed_s = 0.0
        """Of ``seconds`` those of requests that were not answered 200."""
        self.last_s = 0.0
        """``perf_counter`` of the last answer, which all processes of a machine share; 0: none."""
        self.feedback = 0
        """How often somebody said what an answer was worth."""
        self.reward = 0.0
        """Sum of what they said."""
        self.exemplars: dict[int, Exemplar] = {}
        """The last request of each bucket of ``buckets``, when those are kept."""

    def add(
        self,
        status: int,
        seconds: float,
        queue_s: float = 0.0,
        run_s: float = 0.0,
        rows: int = 0,
        *,
        code: str = "",
    ) -> None:
        """Count one answered request.

        ``seconds`` are those from the whole request to its answer; ``queue_s`` of them it waited,
        and the batch that it was in ran for ``run_s``; 0: it never ran.  What is left beside the
        run is the overhead.  ``code`` is that of the problem it was answered with.
        """
        statuses = self.statuses
        statuses[status] = statuses.get(status, 0) + 1
        self.buckets[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
        self.seconds += seconds
        if run_s:
            self.queue_buckets[bisect_left(LATENCY_BOUNDS_S, queue_s)] += 1
            self.queue_s += queue_s
            overhead_s = seconds - run_s
            self.overhead_buckets[bisect_left(LATENCY_BOUNDS_S, overhead_s)] += 1
            self.overhead_s += overhead_s
        if status < 400:
            self.rows += rows
            return
        self.failed_s += seconds
        if code:
            key = (status, code)
            self.problems[key] = self.problems.get(key, 0) + 1

    def add_feedback(self, reward: float) -> None:
        """Count that somebody said what an answer was worth."""
        self.feedback += 1
        self.reward += reward

    def keep_exemplar(self, request_id: str, seconds: float, at: float) -> None:
        """Let the request stand for the bucket that its time is in, until the next one."""
        bucket = bisect_left(LATENCY_BOUNDS_S, seconds)
        self.exemplars[bucket] = Exemplar(request_id, seconds, at)


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One request of a bucket, so that it can be found in the logs."""

    request_id: str
    seconds: float
    at: float
    """When it was answered, as a Unix time."""


@dataclass(slots=True)
class ConnectionStats:
    """Counts of the connections of a server."""

    open: int = 0
    """Those that are open now."""
    limit: int = 0
    """Most that may be open at a time."""
    accepted: int = 0
    failed: int = 0
    """Those that ended before a request could be read: they left, or did not speak TLS."""
    waits: int = 0
    """How often newcomers had to wait because there was no room."""


@dataclass(slots=True)
class RunnerStats:
    """Counts of what methods run in, by kind: ``inline``, ``thread``, ``process``."""

    running: dict[str, int] = field(default_factory=dict)
    """Those that can run calls now."""
    restarts: dict[str, int] = field(default_factory=dict)
    """Those that were started in place of one that was lost."""


@dataclass(slots=True)
class TaskStats:
    """Counts of the tasks of a process."""

    events: dict[str, dict[str, int]] = field(default_factory=dict)
    """What became of tasks, by api and event."""
    running: dict[str, int] = field(default_factory=dict)
    """Those that it runs now, by api."""
    queued: dict[str, int] = field(default_factory=dict)
    """Those that wait in the store, by api: all processes see the same."""
    webhooks: dict[str, int] = field(default_factory=dict)
    """Tries to tell somebody, by outcome."""

    def count(self, api: str, what: str) -> None:
        """Count an event of a task."""
        events = self.events.setdefault(api, {})
        events[what] = events.get(what, 0) + 1

    def began(self, api: str) -> None:
        """Count a run that begins."""
        self.running[api] = self.running.get(api, 0) + 1

    def ended(self, api: str) -> None:
        """Count a run that has ended, however it did."""
        self.running[api] -= 1

    def told(self, outcome: str) -> None:
        """Count a try to tell somebody."""
        self.webhooks[outcome] = self.webhooks.get(outcome, 0) + 1


DROPPED = ("queue-full", "refused", "undelivered", "stopped", "internal")
"""Why nobody gets an event of the payload log."""


@dataclass(slots=True)
class PayloadStats:
    """Counts of the payload log of a process, in events.

    The event loop writes what is taken, a thread what is left: no number has two writers.
    """

    taken_events: int = 0
    """Those that were queued."""
    taken_bytes: int = 0
    """Bytes of their bodies."""
    left_events: int = 0
    """Those of them that are in the queue no more."""
    left_bytes: int = 0
    sent: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DROPPED, 0))
    """Those that nobody got, by reason."""
    failures: dict[str, int] = field(
        default_factory=lambda: {"unreachable": 0, "timeout": 0, "status": 0}
    )
    """Deliveries that failed, by reason."""

    @property
    def waiting_events(self) -> int:
        """Events that wait now."""
        return self.taken_events - self.left_events

    @property
    def waiting_bytes(self) -> int:
        """Bytes of their bodies."""
        return self.taken_bytes - self.left_bytes

    def drop(self, reason: str, events: int) -> None:
        """Count events that nobody gets."""
        self.dropped[reason] += events

    def fail(self, reason: str) -> None:
        """Count a delivery that failed."""
        self.failures[reason] += 1


@dataclass(frozen=True, slots=True)
class Reading:
    """What one api shows at one moment; that of the server itself has an api without a name."""

    stats: ApiStats
    batches: BatchStats | None
    """None: it has no batches."""
    waiting_rows: int
    waiting_bytes: int = 0
    connections: ConnectionStats | None = None
    runners: RunnerStats | None = None
    tasks: TaskStats | None = None
    payloads: PayloadStats | None = None
