"""Azure Resource Manager: one client for every service, and what it raises in our words.

    Arm ──get("…/containerApps/digits", api)──► JSON, None for 404
        ──put / patch / post / delete─────────► sent, waited for, JSON of the end

The pipeline is the one that Azure's own management clients are made of (azure-mgmt-core): credentials,
retries with ``Retry-After``, and ``ARMPolling``, which follows ``Azure-AsyncOperation``, ``Location``
and ``provisioningState`` until a call that takes long has ended.  Bodies are plain JSON, held against
the services' own models before they are sent (``strict``).

No token ever goes to an address that is not https; at an ``endpoint`` on this machine none is asked for.

Facts: Azure Resource Manager, "Track asynchronous Azure operations" and "Throttling Resource Manager
requests".
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from modelpack.errors import ToolMissingError, UsageError
from modelpack_azure.refusals import is_under_way, refuse, said

PUBLIC = "https://management.azure.com"

_MANAGERS = ("management.chinacloudapi.cn", "management.usgovcloudapi.net")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_POLL_S = 5.0
_RETRIES = 5
_UNDER_WAY_S = 1800.0
"""Longest that a change waits for one before it to end."""

Json = dict[str, Any]


class Calls(Protocol):
    """Who makes calls of Azure Resource Manager: ``Arm``, or a cover around it in a test."""

    @property
    def endpoint(self) -> str | None:
        """Address of an emulator; None: Azure itself."""

    def get(self, path: str, api: str) -> Json | None:
        """Return what stands at a path, None when nothing does."""

    def pages(self, path: str, api: str) -> list[Json]:
        """Return what a list holds, all pages of it; nothing when it is not there."""

    def put(self, path: str, api: str, body: Json) -> Json:
        """Make or replace what stands at a path, and wait until that has ended."""

    def patch(self, path: str, api: str, body: Json) -> Json:
        """Change a part of what stands at a path, and wait until that has ended."""

    def post(self, path: str, api: str, body: Json | None = None) -> Json:
        """Do something with what stands at a path, and wait until that has ended."""

    def delete(self, path: str, api: str) -> None:
        """Remove what stands at a path, and wait until it is gone; nothing there is no mistake."""

    def token(self, scope: str) -> str:
        """Return a token of the caller for another service of Azure, such as a registry."""

    def fetch(
        self,
        url: str,
        *,
        token: str | None = None,
        form: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
        timeout_s: float = 60.0,
    ) -> tuple[int, bytes]:
        """Call another service of Azure; return status and body."""


@dataclass(slots=True, kw_only=True)
class Arm:
    """Calls of one cloud; made once, for all threads."""

    endpoint: str | None = None
    """Address of an emulator; None: Azure's public cloud."""
    credential: Any = None
    """What gives tokens (``get_token``); None: what azure-identity finds by itself."""
    poll_s: float = _POLL_S
    """How often a call that takes long is asked after, where Azure does not say."""
    retries: int = _RETRIES

    _client: Any = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.endpoint is None:
            return
        parts = urlsplit(self.endpoint)
        is_here = parts.hostname in _LOOPBACK
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(
                f"option 'endpoint': '{self.endpoint[:80]}' is no address",
                hint="write https://HOST, or http://127.0.0.1:PORT",
            )
        if parts.scheme == "http" and not is_here:
            raise UsageError(
                f"option 'endpoint': '{self.endpoint[:80]}' would get tokens in the clear",
                hint="http is for this machine alone; write https://",
            )

    @property
    def is_local(self) -> bool:
        """True at an emulator on this machine, which gets no token of Azure."""
        return self.endpoint is not None and self.endpoint.startswith("http://")

    def require(self) -> None:
        """Raise ToolMissingError when Azure's libraries are not there."""
        try:
            import azure.core
            import azure.identity
            import azure.mgmt.core  # noqa: F401
        except ImportError as cause:
            raise ToolMissingError(
                "the libraries of Azure are not installed",
                hint="pip install azure-identity azure-mgmt-core",
            ) from cause

    def get(self, path: str, api: str) -> Json | None:
        """Return what stands at a path, None when nothing does."""
        with said(f"read '{_short(path)}'"):
            answer = self._send("GET", path, api)
            return None if answer.http_response.status_code == 404 else _json(answer.http_response)

    def pages(self, path: str, api: str) -> list[Json]:
        """Return what a list holds, all pages of it; nothing when it is not there."""
        found: list[Json] = []
        where: str | None = path
        while where is not None:
            with said(f"list '{_short(path)}'"):
                answer = self._send("GET", where, api).http_response
                page = {} if answer.status_code == 404 else _json(answer)
            found += page.get("value") or []
            where = page.get("nextLink") or None
        return found

    def put(self, path: str, api: str, body: Json) -> Json:
        """Make or replace what stands at a path, and wait until that has ended."""
        return self._change("PUT", path, api, body, f"make '{_short(path)}'")

    def patch(self, path: str, api: str, body: Json) -> Json:
        """Change a part of what stands at a path, and wait until that has ended."""
        return self._change("PATCH", path, api, body, f"change '{_short(path)}'")

    def post(self, path: str, api: str, body: Json | None = None) -> Json:
        """Do something with what stands at a path, and wait until that has ended."""
        return self._change("POST", path, api, body, f"ask for '{_short(path)}'")

    def delete(self, path: str, api: str) -> None:
        """Remove what stands at a path, and wait until it is gone; nothing there is no mistake."""
        with said(f"remove '{_short(path)}'"):
            answer = self._undisturbed("DELETE", path, api)
            if answer.http_response.status_code != 404:
                self._wait(answer)

    def token(self, scope: str) -> str:
        """Return a token of the caller for another service of Azure, such as a registry."""
        if self.is_local:
            return "none"
        with said("log in to Azure"):
            return str(self._credential().get_token(scope).token)

    def fetch(
        self,
        url: str,
        *,
        token: str | None = None,
        form: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
        timeout_s: float = 60.0,
    ) -> tuple[int, bytes]:
        """Call another service of Azure; return status and body.

        At an emulator on this machine the call goes there, with the ``Host`` of the URL.
        """
        from azure.core.rest import HttpRequest

        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        where = urlsplit(url)
        if self.endpoint is not None and self.is_local:
            url = self.endpoint.rstrip("/") + url.removeprefix(f"{where.scheme}://{where.netloc}")
            sent["Host"] = where.netloc
        has_body = form is not None or body is not None
        request = HttpRequest(
            method or ("POST" if has_body else "GET"),
            url,
            headers=sent,
            data=None if form is None else dict(form),
            content=body,
        )
        with said(f"call '{where.netloc}'"):
            from azure.core import PipelineClient
            from azure.core.pipeline.policies import RetryPolicy

            policies = [RetryPolicy(retry_total=0 if has_body else 2)]
            client: Any = PipelineClient(url, policies=policies)
            with client:
                answer = client.send_request(
                    request, connection_timeout=timeout_s, read_timeout=timeout_s
                )
                return int(answer.status_code), bytes(answer.read())

    def close(self) -> None:
        """Let go of open connections; the next call makes new ones."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    # Inside.

    def _change(self, method: str, path: str, api: str, body: Json | None, what: str) -> Json:
        with said(what):
            answer = self._undisturbed(method, path, api, body)
            if answer.http_response.status_code == 404:
                refuse(answer.http_response)
            return self._wait(answer)

    def _undisturbed(self, method: str, path: str, api: str, body: Json | None = None) -> Any:
        """Send a change once what is under way there has ended, such as one whose answer was lost."""
        from azure.core.exceptions import HttpResponseError

        deadline = time.monotonic() + _UNDER_WAY_S
        while True:
            try:
                return self._send(method, path, api, body)
            except HttpResponseError as error:
                if not is_under_way(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(self.poll_s)

    def _send(self, method: str, path: str, api: str, body: Json | None = None) -> Any:
        """Return the pipeline's answer; raises azure.core's HttpResponseError but for 404."""
        from azure.core.rest import HttpRequest

        client = self._pipeline()
        is_whole = "://" in path  # the link of a next page has its version in it
        url = path if is_whole else (self.endpoint or PUBLIC).rstrip("/") + path
        request = HttpRequest(
            method, url, params=None if is_whole else {"api-version": api}, json=body
        )
        answer = client.send_request(request, _return_pipeline_response=True)
        if answer.http_response.status_code >= 400 and answer.http_response.status_code != 404:
            refuse(answer.http_response)
        return answer

    def _wait(self, answer: Any) -> Json:
        """Follow a call that takes long to its end, and return what it says then."""
        from azure.core.polling import LROPoller
        from azure.mgmt.core.polling.arm_polling import ARMPolling

        polling: Any = ARMPolling(
            self.poll_s, lro_options={"final-state-via": "azure-async-operation"}
        )
        end = LROPoller(
            self._pipeline(), answer, lambda last: _json(last.http_response), polling
        ).result()
        return end if isinstance(end, dict) else {}

    def _pipeline(self) -> Any:
        with self._lock:
            if self._client is None:
                self.require()
                self._client = self._make()
            return self._client

    def _make(self) -> Any:
        from azure.core.pipeline import policies
        from azure.mgmt.core import ARMPipelineClient
        from azure.mgmt.core.policies import (
            ARMAutoResourceProviderRegistrationPolicy,
            ARMChallengeAuthenticationPolicy,
        )

        base = (self.endpoint or PUBLIC).rstrip("/")
        found: list[Any] = [
            policies.RequestIdPolicy(),
            policies.UserAgentPolicy("modelpack"),
            ARMAutoResourceProviderRegistrationPolicy(),
            policies.RedirectPolicy(),
            policies.RetryPolicy(retry_total=self.retries),
        ]
        if not self.is_local:
            # The other clouds of Azure have their own managers; anything else is in front of this one.
            manager = base if urlsplit(base).hostname in _MANAGERS else PUBLIC
            found.append(
                ARMChallengeAuthenticationPolicy(self._credential(), f"{manager}/.default")
            )
        # Policies in place of a pipeline: nothing of ours is logged but what we say.
        return ARMPipelineClient(base_url=base, policies=found)

    def _credential(self) -> Any:
        if self.credential is None:
            from azure.identity import DefaultAzureCredential

            # It tells every place where it found nothing; we say what to do instead.
            logging.getLogger("azure.identity").setLevel(logging.CRITICAL)
            self.credential = DefaultAzureCredential()
        return self.credential


def _json(response: Any) -> Json:
    """Return the object in a body, empty for none; raises DecodeError for anything else."""
    from azure.core.exceptions import DecodeError

    data = response.read()
    if not data or response.status_code == 204:
        return {}
    try:
        value = response.json()
    except ValueError as cause:
        raise DecodeError("not JSON", response=response) from cause
    if not isinstance(value, dict):
        raise DecodeError("not an object", response=response)
    return value


def _short(path: str) -> str:
    """Return the last words of a path: kind and name of what stands there."""
    words = [word for word in urlsplit(path).path.split("/") if word]
    return "/".join(words[-2:])
