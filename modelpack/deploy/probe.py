"""Finds out, from outside, whether a deployment does its work.

    GET /readyz ──200──► GET /openapi.json ──version──► POST each api's example ──► healthy
        │ not yet: ask the target whether it is still alive, wait, again

The same probe is used for every target.  It sends only examples that the service itself names, and
calls a deployment unhealthy only for what is its own fault: an answer of the 5xx kind or none.  An
example that the service refuses (4xx) is noted.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from modelpack.client.openapi import ABSENT, json_calls
from modelpack.deploy.spec import DeploymentSpec
from modelpack.deploy.state import CRASHES_TO_FAIL, State, Status
from modelpack.errors import DeployError

_MOST_BYTES = 8 * 1024 * 1024
_ASK_EVERY_S = 0.1
_STATUS_EVERY_S = 0.5
_READY_CALL_S = 2.0
_MOST_SAID = 120
_PREDICT_CALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as an argument, so that tests need not wait."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back from a service."""

    status: int
    body: bytes


class Fetch(Protocol):
    """Makes one HTTP call; raises OSError when there is no answer."""

    def __call__(self, url: str, *, body: bytes | None = None, timeout_s: float) -> Answer:
        """POST the JSON ``body``, or GET when there is none."""


class _KeepStatus(urllib.request.HTTPErrorProcessor):
    """Hands every status back as an answer: no redirects, no exceptions."""

    def http_response(self, request: object, response: Any) -> Any:  # noqa: ARG002
        return response

    https_response = http_response


def fetch(url: str, *, body: bytes | None = None, timeout_s: float) -> Answer:
    """Make one HTTP call; raises OSError when there is no answer.

    Loopback addresses are never asked through a proxy, whatever the environment says.
    """
    handlers: list[urllib.request.BaseHandler] = [_KeepStatus()]
    if _is_loopback(url):
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, data=body, method="GET" if body is None else "POST")  # noqa: S310
    if body is not None:
        request.add_header("content-type", "application/json")
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout_s) as response:
            # A stream may never end: what comes first tells whether it works.
            read = response.read1 if response.length is None else response.read
            return Answer(response.status, read(_MOST_BYTES))
    except http.client.HTTPException as cause:
        raise OSError(f"not an HTTP answer: {type(cause).__name__}") from cause


def is_ready(url: str | None, *, timeout_s: float = 1.0, ask: Fetch = fetch) -> bool:
    """Return whether ``/readyz`` says 200 right now."""
    if url is None:
        return False
    try:
        return ask(f"{url}/readyz", timeout_s=timeout_s).status == 200
    except (OSError, ValueError):
        return False


@dataclass(frozen=True, slots=True)
class Probe:
    """Watches one deployment until it is healthy or the time is up."""

    read_status: Callable[[], Status]
    """Asks the target."""
    clock: Clock = Clock()
    ask: Fetch = fetch

    def wait_until_ready(self, timeout_s: float) -> Status:
        """Return its status once ``/readyz`` says 200.

        Raises DeployError as soon as it has ended, keeps ending, or the time is up.
        """
        deadline = self.clock.now() + timeout_s
        status = self.read_status()
        next_status = self.clock.now() + _STATUS_EVERY_S
        while True:
            self._refuse_dead(status)
            if self._is_up(status):
                return status
            if self.clock.now() >= deadline:
                raise DeployError(
                    f"'{status.name}' was not ready within {timeout_s:g} s{self._why_not(status)}",
                    hint="a slow model wants more 'deploy.ready_timeout_s'",
                )
            self.clock.sleep(_ASK_EVERY_S)
            if self.clock.now() >= next_status:
                status = self.read_status()
                next_status = self.clock.now() + _STATUS_EVERY_S

    def check_answers(self, spec: DeploymentSpec, url: str) -> list[str]:
        """Check the version and predict with every api's example; returns what is to be noted.

        Raises DeployError when something else answers there or a prediction fails.
        """
        try:
            answer = self.ask(f"{url}/openapi.json", timeout_s=_READY_CALL_S * 5)
            document = json.loads(answer.body) if answer.status == 200 else {}
        except (OSError, ValueError) as cause:
            raise DeployError(f"'{spec.name}' is ready but does not describe itself") from cause
        _check_version(spec, document)
        notes = []
        if answer.status not in (200, 404):  # 404: a service that has no description
            why = "so neither its version nor its examples were checked"
            notes.append(f"/openapi.json answers HTTP {answer.status}, {why}")
        for route, example in examples(document):
            try:
                body = json.dumps(example).encode()
                status = self.ask(url + route, body=body, timeout_s=_PREDICT_CALL_S).status
            except OSError as cause:
                raise DeployError(f"'{spec.name}' gives no answer at {route}: {cause}") from cause
            if status >= 500:
                raise DeployError(
                    f"'{spec.name}' answers its own example at {route} with HTTP {status}"
                )
            if status >= 400:
                notes.append(f"{route} refuses its own example with HTTP {status}")
        return notes

    def require_running(self) -> Status:
        """Return the status when it runs; raises DeployError when it does not any more."""
        status = self.read_status()
        self._refuse_dead(status)
        if status.state is not State.RUNNING:
            raise DeployError(f"'{status.name}' answered and is '{status.state}' now")
        return status

    def _is_up(self, status: Status) -> bool:
        if status.url is None:
            # Not to be reached from here: the engine's own health check decides.
            return status.state is State.RUNNING
        return is_ready(status.url, timeout_s=_READY_CALL_S, ask=self.ask)

    def _why_not(self, status: Status) -> str:
        """Return what ``/readyz`` says, else what the target says, behind a colon."""
        if status.url is None:
            return f": {status.detail}" if status.detail else ""
        try:
            answer = self.ask(f"{status.url}/readyz", timeout_s=_READY_CALL_S)
        except (OSError, ValueError):
            return ": nothing answers at /readyz"
        said = _said(answer)
        return f": /readyz says {answer.status}" + (f", {said}" if said else "")

    @staticmethod
    def _refuse_dead(status: Status) -> None:
        """Raise DeployError when waiting longer has no point."""
        why = f": {status.detail}" if status.detail else ""
        if status.state in (State.FAILED, State.STOPPED, State.ABSENT):
            raise DeployError(f"'{status.name}' has ended before it was ready{why}")
        if status.restarts >= CRASHES_TO_FAIL:
            raise DeployError(f"'{status.name}' keeps ending before it is ready{why}")


def examples(document: Any) -> list[tuple[str, object]]:
    """Return route and example body of every api that an OpenAPI document gives one for."""
    calls = json_calls(document)
    return [(call.route, call.example) for call in calls if call.example is not ABSENT]


def service_url(host: str, port: int) -> str:
    """Return the URL under which a service listening there is reached from the same machine."""
    if host in ("0.0.0.0", ""):  # noqa: S104
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check_version(spec: DeploymentSpec, document: Any) -> None:
    info = document.get("info", {}) if isinstance(document, dict) else {}
    version = info.get("version") if isinstance(info, dict) else None
    if version and version not in (spec.version, spec.bundle):
        raise DeployError(
            f"what answers for '{spec.name}' is version '{version}', not '{spec.version}'",
            hint="something else may listen at that port; choose another with '--port'",
        )


def _said(answer: Answer) -> str:
    """Return what a health page says in words, fit for a terminal."""
    try:
        document = json.loads(answer.body)
        said = str(document.get("detail") or document.get("status") or "")
    except (ValueError, AttributeError):
        return ""
    return "".join(c for c in said if c.isprintable())[:_MOST_SAID]


def _is_loopback(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
