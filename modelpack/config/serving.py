"""How a service is served: the settings of the server and of the batching of one api.

Frozen, in range, without any library; ``settings`` says where they come from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelpack.errors import did_you_mean

FACES = (
    "oip", "kserve", "tfserving", "torchserve", "seldon", "sagemaker", "mlflow", "vertex",
    "azureml", "cloudrun",
)  # fmt: skip
"""Contracts of other servers that can be spoken beside the service's own routes."""

RUNNERS = ("auto", "inline", "thread", "process")
"""Where methods may run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig:
    """How the requests of one api are gathered before the model sees them."""

    max_batch_size: int = 32
    """Most rows in one batch; 1 turns batching off."""

    latency_ms: float | None = None
    """Longest that a request should take, queue and model together; None: no goal.  It shapes the
    batches and refuses nobody: what may take no longer than a limit says so in its head."""

    max_wait_ms: float | None = None
    """Longest that a request is held for company, whatever the costs say; None: waiting is decided
    by cost, and without a latency goal nothing waits."""

    preferred_batch_sizes: tuple[int, ...] = ()
    """Sizes, in rows, of which the largest that whole requests make up is run at once; empty:
    any."""

    buckets: tuple[int, ...] = ()
    """Lengths to which the axes of variable length are padded, so that requests of different
    length share batches; empty: only equal shapes do."""

    pad_value: float = 0.0
    """What padding is made of."""

    def __post_init__(self) -> None:
        at_least("max_batch_size", self.max_batch_size, 1)
        if self.latency_ms is not None and self.latency_ms <= 0:
            raise ValueError(f"latency_ms: must be above 0, got {self.latency_ms}")
        if self.max_wait_ms is not None and self.max_wait_ms < 0:
            raise ValueError(f"max_wait_ms: must be at least 0, got {self.max_wait_ms}")
        for name in ("preferred_batch_sizes", "buckets"):
            sizes = getattr(self, name)
            if any(one < 1 for one in sizes) or list(sizes) != sorted(set(sizes)):
                raise ValueError(f"{name}: must be rising and at least 1, got {list(sizes)}")
        if self.preferred_batch_sizes and self.preferred_batch_sizes[-1] > self.max_batch_size:
            raise ValueError(
                f"preferred_batch_sizes: must be at most max_batch_size, {self.max_batch_size}, "
                f"got {self.preferred_batch_sizes[-1]}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How a service is served.  Every field is also ``MODELPACK_<FIELD>`` in the environment."""

    host: str = "127.0.0.1"
    """Address to listen on; images set 0.0.0.0."""

    port: int = 3000
    """TCP port to listen on; 0 takes a free one."""

    grpc_port: int | None = None
    """TCP port for gRPC; None: none is spoken, 0 takes a free one; needs the extra ``grpc``."""

    faces: str = "auto"
    """Contracts of other servers to speak, such as ``oip,kserve``; ``none``, or ``auto``: all, those
    of a platform where its variables are set."""

    metrics_port: int | None = None
    """TCP port for the metrics; None: the same as for requests."""

    workers: int = 1
    """Processes that read requests and write answers; 0: one for each processor, as far as the
    memory goes."""

    replicas: int = 1
    """How often the service is loaded; that many batches of one api run at once."""

    runner: str = "auto"
    """Where methods run: ``inline`` on the event loop, in a ``thread``, in a ``process`` of their
    own, or ``auto``: as the calls of the warm-up say."""

    devices: str = "auto"
    """Where models run: ``cpu``, ``cuda:0``, a list such as ``cuda:0,cuda:1`` that the replicas
    take in turns, or ``auto``: a GPU when there is one that the models can use."""

    threads: int = 0
    """Processor threads of each replica for its models; 0: the processors shared out evenly."""

    max_body_bytes: int = 10 * 1024 * 1024
    """Longest request body; a longer one is answered 413 before it is read.  Unless it is set, no
    longer than a sixteenth of the memory."""

    accept_encoding: bool = False
    """Take bodies that are compressed with gzip or deflate."""

    max_inflated_bytes: int = 64 * 1024 * 1024
    """Longest body after decompression.  Unless it is set, no longer than an eighth of the memory."""

    repository_control: bool = False
    """Let clients of the Open Inference Protocol load the service again, from where it came:
    POST /v2/repository/models/MODEL/load."""

    max_connections: int = 0
    """Most connections at a time, others wait; 0: what the limit on open files leaves room for."""

    request_timeout_s: float = 30.0
    """Longest that a request may take before it is answered 504; a request may ask for less."""

    head_timeout_s: float = 10.0
    """Longest that the head of a request may take to arrive."""

    body_timeout_s: float = 20.0
    """Longest pause inside the body of a request."""

    grace_s: float = 30.0
    """Longest that accepted requests may take to finish after SIGTERM."""

    keep_alive_s: float = 75.0
    """How long an idle connection is kept."""

    max_queue_rows: int = 4096
    """Most rows that wait for one api; beyond that requests are answered 429."""

    max_queue_bytes: int = 256 * 1024 * 1024
    """Most bytes of arguments that wait for one api; beyond that requests are answered 429.  Unless
    it is set, no more than an eighth of the memory, shared out to the workers."""

    tasks: bool = False
    """Take calls as tasks, to be answered later: POST /tasks/API."""

    tasks_store: str | None = None
    """Where tasks are kept: a file (SQLite) or ``redis://HOST:PORT/NUMBER``; None: a file for each
    service and port in the folder of modelpack."""

    tasks_at_once: int = 16
    """Most tasks that a process runs at a time; of an api that shares neither batches nor the event
    loop, one for each replica."""

    tasks_timeout_s: float = 3600.0
    """Longest that one run of a task may take; a task may ask for less."""

    tasks_retention_s: float = 86400.0
    """How long results are kept, and how long a task may wait for its run."""

    tasks_max: int = 10_000
    """Most tasks that are kept, waiting and done; beyond that they are answered 429."""

    tasks_max_bytes: int = 1024 * 1024 * 1024
    """Most bytes of bodies and results that are kept; beyond that tasks are answered 429."""

    tasks_list: bool = False
    """Let every client list all tasks; else who has no id of a task sees none."""

    tasks_webhook_hosts: str | None = None
    """Hosts that clients may have told that a task is over, such as
    ``hooks.example.com,http://10.0.0.7:8080``; None: none.  Needs ``MODELPACK_WEBHOOK_SECRET``."""

    payload_log_url: str | None = None
    """Where payloads of requests go as CloudEvents: a collector, ``https://HOST/PATH``, or a file,
    ``file:///PATH``; None: nowhere.  ``MODELPACK_PAYLOAD_LOG_HEADER`` has what a collector asks for."""

    payload_log_mode: str = "all"
    """What is kept: ``request``, ``response`` or ``all``."""

    payload_log_share: float = 1.0
    """Share of the calls that are kept, from 0 to 1."""

    payload_log_form: str = "binary"
    """How a collector gets events: one a message, ``binary``, as KServe sends them, or many as one
    list of JSON, ``batch``."""

    payload_log_attributes: str | None = None
    """Attributes that every event has beside its own, such as ``namespace=prod,team=vision``."""

    payload_log_max_body_bytes: int = 1024 * 1024
    """Longest body that is kept; of a longer one the event says how long it was."""

    payload_log_max_events: int = 10_000
    """Most events that wait to be sent; beyond that calls are not kept, and counted."""

    payload_log_max_bytes: int = 32 * 1024 * 1024
    """Most bytes of bodies that wait to be sent."""

    payload_log_file_bytes: int = 100 * 1024 * 1024
    """How long a file gets before another one is begun; five are kept beside it."""

    tls_cert: str | None = None
    """File with the certificate chain (PEM); with it the server speaks TLS."""

    tls_key: str | None = None
    """File with the private key (PEM); None: it stands in ``tls_cert``."""

    tls_client_ca: str | None = None
    """File with authorities (PEM); with it clients must show a certificate of one of them."""

    admin_socket: str | None = None
    """Unix socket, made with mode 0600, on which the server is managed; None: none."""

    log_format: str = "auto"
    """``json``, ``text`` for people, or ``auto``: text on a terminal, else json."""

    log_level: str = "info"
    """``debug``, ``info``, ``warning`` or ``error``."""

    access_log: bool = False
    """Log a line for every request."""

    access_log_sample: float = 1.0
    """Share of the requests that are logged when ``access_log`` is on, from 0 to 1; failed ones
    always are."""

    exemplars: bool = False
    """Show a request id beside the counts of slow requests, for scrapers that ask for it."""

    tracing: bool = False
    """Send OpenTelemetry spans as the ``OTEL_…`` variables say; needs the extra ``tracing``."""

    def __post_init__(self) -> None:
        within("port", self.port, 0, 65535)
        if self.metrics_port is not None:
            within("metrics_port", self.metrics_port, 0, 65535)
        if self.grpc_port is not None:
            within("grpc_port", self.grpc_port, 0, 65535)
        if self.faces not in ("auto", "none"):
            check_faces(self.faces.split(","))
        within("workers", self.workers, 0, 256)
        within("replicas", self.replicas, 1, 256)
        one_of("runner", self.runner, RUNNERS)
        if not _DEVICES.fullmatch(self.devices):
            raise ValueError(
                f"devices: must be auto, cpu or like cuda:0,cuda:1, got {self.devices!r}"
            )
        for name in ("max_body_bytes", "max_inflated_bytes", "max_queue_rows", "max_queue_bytes"):
            at_least(name, getattr(self, name), 1)
        for name in ("threads", "max_connections", "grace_s"):
            at_least(name, getattr(self, name), 0)
        for name in ("request_timeout_s", "keep_alive_s", "head_timeout_s", "body_timeout_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: must be above 0, got {getattr(self, name)}")
        if not 0 <= self.access_log_sample <= 1:
            raise ValueError(
                f"access_log_sample: must be from 0 to 1, got {self.access_log_sample}"
            )
        self._check_tasks()
        self._check_payload_log()
        for name in ("tls_key", "tls_client_ca"):
            if getattr(self, name) and not self.tls_cert:
                raise ValueError(f"{name}: needs tls_cert")
        one_of("log_format", self.log_format, ("auto", "json", "text"))
        one_of("log_level", self.log_level, ("debug", "info", "warning", "error"))

    def _check_tasks(self) -> None:
        for name in ("tasks_at_once", "tasks_max", "tasks_max_bytes"):
            at_least(name, getattr(self, name), 1)
        for name in ("tasks_timeout_s", "tasks_retention_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: must be above 0, got {getattr(self, name)}")
        if self.tasks_store is not None and "://" in self.tasks_store:
            if not self.tasks_store.startswith(("redis://", "rediss://")):
                raise ValueError("tasks_store: must be a file, redis://... or rediss://...")
            if "@" in self.tasks_store:
                raise ValueError(
                    "tasks_store: must not hold a password; MODELPACK_TASKS_PASSWORD does"
                )
        for host in filter(None, map(str.strip, (self.tasks_webhook_hosts or "").split(","))):
            if not _HOST.fullmatch(host):
                raise ValueError(
                    f"tasks_webhook_hosts: must be hosts such as hooks.example.com, got {host!r}"
                )

    def _check_payload_log(self) -> None:
        url = self.payload_log_url
        found = None if url is None else _PAYLOAD_URL.fullmatch(url)
        if url is not None and (found is None or int(found["port"] or 0) > 65535):
            # It is not shown: it may hold a secret.
            raise ValueError(
                "payload_log_url: must be http://HOST/PATH, https://HOST/PATH or file:///PATH, with "
                "no name, password or query; MODELPACK_PAYLOAD_LOG_HEADER has what proves who sends"
            )
        one_of("payload_log_mode", self.payload_log_mode, ("all", "request", "response"))
        one_of("payload_log_form", self.payload_log_form, ("binary", "batch"))
        if not 0 <= self.payload_log_share <= 1:
            raise ValueError(
                f"payload_log_share: must be from 0 to 1, got {self.payload_log_share}"
            )
        for name in ("max_body_bytes", "max_events", "max_bytes", "file_bytes"):
            at_least(f"payload_log_{name}", getattr(self, f"payload_log_{name}"), 1)
        for one in filter(None, map(str.strip, (self.payload_log_attributes or "").split(","))):
            if not _ATTRIBUTE.fullmatch(one):
                raise ValueError(
                    "payload_log_attributes: must be like namespace=prod,team=vision, with names of "
                    f"at most 20 lower-case letters and digits, got {one!r}"
                )


_PAYLOAD_URL = re.compile(
    r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?(?:/[!$%&'()*+,;=:@\w./~-]*)?"
    r"|file:///[^\x00-\x1f\x7f?#]+",
    re.ASCII,
)
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,20}=[^\x00-\x1f\x7f,]{1,256}")
_HOST = re.compile(r"(?:https?://)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")
_DEVICES = re.compile(r"auto|(?:cpu|cuda:\d{1,3})(?:,(?:cpu|cuda:\d{1,3}))*")


def at_least(name: str, value: float, low: float) -> None:
    """Raise ValueError below ``low``."""
    if value < low:
        raise ValueError(f"{name}: must be at least {low}, got {value}")


def within(name: str, value: int, low: int, high: int) -> None:
    """Raise ValueError outside of ``low`` to ``high``."""
    if not low <= value <= high:
        raise ValueError(f"{name}: must be from {low} to {high}, got {value}")


def check_faces(names: Sequence[str]) -> None:
    """Raise ValueError for a contract that there is not, or one in any other company than contracts."""
    for name in names:
        if name not in FACES:
            near = did_you_mean(name, FACES)
            meant = f", did you mean '{near}'?" if near else ""
            known = f"auto, none, or some of {', '.join(FACES)}"
            raise ValueError(f"faces: must be {known}; got {name!r}{meant}")


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise ValueError for a word that is not known."""
    if value not in known:
        raise ValueError(f"{name}: must be one of {', '.join(known)}, got {value!r}")
