"""The client for ordinary programs: a call waits for its answer.

    Client(url) ── .predict(x=…) ──► value
                ── .call("predict", {"x": …}) ──► Answer: the value and the facts around it
                ── .chat(prompt=…) ──► Stream: piece by piece

One client serves any number of threads and keeps its connections between calls.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any, Self

from modelpack.client.calls import (
    Describe,
    Options,
    Pause,
    Reader,
    Send,
    Step,
    Steps,
    Value,
    deadline_of,
    unknown_api,
)
from modelpack.client.errors import CallError
from modelpack.client.opening import UNSET, changed, open_sync
from modelpack.client.place import Tls
from modelpack.client.reply import Answer, Reply
from modelpack.client.retry import Retry
from modelpack.client.schema import Api, Service


class Client:
    """Calls the apis of one server.

    url         ``http://``, ``https://``, ``grpc://`` or ``grpcs://``, a host and a port, and a path
                below which the server answers, if need be
    timeout_s   longest that a call takes with all its attempts; None: as long as it takes
    retry       how often a request is sent, and how long is waited in between
    headers     header fields of every request
    priority    ``high``, ``normal`` or ``low``: who is taken from the server's queue first
    verify, ca, cert, key   of TLS: whether the server's certificate is checked, the file with its
                authorities (default: those of the system), our certificate and its key
    form        ``auto``: arrays go as bytes; ``json``: everything goes as JSON

    What the server offers is read when it is first needed.  Its apis are methods: ``client.predict``,
    with signature and docstring; an api with the name of one of the methods below is called as
    ``client.apis["close"](…)``.  Raises UsageError for a URL or an option that is none.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float | None = 60.0,
        retry: Retry | None = None,
        headers: Mapping[str, str] | None = None,
        priority: str | None = None,
        verify: bool = True,
        ca: str | os.PathLike[str] | None = None,
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        form: str = "auto",
    ) -> None:
        self._options = Options(
            timeout_s=timeout_s, retry=retry or Retry(), headers=headers or {}, priority=priority
        )
        tls = Tls(verify=verify, ca=ca, cert=cert, key=key)
        self._wire, self._caller = open_sync(url, tls, form)
        self._lock = threading.Lock()

    @property
    def service(self) -> Service:
        """What the server offers: name, version, apis.  Raises CallError."""
        known = self._caller.service
        return known or self._described(Describe(None, self._options, deadline_of(self._options)))

    @property
    def apis(self) -> dict[str, RemoteApi]:
        """The apis by name, as functions.  Raises CallError."""
        return {name: RemoteApi(self, api) for name, api in self.service.apis.items()}

    def call(
        self,
        api: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = UNSET,
        retry: Retry = UNSET,
        headers: Mapping[str, str] = UNSET,
        priority: str | None = UNSET,
        request_id: str | None = UNSET,
    ) -> Answer:
        """Call an api by name; returns the value with the facts around it.

        Raises CallError: CallRefusedError for a request that does not fit, CallUnknownError for an
        api that there is not, CallOverloadedError, CallTimeoutError, CallLostError; TypeError for
        arguments that the api does not have.
        """
        options = changed(
            self._options,
            {
                "timeout_s": timeout_s,
                "retry": retry,
                "headers": headers,
                "priority": priority,
                "request_id": request_id,
            },
        )
        return self._called(api, (), arguments or {}, options)

    def reload(self) -> Service:
        """Read once more what the server offers.  Raises CallError."""
        return self._run(self._caller.described(self._options))

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> RemoteApi:
        if name.startswith("_"):
            raise AttributeError(name)
        service = self.service
        if name not in service.apis:
            service = self.reload()
        if name not in service.apis:
            unknown = unknown_api(service, name)
            raise AttributeError(f"{unknown.message}: {unknown.hint}")
        return RemoteApi(self, service.apis[name])

    def __dir__(self) -> list[str]:
        try:
            return [*super().__dir__(), *self.service.apis]
        except CallError:
            return [*super().__dir__()]

    def __repr__(self) -> str:
        return f"Client('{self._wire.place.url}')"

    def _called(
        self, name: str, positional: tuple[Any, ...], named: Mapping[str, Any], options: Options
    ) -> Answer:
        answer, reply, api = self._run(self._caller.called(name, positional, named, options))
        if reply.pieces is None:
            return answer
        return replace(answer, value=Stream(reply, self._caller.dialect.reader(api, reply)))

    def _run(self, steps: Steps[Value]) -> Value:
        """Do what a call asks for, step by step."""
        outcome: Reply | Service | None = None
        error: CallError | None = None
        while True:
            try:
                step = steps.send(outcome) if error is None else steps.throw(error)
            except StopIteration as done:
                value: Value = done.value
                return value
            outcome = error = None
            try:
                outcome = self._done(step)
            except CallError as failed:
                error = failed

    def _done(self, step: Step) -> Reply | Service | None:
        if isinstance(step, Send):
            return self._wire.send(step.request, step.deadline)
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        return self._described(step)

    def _described(self, step: Describe) -> Service:
        with self._lock:
            known = self._caller.service
            if known is not None and known is not step.known:
                return known
            return self._run(self._caller.described(step.options, step.deadline))


class RemoteApi:
    """One api of a server, as a function of its parameters."""

    def __init__(self, client: Client, api: Api) -> None:
        self._client = client
        self.api = api
        """What is known of it."""
        self.__name__ = self.__qualname__ = api.name
        self.__doc__ = api.doc
        self.__signature__ = api.signature

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Return what the api returns; for a stream, a Stream.  Raises as ``Client.call``."""
        client = self._client
        return client._called(self.api.name, arguments, named, client._options).value

    def __repr__(self) -> str:
        return f"{self.api.name}{self.api.signature}"


class Stream:
    """The pieces of a stream, as they come; to be read to its end, or closed.

    Raises CallError where the api fails on its way, after the pieces that came before.
    """

    def __init__(self, reply: Reply, reader: Reader) -> None:
        self._pieces = reply.pieces
        self._values = self._read(reader)

    def __iter__(self) -> Iterator[Any]:
        return self._values

    def __next__(self) -> Any:
        return next(self._values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Want no more of it: the server stops making it."""
        self._values.close()
        self._pieces.close()

    def _read(self, reader: Reader) -> Generator[Any, None, None]:
        try:
            for data in self._pieces:
                yield from reader.feed(data)
            yield from reader.end()
        finally:
            self._pieces.close()
