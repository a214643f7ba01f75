"""SageMaker's multi-model endpoints: models that are loaded and unloaded while the server runs.

POST   /models                    {"model_name": ..., "url": FOLDER}: load it; 409 it is loaded, 507 no
                                  memory is left, upon which the platform unloads another one and
                                  asks again
GET    /models[?next_page_token=] which are loaded, a page at a time
GET    /models/NAME               one of them; 404
DELETE /models/NAME               unload it: its calls end, then its memory is free; 404
POST   /models/NAME/invoke        as ``/invocations``

Names are opaque.  A folder holds what ``model.tar.gz`` was made of: a bundle, unpacked, or one ONNX
file.  A bundle was locked with the packages that this image has, or it is refused; its code runs in a
process of its own, so that two bundles may each have a ``service.py``, and nothing of it stays.

Guests belong to the process and not to the version of the service that it serves: they stay where
they are while another version takes its place.

Source: SageMaker developer guide, "Custom containers contract for multi-model endpoints".
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

from starlette.types import ASGIApp

from modelpack.config.settings import ServerSettings
from modelpack.errors import ConflictError, ModelpackError, UserCodeError
from modelpack.frameworks.machine import memory_bytes
from modelpack.frameworks.source import Source
from modelpack.sdk.reimport import taken_out
from modelpack.sdk.service import ServiceSpec
from modelpack.server.endpoint import Endpoint
from modelpack.server.faces.catalog import DEFAULT_API
from modelpack.server.life.contract import source_in
from modelpack.server.life.fitting import weights_of
from modelpack.server.life.swapping import check_swap
from modelpack.server.observe.logs import event
from modelpack.server.observe.watching import Watching
from modelpack.server.runners.place import Place, open_place

PAGE = 100
"""Most models on one page of the list."""

LOADED = 2.0
"""Memory of a loaded model, in sizes of its files."""

PROCESS_BYTES = 100_000_000
"""What a process needs before it has a model."""

SHARE = 0.9
"""Share of the memory that models and the server may take."""

_STEP_S = 0.01
_LET_GO_S = 0.1
"""How long the threads of a model may take to let go of it, before it is collected."""


class NoMemoryError(Exception):
    """A model does not fit beside those that are loaded (507)."""


class LoadedAlreadyError(Exception):
    """A model of that name is loaded, or being loaded (409)."""


class NoModelError(Exception):
    """A folder holds nothing that can be served, or nothing that this image can."""


@dataclass(slots=True)
class Guest:
    """A model that was loaded while the server ran."""

    name: str
    url: str
    spec: ServiceSpec
    endpoints: list[Endpoint]
    place: Place
    need_bytes: int
    door: ASGIApp | None = None
    """Answers its calls, from the first one on."""

    @property
    def default(self) -> Endpoint:
        """The api that is asked."""
        named = (one for one in self.endpoints if one.api.name == DEFAULT_API)
        return next(named, self.endpoints[0])


class Guests:
    """The models that are loaded."""

    def __init__(self, settings: ServerSettings, folders: Callable[[], Iterable[Path]]) -> None:
        """``folders`` gives those that the service's own modules are imported from."""
        self.importing = asyncio.Lock()
        """Held while modules are imported: what is imported stands in one place."""
        self.watching: Watching | None = None
        """What is done with their requests; None: as the settings say, without a payload log."""
        self._has_others = settings.workers > 1
        self._settings = replace(settings, replicas=1, workers=1)
        self._folders = folders
        self._by_name: dict[str, Guest] = {}
        self._coming: dict[str, int] = {}
        """What those need that are being loaded."""

    @property
    def endpoints(self) -> list[Endpoint]:
        """The apis of all of them."""
        return [one for guest in self._by_name.values() for one in guest.endpoints]

    def get(self, name: str) -> Guest | None:
        """Return a model, if it is loaded."""
        return self._by_name.get(name)

    def page(self, token: str) -> tuple[list[Guest], str | None]:
        """Return a page of models, and the token of the next one; None: it is the last."""
        start = int(token) if token.isascii() and token.isdigit() and len(token) < 10 else 0
        guests = list(self._by_name.values())
        end = start + PAGE
        return guests[start:end], str(end) if end < len(guests) else None

    async def load(self, name: str, url: str) -> Guest:
        """Load a model from a folder.

        Raises LoadedAlreadyError, NoMemoryError, NoModelError (nothing is there, or it was locked
        with other packages), and ModelpackError that says what kept it from being loaded.
        """
        if self._has_others:
            raise NoModelError("models are loaded only where there is one worker")
        if name in self._by_name or name in self._coming:
            raise LoadedAlreadyError(f"'{name}' is loaded already")
        source = await asyncio.to_thread(source_in, Path(url))
        if source is None:
            raise NoModelError(_why_none(Path(url)))
        need = int(weights_of(source) * LOADED)
        need += PROCESS_BYTES if source.kind == "bundle" else 0
        self._make_sure_of(need)
        self._coming[name] = need
        try:
            guest = await self._loaded(name, url, source, need)
        finally:
            del self._coming[name]
        self._by_name[name] = guest
        event("model-loaded", model=name, service=guest.spec.name, runs=guest.place.kind)
        return guest

    async def unload(self, name: str, limit_s: float) -> None:
        """Let the calls of a model end, and then the model; its memory is free afterwards.

        Whoever asks holds nothing of it: that would keep the model.
        """
        await self._end(self._by_name.pop(name), limit_s)
        await asyncio.sleep(_LET_GO_S)
        await asyncio.to_thread(_give_back)
        event("model-unloaded", model=name)

    async def _end(self, guest: Guest, limit_s: float) -> None:
        end = monotonic() + limit_s
        while any(one.stats.in_flight for one in guest.endpoints) and monotonic() < end:
            await asyncio.sleep(_STEP_S)
        for one in guest.endpoints:
            one.close()
        await guest.place.close()
        for model in guest.spec.models.values():
            model.forget()

    def refuse(self) -> None:
        """Answer 503 to what is left; may be called again."""
        for one in self.endpoints:
            one.close()

    async def close(self) -> bool:
        """End all of them; returns False when a shut-down hook failed."""
        is_clean = True
        self.refuse()
        for guest in list(self._by_name.values()):
            is_clean = await guest.place.close() and is_clean
        self._by_name.clear()
        return is_clean

    def _make_sure_of(self, need: int) -> None:
        """Raise NoMemoryError when there is no room for so many bytes."""
        taken = sum(one.need_bytes for one in self._by_name.values()) + sum(self._coming.values())
        room = memory_bytes() * SHARE - PROCESS_BYTES
        if taken + need > room:
            raise NoMemoryError(
                f"no memory for {need / 1e6:.0f} MB more, {taken / 1e6:.0f} are used"
            )

    async def _loaded(self, name: str, url: str, source: Source, need: int) -> Guest:
        settings = self._settings
        if source.kind == "bundle":
            settings = replace(settings, runner="process")
            await asyncio.to_thread(_check_lock, source)
        async with self.importing:
            spec = await asyncio.to_thread(_open_apart, source, list(self._folders()))
        endpoints = [Endpoint(api, settings, self.watching) for api in spec.apis]
        for one in endpoints:
            one.stats.name = f"{name}.{one.api.name}"  # in metrics and logs
            if one.payloads is not None:
                one.payloads.name(spec.name, name, "")
        try:
            place = await open_place(spec, endpoints, settings, source=source)
        except ModelpackError:
            raise
        except MemoryError as cause:
            raise NoMemoryError(f"no memory to load '{name}'") from cause
        except Exception as cause:
            text = f"the model does not load: {type(cause).__name__}: {cause}"
            raise UserCodeError(text) from cause
        return Guest(name, url, spec, endpoints, place, need)


def _why_none(folder: Path) -> str:
    """Say why a folder holds no model.

    Archives are read where bundles are made, which no image can: every byte of one is checked
    against a store.
    """
    packed = next(iter(sorted(folder.glob("*.modelpack"))), None)
    if packed is not None:
        return (
            f"'{packed.name[:100]}' is a packed bundle, and only unpacked ones are loaded: import it, "
            "'modelpack verify TAG --unpack DIR', and pack what is in DIR/bundle"
        )
    return f"there is no bundle and no single ONNX file in '{str(folder)[:200]}'"


def _check_lock(source: Source) -> None:
    """Raise NoModelError when a bundle needs other packages than those that are here."""
    if own := os.environ.get("MODELPACK_BUNDLE"):
        try:
            check_swap(Source("bundle", "", own), source)
        except ConflictError:
            text = "the bundle was locked with other packages than this image has"
            raise NoModelError(text) from None


def _open_apart(source: Source, others: Iterable[Path]) -> ServiceSpec:
    """Import a service without leaving its modules where others look for theirs."""
    if source.code_folder is None:
        return source.open()
    before = taken_out([source.code_folder, *others])
    try:
        return source.open()
    finally:
        before.put_back()


def _give_back() -> None:
    """Give memory that is free back to the machine, where the allocator can."""
    import ctypes

    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def described(guest: Guest) -> dict[str, Any]:
    """Return what the list says of a model."""
    return {"modelName": guest.name, "modelUrl": guest.url}
