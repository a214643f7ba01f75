"""Google's APIs behind two calls, each checked before it leaves.

    Session(project, region, endpoint, credentials)
        call("run.projects.locations.services.get", what, name=…) ──strict──► Google ──► JSON
        finish(service, operation, what) ──asked until it is done──► what came of it
        ask(service, path, body) ──► status and body, for what is no JSON of an API

Google's client library makes the requests, from the discovery documents that it brings along.
Credentials, project and region are those of every Google tool (application default credentials,
environment); what is given here stands above them.  What always holds:

* reading is tried again; what changes something only when Google says that it did nothing
  (429, 503: Google's AIP-194);
* a connection is closed with its call: there are few, and none is left open.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from modelpack.deploy import Answer, Clock
from modelpack.errors import CredentialsError, DeployError, ModelpackError
from modelpack_gcp import options, strict
from modelpack_gcp.id_tokens import identity_token
from modelpack_gcp.once import http
from modelpack_gcp.refusals import refusal, said

Json = dict[str, Any]

SCOPE = "https://www.googleapis.com/auth/cloud-platform"

_ATTEMPTS = 5
_TIMEOUT_S = 60.0
_POLL_S = (1.0, 10.0)
_SAFE = frozenset({429, 503})
_SAFE_TO_READ = _SAFE | {500, 502, 504}
_REGIONS = ("GOOGLE_CLOUD_REGION", "CLOUDSDK_RUN_REGION", "CLOUDSDK_COMPUTE_REGION")
_PROJECTS = ("GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT")


class Google(Protocol):
    """Who asks Google: a ``Session``."""

    clock: Clock

    @property
    def project(self) -> str:
        """Id of the project; raises CredentialsError when nothing says it."""

    @property
    def region(self) -> str:
        """Name of the region; raises CredentialsError when nothing says it."""

    @property
    def endpoint(self) -> str | None:
        """The one address of all services, such as that of a stand-in; None: Google itself."""

    def call(self, method: str, what: str, body: Any = None, **parameters: Any) -> Json:
        """Call a method of an API; raises in our words what keeps it from ``what``."""

    def finish(
        self, service: str, operation: Mapping[str, Any], what: str, timeout_s: float
    ) -> Json:
        """Wait until a long operation is done, and return its response."""

    def ask(self, service: str, path: str, body: bytes, timeout_s: float) -> Answer:
        """POST bytes to a path of an API; raises OSError when there is no answer."""

    def token(self) -> str | None:
        """Return an access token; None without credentials."""

    def identity(self, audience: str) -> str | None:
        """Return an identity token for a service at an address; None where there can be none."""


@dataclass(slots=True, kw_only=True)
class Session:
    """Where Google is and who asks."""

    project_id: str | None = None
    region_name: str | None = None
    endpoint: str | None = None
    credentials: str | None = None
    """A file with credentials; ``none``: nobody in particular asks; None: those of this machine."""
    clock: Clock = field(default_factory=Clock)

    _found: Any = field(default=None, init=False, repr=False)
    _clients: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def project(self) -> str:
        """Id of the project: given, of the environment, or of the credentials."""
        named = self.project_id or _first(_PROJECTS)
        if named is None:
            with said("find the Google project"):
                named = self._credentials()[1]
        if named is None:
            raise CredentialsError(
                "no Google project is set", hint="set GOOGLE_CLOUD_PROJECT or '--option project=ID'"
            )
        return str(named)

    @property
    def region(self) -> str:
        """Name of the region: given, or of the environment; raises UsageError for what is none."""
        if self.region_name is not None:
            return self.region_name
        for name in _REGIONS:
            if said := os.environ.get(name):
                return options.region(name, said)
        raise CredentialsError(
            "no Google region is set", hint="set deploy.region or '--option region=NAME'"
        )

    def call(self, method: str, what: str, body: Any = None, **parameters: Any) -> Json:
        """Call a method of an API and return its answer.

        Raises UsageError for what the discovery document does not allow, before anything is sent,
        and what ``refusals`` says.
        """
        strict.require(method, parameters, body)
        is_reading = strict.method(method)["httpMethod"] == "GET" or method.endswith(".list")
        for attempt in range(_ATTEMPTS):
            with said(what):
                try:
                    return self._once(method, body, parameters)
                except (OSError, ValueError) as cause:  # HttpError is neither
                    if not is_reading or isinstance(cause, ValueError) or _is_last(attempt):
                        raise
                except Exception as cause:
                    status = int(getattr(getattr(cause, "resp", None), "status", 0))
                    again = _SAFE_TO_READ if is_reading else _SAFE
                    if status not in again or _is_last(attempt):
                        raise
            self.clock.sleep(2.0**attempt)
        raise AssertionError(what)

    def finish(
        self, service: str, operation: Mapping[str, Any], what: str, timeout_s: float = 1800.0
    ) -> Json:
        """Wait until an operation is done; raises what it ended with, DeployError for the time."""
        deadline, pause = self.clock.now() + timeout_s, _POLL_S[0]
        while not operation.get("done"):
            if self.clock.now() >= deadline:
                raise DeployError(
                    f"Google did not {what} within {timeout_s:g} s",
                    hint="it may still do it: plan again to see what stands",
                )
            self.clock.sleep(pause)
            pause = min(pause * 1.5, _POLL_S[1])
            name = str(operation["name"])
            operation = self.call(_getter(service, name), f"see how far it is to {what}", name=name)
        if error := operation.get("error"):
            raise refusal(error, what)
        return dict(operation.get("response") or {})

    def ask(self, service: str, path: str, body: bytes, timeout_s: float) -> Answer:
        """POST JSON to a path of an API as it is, with our token; raises OSError without an answer."""
        head = {"content-type": "application/json", "connection": "close"}
        try:
            with said("ask the service"):
                url = self._root(service) + path
                sender = self._http(timeout_s)
                response, content = sender.request(url, "POST", body=body, headers=head)
        except ModelpackError as cause:
            raise OSError(cause.message) from cause
        return Answer(int(response.status), bytes(content))

    def token(self) -> str | None:
        """Return an access token; None when nobody in particular asks."""
        with said("get an access token"):
            from google_auth_httplib2 import Request

            found = self._credentials()[0]
            if not hasattr(found, "refresh") or self.credentials == "none":
                return None
            if not found.valid:
                found.refresh(Request(self._plain(_TIMEOUT_S)))
            return str(found.token)

    def identity(self, audience: str) -> str | None:
        """Return an identity token for a service at an address; None where there can be none."""
        if self.credentials == "none":
            return None
        with said("get an identity token"):
            from google_auth_httplib2 import Request

            request = Request(self._plain(_TIMEOUT_S))
            return identity_token(self._credentials()[0], request, audience)

    def require(self) -> None:
        """Raise ToolMissingError when Google's client is not there."""
        strict.document("run")

    def use(self, region: str) -> None:
        """Ask another region from now on."""
        if region != self.region_name:
            self.region_name = region
            self._clients.clear()

    def _once(self, method: str, body: Any, parameters: Mapping[str, Any]) -> Json:
        way, _, last = method.rpartition(".")
        found = self._client(way)
        more = {} if body is None else {"body": body}
        request = getattr(found, last)(**parameters, **more)
        request.headers["connection"] = "close"
        answer = request.execute(http=self._http(_TIMEOUT_S))
        return dict(answer or {})

    def _client(self, way: str) -> Any:
        """Return what has the methods below a resource, such as ``run.projects.locations``.

        Kept, for Google's library makes all its methods anew each time that a resource is named.
        """
        if way not in self._clients:
            above, _, word = way.rpartition(".")
            made = getattr(self._client(above), word)() if above else self._build(word)
            self._clients[way] = made
        return self._clients[way]

    def _build(self, service: str) -> Any:
        from googleapiclient.discovery import build_from_document

        # It warns of what we say in words of our own.
        logging.getLogger("googleapiclient.http").setLevel(logging.ERROR)
        return build_from_document(
            dict(strict.document(service)),
            http=self._plain(_TIMEOUT_S),
            client_options={"api_endpoint": self._root(service)},
        )

    def _root(self, service: str) -> str:
        """Return the address of a service, with a slash at its end."""
        if self.endpoint is not None:
            return self.endpoint.rstrip("/") + "/"
        if service == "aiplatform":  # asked in its region alone
            return f"https://{self.region}-aiplatform.googleapis.com/"
        return str(strict.document(service)["rootUrl"])

    def _http(self, timeout_s: float) -> Any:
        from google_auth_httplib2 import AuthorizedHttp

        return AuthorizedHttp(self._credentials()[0], http=self._plain(timeout_s))

    def _plain(self, timeout_s: float) -> Any:
        """Return a way to make requests; to this machine itself never through a proxy."""
        direct = {"proxy_info": None} if self.endpoint is not None else {}
        return http(timeout_s, **direct)

    def _credentials(self) -> tuple[Any, str | None]:
        """Return who asks, and the project that this one belongs to; raises what google-auth does."""
        if self._found is None:
            import google.auth
            from google.auth.credentials import AnonymousCredentials

            if self.credentials == "none":
                self._found = (AnonymousCredentials(), None)  # type: ignore[no-untyped-call]
            elif self.credentials is not None:
                with warnings.catch_warnings():
                    # It warns of files that others send, and this one is named by who deploys.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    self._found = google.auth.load_credentials_from_file(  # type: ignore[no-untyped-call]
                        self.credentials, scopes=[SCOPE]
                    )
            else:
                self._found = google.auth.default(scopes=[SCOPE])
        found: tuple[Any, str | None] = self._found
        return found


_OPERATION = re.compile(
    r"projects/[^/]+/locations/[^/]+/(?:(endpoints|models)/[^/]+/)?operations/[^/]+"
)


def _getter(service: str, name: str) -> str:
    """Return the method that reads an operation, by the resource that it is below."""
    found = _OPERATION.fullmatch(name)
    if found is None:
        raise DeployError(f"'{name[:80]}' is not the name of an operation of Google")
    below = f"{found[1]}." if found[1] else ""
    return f"{service}.projects.locations.{below}operations.get"


def _is_last(attempt: int) -> bool:
    return attempt + 1 >= _ATTEMPTS


def _first(variables: tuple[str, ...]) -> str | None:
    return next((value for name in variables if (value := os.environ.get(name))), None)
