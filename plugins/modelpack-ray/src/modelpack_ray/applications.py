"""Changes some applications of a cluster and leaves all others as they are.

    read ──► everybody's configs ──edit──► PUT all of them ──► read again: is it so? ─┬─ yes: done
      ▲                                                                              └─ no: another writer
      └──────────────────────────────────────── once more ◄───────────────────────────────┘

Serve's API takes the whole list at once and deletes what is not in it, and it has no condition under which
a list is taken.  So: the time between read and PUT is as short as it can be, one writer of this machine
waits for the other, and whoever wrote looks whether it is still so.  Two of us who write at the same
moment both see in the end what they wanted.  An application whose variables the dashboard has masked is
never sent back.

Source: Ray's documentation, "Serve REST API" (PUT ``/api/serve/applications/``: declarative).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from modelpack.deploy import Clock, alone
from modelpack.errors import ConflictError
from modelpack_ray.rest import Json

Configs = Mapping[str, Json]
"""Applications by name, each as Serve takes it."""

Edit = Callable[[Configs], Configs]
"""Gives the applications as they shall be; the same again for what is so already."""

_TRIES = 8
_MASK = "<redacted>"


class Asked(Protocol):
    """What is asked of a dashboard: ``rest.Dashboard``, or a stand-in."""

    @property
    def address(self) -> str:
        """Where it is."""

    def applications(self) -> Json:
        """Return what Serve says."""

    def put_applications(self, config: Mapping[str, Any]) -> None:
        """Make these the applications."""


@dataclass(frozen=True, slots=True)
class Applications:
    """The applications of one cluster."""

    dashboard: Asked
    clock: Clock = field(default_factory=Clock)
    start_with: Mapping[str, Any] = field(default_factory=dict)
    """``http_options`` for a cluster on which Serve does not run yet."""

    def read(self) -> Json:
        """Return what Serve says of all of them."""
        return self.dashboard.applications()

    def change(self, edit: Edit) -> None:
        """Bring the applications to what ``edit`` makes of them, whoever else writes.

        Raises ConflictError when others write all the time, or a config may not be sent back.
        """
        with _alone(self.dashboard.address):
            for turn in range(_TRIES):
                found = self.read()
                before = configs_of(found)
                after = edit(before)
                if after == before:
                    return
                self.dashboard.put_applications(self._request(found, after))
                if self._is_so(edit):
                    return
                self.clock.sleep(0.1 * (turn + 1))
        raise ConflictError(
            "somebody else changes the applications of this Ray cluster all the time",
            hint="deploy again when they are done",
        )

    def _is_so(self, edit: Edit) -> bool:
        now = configs_of(self.read())
        return edit(now) == now

    def _request(self, found: Json, configs: Configs) -> Json:
        for name, config in configs.items():
            if _MASK in _variables(config):
                raise ConflictError(
                    f"the dashboard masks the variables of the application '{name}'",
                    hint="unset RAY_DASHBOARD_REDACT_RUNTIME_ENV there: "
                    "they would be lost when the applications are sent back",
                )
        request: Json = {"applications": list(configs.values())}
        if found.get("target_capacity") is not None:
            request["target_capacity"] = found["target_capacity"]
        for key in ("http_options", "grpc_options", "proxy_location"):
            if found.get(key):
                request[key] = found[key]
        if "http_options" not in request and self.start_with:
            request["http_options"] = dict(self.start_with)
        return request


def configs_of(found: Json) -> dict[str, Json]:
    """Return the applications that were made by a list, as they were sent.

    Those of ``serve.run`` and those that are being deleted are in no list.
    """
    return {
        name: one["deployed_app_config"]
        for name, one in found["applications"].items()
        if one.get("deployed_app_config") and one.get("status") != "DELETING"
    }


def _variables(config: Json) -> list[str]:
    actors = [one.get("ray_actor_options") or {} for one in config.get("deployments") or ()]
    envs = [one.get("runtime_env") or {} for one in (config, *actors)]
    return [str(value) for env in envs for value in (env.get("env_vars") or {}).values()]


def _alone(address: str) -> AbstractContextManager[None]:
    """Wait until no other process of this machine and user changes the same cluster."""
    return alone(f"ray {address}")
