"""A run on the machines of a Ray cluster: the process of the service on each node, the files here.

    bundle ──export──► Shipment ──object store──► an actor on each node ──► LocalEngine there
    chunk ──► the actor with the least to do ──► answer; one that is lost: its chunks go to another

Ray carries and restarts, nothing else: which rows are done is decided by the journal on this side, so a
node that is lost costs the chunks that it had, which are asked for again.  The nodes need this
modelpack with the extra ``ray`` and the Python that the bundle was locked for; the bundle, its
environment and its model come to them by themselves.
"""

from __future__ import annotations

import importlib
import os
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpack.errors import BatchError, ModelpackError, ToolMissingError, UnreachableError
from modelpack.offline.engine import LocalEngine, Reply, error_from
from modelpack.offline.hello import Hello
from modelpack.offline.launch import Opened, Wishes, opened_entry
from modelpack.progress import SILENT, Progress
from modelpack.store import Entry, Kind, Store
from modelpack.tag import Tag

_EACH = 2
"""Chunks on their way to each actor: one in the works, and one that waits."""
_MOST_LOSSES = 3
"""Actors that a chunk may lose before it is taken for the reason."""
_CLOSE_WITHIN_S = 40.0
_REACH_WITHIN_S = 10.0
_NO_NODE = {
    "message": "no node of the Ray cluster has a processor (and the GPUs) that a service needs",
    "hint": "see 'ray status'",
}


@dataclass(frozen=True, slots=True)
class Shipment:
    """What a node needs to run the service."""

    archive: bytes
    """The bundle, as ``modelpack export`` writes it."""
    tag: str
    digest: str
    api: str
    constants: Mapping[str, Any]
    wishes: Wishes
    gpus: int


def shipped(
    tag: Tag, api: str, constants: Mapping[str, Any], wishes: Wishes, progress: Progress
) -> tuple[Opened, Shipment]:
    """Return a bundle as it is known here, and what of it goes to the nodes.

    Raises as ``launch.open_bundle``.
    """
    from modelpack import trust

    _ray()
    store = Store()
    entry = store.find(tag, Kind.BUNDLE)
    trust.check(store, entry, "serve")
    opened = opened_entry(store, entry, api, constants, wishes, progress=progress)
    with tempfile.TemporaryDirectory(prefix="modelpack-ship-") as folder:
        archive = store.export(entry, Path(folder) / "bundle").read_bytes()
    gpus = len({one for one in opened.settings.devices.split(",") if one.startswith("cuda")})
    return opened, Shipment(archive, str(entry.tag), entry.digest, api, constants, wishes, gpus)


class RayEngine:
    """Actors on the nodes of a cluster; see ``engine.Engine``."""

    def __init__(self, shipment: Shipment, *, address: str | None = None) -> None:
        """Begin an actor on each node that is up; raises BatchError and what keeps a service away.

        ``address`` None: as ``RAY_ADDRESS`` says, else a cluster of this machine alone.
        """
        # Ray tells its makers of its use unless this is set before it starts.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray = _ray()
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            _check_reachable(address)
            try:
                self._ray.init(address=address, log_to_driver=False, include_dashboard=False)
            except (ConnectionError, OSError, ValueError, RuntimeError) as cause:
                raise BatchError(
                    f"no Ray cluster at '{address or 'this machine'}': {_line(cause)}",
                    hint="see 'ray status', or leave --ray-address away",
                ) from cause
        self._gpus = shipment.gpus
        self._shipment = self._ray.put(shipment)
        self._workers: list[Any] = []
        self._asked: dict[Any, tuple[int, Any]] = {}
        self._messages: dict[int, Mapping[str, Any]] = {}
        self._losses: dict[int, int] = {}
        self.hello = self._begin()

    @property
    def slots(self) -> int:
        """See ``Engine``."""
        return _EACH * len(self._workers)

    def send(self, number: int, message: Mapping[str, Any]) -> None:
        """See ``Engine``."""
        self._messages[number] = message
        self._ask(number)

    def receive(self) -> Reply:
        """See ``Engine``."""
        while True:
            (ready, *_), _ = self._ray.wait(list(self._asked), num_returns=1)
            number, worker = self._asked.pop(ready)
            try:
                reply = self._ray.get(ready)
            except self._ray.exceptions.RayActorError:
                self._lost(number, worker)
                continue
            if (failed := reply.get("failed")) is not None:
                raise error_from(failed)
            del self._messages[number]
            return dict(reply)

    def readings(self) -> list[Any]:
        """See ``Engine``; those of actors that were lost are, too."""
        found: list[Any] = []
        for worker in self._workers:
            try:
                found += self._ray.get(worker.readings.remote())
            except self._ray.exceptions.RayError:
                continue
        return found

    def close(self) -> None:
        """See ``Engine``."""
        for worker in self._workers:
            try:
                self._ray.get(worker.close.remote(), timeout=_CLOSE_WITHIN_S)
            except self._ray.exceptions.RayError:
                continue
            finally:
                self._ray.kill(worker)
        if self._is_ours:
            self._ray.shutdown()

    def _begin(self) -> Hello:
        """Start an actor on each node that has room for one; returns what the first one says."""
        begun = [self._actor(node["NodeID"]) for node in self._ray.nodes() if self._fits(node)]
        said: list[Any] = []
        for worker, ready in begun:
            try:
                answer = self._ray.get(ready)
            except self._ray.exceptions.RayError as cause:
                said.append({"code": "failed", "message": f"a node failed: {_line(cause)}"})
                continue
            if (failed := answer.get("failed")) is not None:
                said.append(failed)
            else:
                self._workers.append(worker)
                said.append(answer["hello"])
        if not self._workers:
            self.close()
            raise error_from(said[0] if said else _NO_NODE)
        return Hello.read(next(one for one in said if "service" in one))

    def _fits(self, node: Mapping[str, Any]) -> bool:
        """Say whether a node can ever run an actor: the head of a cluster often has no processor."""
        has = node.get("Resources", {})
        return bool(node["Alive"] and has.get("CPU", 0) >= 1 and has.get("GPU", 0) >= self._gpus)

    def _actor(self, node: str) -> tuple[Any, Any]:
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        # Where it is sure to be: one machine would else be given two.
        there = strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        actor = self._ray.remote(NodeWorker).options(
            num_cpus=1, num_gpus=self._gpus, max_restarts=0, scheduling_strategy=there
        )
        worker = actor.remote()
        return worker, worker.start.remote(self._shipment)

    def _ask(self, number: int) -> None:
        busy = [worker for _, worker in self._asked.values()]
        worker = min(self._workers, key=busy.count)
        self._asked[worker.answer.remote(self._messages[number])] = number, worker

    def _lost(self, number: int, worker: Any) -> None:
        """Give the chunks of an actor that is gone to others; raises BatchError without any."""
        if worker in self._workers:
            self._workers.remove(worker)
        self._losses[number] = self._losses.get(number, 0) + 1
        if self._losses[number] > _MOST_LOSSES:
            raise BatchError(
                f"{self._losses[number]} nodes were lost with the same rows",
                hint="see the logs of Ray; the rows that are done are kept",
            )
        if not self._workers:
            self._begin()
        self._ask(number)


class NodeWorker:
    """The service on a node, as an actor of Ray."""

    def __init__(self) -> None:
        self._engine: LocalEngine | None = None

    def start(self, shipment: Shipment) -> dict[str, Any]:
        """Make the bundle ready here and load it; returns ``hello``, or ``failed``."""
        try:
            store, entry = received(shipment)
            opened = opened_entry(
                store, entry, shipment.api, shipment.constants, shipment.wishes, progress=SILENT
            )
            self._engine = LocalEngine(opened.launch)
        except ModelpackError as error:
            return _failed(error)
        return {"hello": self._engine.said}

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of a chunk, or ``failed``."""
        engine = self._engine
        if engine is None:
            return _failed(BatchError("the service of this node has ended"))
        try:
            engine.send(message["chunk"], message)
            return dict(engine.receive())
        except ModelpackError as error:
            return _failed(error)

    def readings(self) -> list[Any]:
        """Return what was counted on this node."""
        return self._engine.readings() if self._engine is not None else []

    def close(self) -> None:
        """End the service."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def received(shipment: Shipment) -> tuple[Store, Entry]:
    """Return the bundle of a shipment in a store of its own below the cache of this machine."""
    from modelpack import paths
    from modelpack.store.durable import locked

    name = shipment.digest.removeprefix("sha256:")
    home = paths.cache_dir() / "shipped"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store(home / name)
    with locked(home / f"{name}.lock"):
        for entry in store.list(Kind.BUNDLE):
            if entry.digest == shipment.digest:
                return store, entry
        with tempfile.NamedTemporaryFile(prefix="modelpack-ship-") as file:
            file.write(shipment.archive)
            file.flush()
            return store, store.import_(Path(file.name))


def _failed(error: ModelpackError) -> dict[str, Any]:
    return {"failed": {"code": error.code, "message": error.message, "hint": error.hint}}


def _ray() -> Any:
    """Return the library; raises ToolMissingError.

    By its name: it is far too large to be installed where nobody asks for a cluster.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as cause:
        raise ToolMissingError(
            "--engine ray needs the package 'ray', which is not installed",
            hint="install 'modelpack-cli[ray]' here and on the nodes",
        ) from cause


def _check_reachable(address: str | None) -> None:
    """Raise UnreachableError when nobody listens at ``HOST:PORT``; Ray itself tries for minutes."""
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_WITHIN_S).close()
    except OSError as cause:
        raise UnreachableError(
            f"no Ray cluster answers at '{address}': {cause.strerror or cause}",
            hint="see 'ray status' there, or leave --ray-address away",
        ) from cause


def _line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
