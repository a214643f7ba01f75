"""Tasks in Redis: servers on any number of machines may share them.

    call ──one script──► Redis ──► plain values ──► Task, Claim, Result

What Redis keeps over a restart of its own is a matter of how it is set up (``appendonly yes``).  The
password, if there is one, is in ``$MODELPACK_TASKS_PASSWORD``: settings are shown and recorded.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from modelpack.errors import TaskStoreError, UsageError
from modelpack.server.tasks import redis_scripts as scripts
from modelpack.server.tasks.record import GONE, OVER, Claim, Limits, NewTask, Notice, Result, Task
from modelpack.server.tasks.store import (
    EXPIRED,
    LOST,
    MAX_LOSSES,
    KeyReused,
    StoreFailed,
    StoreFull,
)

if TYPE_CHECKING:
    from redis import Redis

PASSWORD = "MODELPACK_TASKS_PASSWORD"  # noqa: S105 - the name of the variable
TIMEOUT_S = 5.0
_SWEEP = 200
_RETRY_S = (1, 60)
_PAGE = 500


def open_redis(url: str, service: str, limits: Limits) -> RedisStore:
    """Connect; raises TaskStoreError, and UsageError when the extra is missing."""
    try:
        import redis
    except ImportError as cause:
        raise UsageError(
            "tasks in Redis need its client",
            hint="pip install 'modelpack-cli[redis]', or among the requirements of a bundle: redis",
        ) from cause
    client: Redis = redis.Redis.from_url(
        url,
        password=os.environ.get(PASSWORD) or None,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        health_check_interval=30,
    )
    try:
        client.ping()
    except redis.RedisError as cause:
        client.close()
        raise TaskStoreError(
            f"tasks cannot be kept in '{url}': {cause}",
            hint=f"check tasks_store and {PASSWORD}, and that Redis answers there",
        ) from cause
    return RedisStore(client, service, limits, failures=(redis.RedisError, StoreFailed))


class RedisStore:
    """The tasks of one service in Redis."""

    most_together = 1

    def __init__(
        self,
        client: Redis,
        service: str,
        limits: Limits,
        *,
        failures: tuple[type[Exception], ...],
    ) -> None:
        self.failures = failures
        self._client = client
        self._limits = limits
        # In a cluster the braces keep all keys of a service on one node.
        self._prefix = f"modelpack:{{{service}}}:"
        self._owner = secrets.token_hex(8)
        self._scripts: dict[str, Any] = {}

    @contextmanager
    def together(self, *, writes: bool) -> Iterator[None]:
        """A script is one step already."""
        del writes
        try:
            yield
        except StoreFailed:
            raise
        except self.failures as error:
            raise StoreFailed(str(error)) from error

    def submit(self, new: NewTask) -> tuple[Task, bool]:
        """Keep a task."""
        fields = {
            "fields": orjson.dumps(dict(new.fields)),
            "request_id": new.request_id,
            "priority": new.priority,
            "timeout_s": new.timeout_s,
            **({"webhook": new.webhook} if new.webhook is not None else {}),
        }
        flat = [part for pair in fields.items() for part in pair]
        word, said = self._run(
            scripts.SUBMIT, new.id, new.api, new.key or "", new.fingerprint,
            self._limits.tasks, self._limits.size_bytes, new.body, *flat,
        )  # fmt: skip
        if word == b"reused":
            raise KeyReused
        if word == b"full":
            raise StoreFull(int(min(max(float(said), _RETRY_S[0]), _RETRY_S[1])))
        return self._known(said.decode()), word == b"new"

    def get(self, task_id: str) -> Task | None:
        """Return a task."""
        return _task(self._client.hgetall(self._prefix + "t:" + task_id))

    def _known(self, task_id: str) -> Task:
        task = self.get(task_id)
        if task is None:
            raise StoreFailed("a task is missing in Redis")
        return task

    def result(self, task_id: str) -> Result | None:
        """Return what the api answered."""
        found: Any = self._client.hgetall(self._prefix + "r:" + task_id)
        task = self.get(task_id)
        if not found or task is None:
            return None
        pairs = tuple((name, value) for name, value in orjson.loads(found[b"headers"]))
        kind = found[b"type"].decode()
        return Result(task.result_status, kind, pairs, found[b"data"], task.code)

    def find(
        self, *, api: str | None, status: str | None, before: int | None, limit: int
    ) -> list[Task]:
        """Return tasks, the newest first."""
        found: list[Task] = []
        top: str = "+inf" if before is None else f"({before}"
        while len(found) < limit:
            ids: Any = self._client.zrevrangebyscore(
                self._prefix + "ids", top, "-inf", start=0, num=_PAGE
            )
            tasks = [self.get(one.decode()) for one in ids]
            there = [one for one in tasks if one is not None and one.status != GONE]
            found += [
                one
                for one in there
                if (api is None or one.api == api) and (status is None or one.status == status)
            ]
            if len(ids) < _PAGE or not there:
                break
            top = f"({there[-1].number}"
        return found[:limit]

    def claim(self, rooms: Mapping[str, int], most: int, lease_s: float) -> list[Claim]:
        """Take tasks to run."""
        flat = [part for pair in rooms.items() for part in pair]
        found = self._run(scripts.CLAIM, lease_s, MAX_LOSSES, LOST, most, self._owner, *flat)
        return [
            Claim(
                task_id.decode(), api.decode(), int(run), orjson.loads(fields), body,
                request_id.decode(), float(timeout_s),
            )
            for task_id, api, run, fields, request_id, timeout_s, body in found
        ]  # fmt: skip

    def renew(self, held: Sequence[tuple[str, int]], lease_s: float) -> set[tuple[str, int]]:
        """Hold tasks for longer."""
        flat = [part for pair in held for part in pair]
        return {held[int(index)] for index in self._run(scripts.RENEW, lease_s, *flat)}

    def put_back(self, task_id: str, run: int, delay_s: float) -> None:
        """Let somebody run it again."""
        self._run(scripts.PUT_BACK, task_id, run, delay_s)

    def finish(self, task_id: str, run: int, status: str, result: Result) -> bool:
        """Keep the result of a run."""
        headers = orjson.dumps(result.headers)
        done = self._run(
            scripts.FINISH, task_id, run, status, result.status, result.code,
            result.content_type, headers, result.body,
        )  # fmt: skip
        return bool(done)

    def cancel(self, task_id: str) -> Task | None:
        """Cancel a task unless it is over."""
        self._run(scripts.CANCEL, task_id)
        return self.get(task_id)

    def again(self, task_id: str) -> Task | None:
        """Queue a task anew."""
        self._run(scripts.AGAIN, task_id)
        return self.get(task_id)

    def forget(self, task_id: str) -> bool:
        """Throw a task away."""
        return bool(self._run(scripts.FORGET, task_id))

    def sweep(self) -> None:
        """Throw away what is older than the retention."""
        self._run(scripts.SWEEP, _SWEEP, EXPIRED)

    def waiting(self) -> dict[str, int]:
        """Return how many tasks of each api are queued."""
        apis: Any = self._client.smembers(self._prefix + "apis")
        found: Counter[str] = Counter()
        for one in apis:
            found[one.decode()] = self._client.zcard(self._prefix + "q:" + one.decode())
        suspects: Any = self._client.zrange(self._prefix + "suspects", 0, -1)
        for one in suspects:
            if (task := self.get(one.decode())) is not None:
                found[task.api] += 1
        return {api: count for api, count in found.items() if count}

    def notices(self, limit: int, lease_s: float) -> list[Notice]:
        """Take who is to be told now."""
        found = self._run(scripts.NOTICES, limit, lease_s)
        return [
            Notice(url.decode(), int(tries), self._known(one.decode()), self.result(one.decode()))
            for one, url, tries in found
        ]

    def told(self, task_id: str, tries: int, again_s: float | None) -> None:
        """Say what became of a try."""
        self._run(scripts.TOLD, task_id, tries, "" if again_s is None else again_s)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _run(self, text: str, *arguments: Any) -> Any:
        script = self._scripts.get(text)
        if script is None:
            script = self._scripts[text] = self._client.register_script(scripts.PRELUDE + text)
        return script(keys=[self._prefix], args=[self._limits.retention_s, *arguments])


def _task(found: Any) -> Task | None:
    if not found:
        return None
    one = {name.decode(): value.decode("utf-8", "replace") for name, value in found.items()}
    status = one["status"]

    def moment(name: str) -> float | None:
        return float(one[name]) if name in one else None

    return Task(
        id=one["id"],
        api=one["api"],
        status=status,
        number=int(one.get("number", 0)),
        request_id=one.get("request_id", ""),
        created=float(one["created"]),
        started=moment("started"),
        finished=moment("finished"),
        expires=moment("due") if status in OVER else None,
        runs=int(one.get("runs", 0)),
        result_status=int(one.get("result_status", 0)),
        code=one.get("code", ""),
    )
