"""The private line between a supervisor and one of its workers: JSON, one message a line.

    tell("draining")                       a message
    ask("prepare", source=…) ──► value     a message with a number, answered under that number

It runs over a socket pair, so nobody else can speak on it, and it ends when either process does.  An
error that the other side raises on purpose comes out of ``ask`` as the same class, with its words.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson

from modelpack.errors import ModelpackError
from modelpack.server.observe.logs import log_internal

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Longest message; a side that gets a longer one hangs up."""

_ANSWER = "answer"

Message = Mapping[str, Any]
Handler = Callable[[Message], Awaitable[Any] | Any]
"""Gets the message; what it returns, or raises, is the answer to whoever asked."""


class ChannelClosedError(ModelpackError):
    """The process at the other end is gone."""

    code = "channel-closed"


class Channel:
    """One end of the line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use ``open``."""
        self._reader = reader
        self._writer = writer
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last = 0
        self.is_open = True

    @classmethod
    async def open(cls, end: socket.socket) -> Channel:
        """Take one end of a socket pair."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=MAX_LINE_BYTES))

    def tell(self, kind: str, /, **fields: object) -> None:
        """Send a message; nothing happens when nobody is there any more."""
        self._send({**fields, "type": kind})

    async def ask(self, kind: str, /, timeout_s: float | None = None, **fields: object) -> Any:
        """Send a message and return the answer.

        Raises ChannelClosedError, TimeoutError, or the ModelpackError that the other side raised.
        """
        if not self.is_open:
            raise ChannelClosedError("the process is gone")
        self._last += 1
        number = self._last
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._send({**fields, "type": kind, "id": number})
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        finally:
            self._asked.pop(number, None)

    async def serve(self, handlers: Mapping[str, Handler]) -> None:
        """Pass every message to the handler of its type; returns when the other side is gone."""
        try:
            while line := await self._reader.readline():
                self._take(orjson.loads(line), handlers)
        except (OSError, ValueError) as error:  # too long a line is a ValueError
            if not isinstance(error, OSError):
                log_internal(error)
        finally:
            self.close()

    async def finish(self) -> None:
        """Hang up when all that was said is on its way."""
        self.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    def close(self) -> None:
        """Hang up."""
        self.is_open = False
        with suppress(OSError, RuntimeError):
            self._writer.close()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(ChannelClosedError("the process is gone"))
        self._asked.clear()

    def _take(self, message: Message, handlers: Mapping[str, Handler]) -> None:
        if message["type"] == _ANSWER:
            answer = self._asked.get(message["id"])
            if answer is not None and not answer.done():
                if (error := message.get("error")) is not None:
                    answer.set_exception(error_from(error))
                else:
                    answer.set_result(message.get("value"))
            return
        task = asyncio.ensure_future(self._handle(message, handlers[message["type"]]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, message: Message, handler: Handler) -> None:
        answer: dict[str, object] = {"type": _ANSWER, "id": message.get("id")}
        try:
            value = handler(message)
            answer["value"] = await value if inspect.isawaitable(value) else value
        except ModelpackError as error:
            answer["error"] = error_to(error)
        except Exception as error:
            log_internal(error)
            answer["error"] = {"code": "failed", "message": f"{type(error).__name__}: {error}"}
        if "id" in message:
            self._send(answer)

    def _send(self, message: Mapping[str, object]) -> None:
        if self.is_open:
            with suppress(OSError, RuntimeError):
                self._writer.write(orjson.dumps(message) + b"\n")


def error_to(error: ModelpackError) -> dict[str, Any]:
    """Return an error as JSON values."""
    return {"code": error.code, "message": error.message, "hint": error.hint}


def error_from(plain: Mapping[str, Any]) -> ModelpackError:
    """Return the error that ``error_to`` was given, without its facts."""
    kind = _class_of(str(plain["code"]))
    error = kind.__new__(kind)
    ModelpackError.__init__(error, str(plain["message"]), hint=plain.get("hint"))
    return error


def _class_of(code: str) -> type[ModelpackError]:
    """Return the class of errors that has the code."""
    found: list[type[ModelpackError]] = [ModelpackError]
    for kind in found:  # grows as it goes
        if kind.code == code:
            return kind
        found += kind.__subclasses__()
    return ModelpackError
