"""Who we are to a cluster: by a kubeconfig, from inside a pod, or by what a cloud has told.

    from_kubeconfig(file, context) ──┐
    from_endpoint(Endpoint)        ──┴──► Connect ──► Client ──► calls with certificate and token

A kubeconfig is read by the ``kubernetes`` client, with all that stands there: certificates, tokens,
``exec`` plugins of clouds.  Without one, inside a pod, its service account is taken.  ``Endpoint`` is
for clouds that say where a cluster is and hand out tokens: address, authority, and a function that
gives a token, which is asked again before every call that comes later than a minute after the last.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelpack.errors import CredentialsError, ToolMissingError, UnreachableError, UsageError
from modelpack_kubernetes.cluster import Client, Connect, Response

_CONNECT_S = 10.0
_CONNECTION = re.compile(r"^[A-Za-z0-9_.<]+\(.*?\)(?:>)?: ")
_TOKEN_S = 60.0
_KUBECONFIG = "~/.kube/config"
_ANOTHER = "see 'kubectl config view', or name another: --option kubeconfig=FILE"
_IN_A_POD = "/var/run/secrets/kubernetes.io/serviceaccount/token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a cluster is, as its cloud says; what it holds is never shown."""

    server: str
    """``https://ADDRESS``."""
    authority: bytes | None = field(default=None, repr=False)
    """Certificate of who has signed the server's, as PEM; None: one of the system's."""
    token: Callable[[], str] | None = field(default=None, repr=False)
    """Gives a token that is good now."""


def from_endpoint(endpoint: Callable[[], Endpoint]) -> Connect:
    """Return what connects to a cluster that a cloud keeps; ``endpoint`` is asked at first use."""

    def connect() -> Client:
        where = endpoint()
        configuration = _library().client.Configuration()
        configuration.host = where.server.rstrip("/")
        configuration.ca_cert_data = None if where.authority is None else where.authority.decode()
        return _Client(_library().client.ApiClient(configuration), where.token)

    return connect


def from_kubeconfig(file: str | None = None, context: str | None = None) -> Connect:
    """Return what connects as a kubeconfig says.

    file     of the kubeconfig; None: ``$KUBECONFIG``, else ``~/.kube/config``, else the pod's own
    context  in it; None: its current one

    Connecting raises CredentialsError when there is none, UsageError for a context that is not in it.
    """

    def connect() -> Client:
        library = _library()
        if file is None and not _files(None) and Path(_IN_A_POD).exists():
            configuration = library.client.Configuration()
            library.config.load_incluster_config(client_configuration=configuration)
            return _Client(library.client.ApiClient(configuration), None)
        _require(file, context)
        try:
            # Named here: the library reads $KUBECONFIG only once, when it is imported.
            files = os.pathsep.join(map(str, _files(file)))
            api = library.config.new_client_from_config(config_file=files, context=context)
        except library.config.ConfigException as cause:
            raise CredentialsError(
                f"the kubeconfig cannot be used: {_first_line(cause)}",
                hint=_ANOTHER,
            ) from cause
        return _Client(api, None)

    return connect


def require_file(file: str | None) -> None:
    """Raise UsageError for a kubeconfig that was named and is none."""
    if file is None:
        return
    path = Path(file).expanduser()
    try:
        _read(path)
    except (OSError, ValueError) as cause:
        why = (
            (cause.strerror or "").lower() if isinstance(cause, OSError) else "it is no kubeconfig"
        )
        raise UsageError(
            f"option 'kubeconfig': '{file}' cannot be read: {why}",
            hint="name the file that 'kubectl config view' shows, or leave it out",
        ) from cause


def current(file: str | None, context: str | None) -> Mapping[str, str]:
    """Return context and namespace as a kubeconfig has them; nothing where it cannot be read.

    Only reads the file, without the client: it is done when a target is made.
    """
    for path in _files(file):
        with suppress(OSError, ValueError, AttributeError, TypeError):
            value = _read(path)
            name = context or value.get("current-context")
            for one in value.get("contexts") or ():
                if name and one.get("name") == name:
                    space = (one.get("context") or {}).get("namespace")
                    return {"context": name} | ({"namespace": space} if space else {})
    return {}


class _Client:
    """Calls by the ``kubernetes`` client's own pool, with its certificates and tokens."""

    def __init__(self, api: Any, token: Callable[[], str] | None) -> None:
        self._api, self._token = api, token
        self._known, self._until = "", 0.0

    @property
    def server(self) -> str:
        return str(self._api.configuration.host).rstrip("/")

    def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_s: float,
    ) -> Response:
        import urllib3

        timeout = urllib3.Timeout(connect=min(_CONNECT_S, timeout_s), read=timeout_s)
        try:
            found: Response = self._api.rest_client.pool_manager.request(
                method,
                url,
                headers={**headers, **self._who()},
                body=body,
                timeout=timeout,
                retries=False,
                preload_content=False,
                redirect=False,
            )
        except urllib3.exceptions.SSLError as cause:
            raise UnreachableError(
                f"the cluster at '{self.server}' shows a certificate that is not trusted",
                hint="see 'certificate-authority' of the cluster in your kubeconfig",
            ) from cause
        except urllib3.exceptions.HTTPError as cause:
            raise UnreachableError(
                f"the cluster at '{self.server}' does not answer: {_first_line(cause)}",
                hint="is it running, and is it reached from here? see 'kubectl cluster-info'",
            ) from cause
        return found

    def close(self) -> None:
        """Let go of the connections."""
        self._api.close()

    def _who(self) -> dict[str, str]:
        """Return the header that says who asks."""
        if self._token is not None:
            if time.monotonic() >= self._until:
                self._known, self._until = self._token(), time.monotonic() + _TOKEN_S
            return {"Authorization": f"Bearer {self._known}"}
        # An expired token is fetched anew in here, by an exec plugin for one.
        found = self._api.configuration.auth_settings().values()
        said = next((str(one["value"]) for one in found if one.get("in") == "header"), None)
        return {} if said is None else {"Authorization": said}


def _library() -> Any:
    try:
        import kubernetes
    except ImportError as cause:
        raise ToolMissingError(
            "the client of Kubernetes is not installed", hint="pip install modelpack-kubernetes"
        ) from cause
    return kubernetes


def _files(file: str | None) -> list[Path]:
    """Return the kubeconfigs that there are."""
    named = [file] if file else (os.environ.get("KUBECONFIG") or _KUBECONFIG).split(os.pathsep)
    return [path for one in named if one and (path := Path(one).expanduser()).is_file()]


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        value = yaml.load(path.read_bytes(), yaml.CSafeLoader)
    except yaml.YAMLError as cause:
        raise ValueError(f"'{path}' is no YAML") from cause
    if not isinstance(value, dict):
        raise ValueError(f"'{path}' holds no configuration")
    return value


def _require(file: str | None, context: str | None) -> None:
    """Raise for a kubeconfig that is not there, has no such context, or nobody to log in as."""
    files = _files(file)
    if not files:
        where = file or os.environ.get("KUBECONFIG") or _KUBECONFIG
        raise CredentialsError(
            f"there is no kubeconfig '{where}'",
            hint="log in to a cluster, or name the file: --option kubeconfig=FILE",
        )
    contexts: dict[str, Any] = {}
    users: dict[str, Any] = {}
    wanted = context
    for path in files:
        try:
            value = _read(path)
            contexts = _named(value, "contexts", "context") | contexts
            users = _named(value, "users", "user") | users
            wanted = wanted or value.get("current-context")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
            raise CredentialsError(
                f"the kubeconfig '{path}' cannot be read", hint=_ANOTHER
            ) from cause
    if context is not None and context not in contexts:
        raise UsageError(
            f"option 'context': the kubeconfig has no '{context}'",
            hint=f"it has {', '.join(contexts)}" if contexts else "it has none",
        )
    _require_user((contexts.get(str(wanted)) or {}).get("user"), users)


def _named(value: dict[str, Any], part: str, key: str) -> dict[str, Any]:
    return {str(one["name"]): one.get(key) for one in value.get(part) or ()}


def _require_user(name: object, users: Mapping[str, Any]) -> None:
    """Raise CredentialsError for a user that is not there, or whose login program is not.

    The library would go on as nobody, and say so in a log alone.
    """
    if name is None:
        return
    if name not in users:
        raise CredentialsError(f"the kubeconfig has no user '{name}'", hint=_ANOTHER)
    command = str(((users[str(name)] or {}).get("exec") or {}).get("command") or "")
    is_beside_the_file = "/" in command and not Path(command).is_absolute()
    if command and not is_beside_the_file and shutil.which(command) is None:
        raise CredentialsError(
            f"the kubeconfig logs in by the program '{command}', which is not here",
            hint="install it, or name another context: --option context=NAME",
        )


def _first_line(cause: BaseException) -> str:
    text = str(cause).strip().splitlines()
    # urllib3 begins with the connection as Python shows it.
    return _CONNECTION.sub("", text[0])[:200] if text else type(cause).__name__


def decoded(text: str) -> bytes:
    """Return a certificate that a cloud hands out in base64."""
    return base64.b64decode(text)
