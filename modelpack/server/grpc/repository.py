"""Triton's calls that change what is served, where the operator lets them (``repository_control``).

    RepositoryModelLoad    the service again from where it came, as a swap; answered once it serves
    RepositoryModelUnload  refused: the models of a service are one process

As over HTTP (``faces.oip.pages``).
"""

from __future__ import annotations

from modelpack.errors import ConflictError, ModelpackError
from modelpack.server.faces.catalog import Catalog
from modelpack.server.faces.oip.pages import refusal
from modelpack.server.grpc.calls import Asked, Unary
from modelpack.server.grpc.messages import Message, message, parsed
from modelpack.server.grpc.serving import Serving
from modelpack.server.problems import Problem, RefusedRequest

_LoadRequest = message("inference.RepositoryModelLoadRequest")
_UnloadRequest = message("inference.RepositoryModelUnloadRequest")


class Repository:
    """Both methods; their answers are empty messages."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.unary: dict[str, Unary] = {
            "RepositoryModelLoad": self.load,
            "RepositoryModelUnload": self.unload,
        }

    async def load(self, body: bytes, _asked: Asked) -> bytes:
        """Load the service anew."""
        request = parsed(_LoadRequest, body)
        catalog = self._allowed(request)
        if given := [n for n in request.parameters if n == "config" or n.startswith("file:")]:
            detail = f"the parameter '{given[0][:60]}' is not taken: files come from the service"
            raise RefusedRequest(refusal(f"{detail} that was built or is served"))
        try:
            await catalog.reload()
        except ModelpackError as error:
            status = 409 if isinstance(error, ConflictError) else 400
            problem = Problem(status, "not-loaded", "the service was not loaded", error.message)
            raise RefusedRequest(problem) from error
        return b""

    async def unload(self, body: bytes, _asked: Asked) -> bytes:
        """Say why not."""
        self._allowed(parsed(_UnloadRequest, body))
        detail = "the models of a service are one process: to take them away, stop the server"
        raise RefusedRequest(refusal(detail))

    def _allowed(self, request: Message) -> Catalog:
        """Return what is served, if it may be changed; raises RefusedRequest."""
        catalog = self._serving.catalog()
        if not self._serving.settings.repository_control:
            detail = "models are loaded only where the server was started with "
            raise RefusedRequest(refusal(f"{detail}MODELPACK_REPOSITORY_CONTROL=true", 403))
        catalog.model(request.model_name)
        return catalog
