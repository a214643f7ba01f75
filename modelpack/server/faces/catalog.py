"""What one version of the service offers, in the words of other servers: models and versions.

    api ``predict`` of the service digits ──► model ``digits``        the service's own name
    api ``explain``                       ──► model ``digits.explain``

The model with the service's own name is the api called ``predict``, else the first one.  A version
is the bundle's, or ``1`` where there is no bundle; contracts with numbers use ``number``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

from modelpack.config.settings import ServerSettings
from modelpack.sdk.api import ApiSpec
from modelpack.sdk.service import ServiceSpec
from modelpack.server.endpoint import Endpoint
from modelpack.server.faces.tensors import InputPort, OutputPorts, inputs_of
from modelpack.server.observe.snapshot import Gather
from modelpack.server.problems import Problem, RefusedRequest
from modelpack.server.web.ready import Ready

if TYPE_CHECKING:
    from modelpack.server.faces.multi_model import Guests

DEFAULT_API = "predict"


@dataclass(frozen=True, slots=True)
class Served:
    """A model as other contracts see it: one api."""

    name: str
    endpoint: Endpoint
    inputs: tuple[InputPort, ...]
    outputs: OutputPorts

    @property
    def api(self) -> ApiSpec:
        """The api that it is."""
        return self.endpoint.api


class Catalog:
    """The models of one version of the service."""

    def __init__(
        self,
        spec: ServiceSpec,
        endpoints: Sequence[Endpoint],
        ready: Ready,
        settings: ServerSettings,
        *,
        tag: str,
        number: int,
        gather: Gather | None = None,
        guests: Guests | None = None,
    ) -> None:
        """``number`` counts the versions that this process has had, from 1.

        ``gather`` asks all parts of the server for their counts; None: there is nobody to ask.
        ``guests`` are models that are loaded beside the service; None: none can be.
        """
        self.service = spec.name
        self.doc = spec.doc
        self.tag = tag
        self.version = tag.partition(":")[2] or "1"
        self.number = number
        self.gather = gather
        self.guests = guests
        self.settings = settings
        self.endpoints = tuple(endpoints)
        self.began = time()
        """When it was made, in seconds since 1970."""
        self._ready = ready
        first = next((e for e in endpoints if e.api.name == DEFAULT_API), endpoints[0])
        self.default = _served(spec.name, first)
        """The model that a request means which names none."""
        others = [_served(f"{spec.name}.{e.api.name}", e) for e in endpoints if e is not first]
        self.models = {one.name: one for one in (self.default, *others)}
        """By name; the default one first."""

    def problem(self) -> Problem | None:
        """Return why no request is taken at this moment; None: requests are taken."""
        return self._ready.problem()

    async def reload(self) -> None:
        """Serve the service anew, from where it came; raises what keeps it from that."""
        await self._ready.reload()

    def api(self, name: str) -> Served | None:
        """Return the model that is the api of that name."""
        return next((one for one in self.models.values() if one.api.name == name), None)

    def model(self, name: str, version: str = "") -> Served:
        """Return a model; ``version`` "": whichever is served.  Raises RefusedRequest (404)."""
        found = self.models.get(name)
        if found is None:
            raise RefusedRequest(unknown_model(name, tuple(self.models)))
        if version and version not in (self.version, str(self.number)):
            raise RefusedRequest(unknown_version(name, version, self.version))
        return found


def unknown_model(name: str, known: Sequence[str]) -> Problem:
    """No model has that name."""
    detail = f"no model '{name[:100]}', only {', '.join(known[:10])}"
    return Problem(404, "unknown-model", "unknown model", detail)


def unknown_version(name: str, version: str, served: str) -> Problem:
    """The model is there, but not in that version."""
    detail = f"'{name}' is served in version {served}, not in '{version[:100]}'"
    return Problem(404, "unknown-version", "unknown version", detail)


def _served(name: str, endpoint: Endpoint) -> Served:
    api = endpoint.api
    return Served(name, endpoint, inputs_of(api, lambda: endpoint.decodes), OutputPorts(api))
