"""A replica: makes the bundle ready on its node, and runs its server beside itself.

    __init__ ──► environment (once a node) ──► Child ──/readyz──► Serve counts the replica as running
    check_health ──► raises when the server is gone        __del__ ──► SIGTERM, and it drains

When the server ends by itself the replica's process ends with it: Serve sees that at once, sends its
requests to others and starts another one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import relay
from .child import Child
from .environment import ensure_environment

SECRET = "MODELPACK_SECRET_"  # noqa: S105  the beginning of names
"""Begins the variables of a worker that hold secrets of the service."""

PASSED_ON = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
)
"""Variables of the worker that the service sees; Ray says in them which GPUs it has."""


class Service:
    """What Serve makes a replica of."""

    def __init__(self, order: Mapping[str, Any], anchor: Any = None) -> None:
        """Start the server and wait until it is ready; raises RuntimeError that says why not."""
        del anchor  # it stays because the application has it
        home = Path.cwd()
        python = ensure_environment(home)
        self._child = Child(
            python,
            env=service_env(order, home / "bundle"),
            folder=home / "bundle",
            log_file=log_file(),
            grace_s=float(order["grace_s"]),
        )
        relay.CHILD = self._child

    def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Take another ``user_config``: what is written there is for whoever deploys."""

    def check_health(self) -> None:
        """Raise RuntimeError when the server is gone."""
        self._child.check()

    def __del__(self) -> None:
        """End the server; Serve has let the requests end before."""
        child = getattr(self, "_child", None)
        if child is not None:
            child.stop()


class Anchor:
    """A process that does nothing but run from the packages, so that the cluster keeps them.

    Ray drops a package as soon as no actor runs from it any more; a replica that is started later,
    after all are gone, would not find it.
    """

    def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Take another ``user_config``, and do nothing."""


def service_env(order: Mapping[str, Any], bundle: Path) -> dict[str, str]:
    """Return the whole environment of the server."""
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    env["ORT_DISABLE_TELEMETRY"] = "1"
    env["MODELPACK_LOG_FORMAT"] = "json"
    env |= {str(key): str(value) for key, value in order["env"].items()}
    for name in [one for one in os.environ if one.startswith(SECRET)]:
        env[name.removeprefix(SECRET)] = os.environ[name]
    env["MODELPACK_BUNDLE"] = str(bundle)
    env["MODELPACK_TAG"] = str(order["bundle"])
    env["MODELPACK_HOST"] = "127.0.0.1"
    env["MODELPACK_PORT"] = "0"
    return env


def log_file() -> Path | None:
    """Return where the server's lines go: beside the log that Serve keeps of this replica.

    ``serve/replica_X.log`` ──► ``serve/modelpack_X.log``, which Ray gives out by its API for logs.
    """
    import logging

    for handler in logging.getLogger("ray.serve").handlers:
        target = getattr(handler, "target", handler)  # Serve may keep lines in memory before it
        name = getattr(target, "baseFilename", None)
        if name:
            file = Path(name)
            return file.with_name("modelpack_" + file.name.removeprefix("replica_"))
    return None
