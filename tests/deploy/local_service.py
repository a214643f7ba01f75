"""A real server below the local target, without an environment of its own, for tests under load.

RealService.target ──prepare──► python -m modelpack.server of these tests, over a real bundle
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import modelpack
from modelpack.config.settings import DeploySettings, Project
from modelpack.deploy import DeploymentSpec, Progress, rollout
from modelpack.deploy.command import Command
from modelpack.deploy.launch import service_env
from modelpack.deploy.local import LocalTarget
from modelpack.store import Entry, Store
from tests.deploy.traffic import SERVICE

CHECKOUT = Path(modelpack.__path__[0]).parent
FASTER = {"every_s": 0.5, "window_s": 1.0, "cooldown_up_s": 0.0, "cooldown_down_s": 1.0}
"""Knobs of the formula with which a test need not wait minutes."""


@dataclass
class RealService:
    """Bundles that differ in what is added, each made once."""

    folder: Path
    _made: dict[int, Entry] = field(default_factory=dict)

    @property
    def target(self) -> LocalTarget:
        """The local target, which runs them under the Python of the tests."""
        return LocalTarget(self._prepare)

    def spec(self, plus: int, **settings: Any) -> DeploymentSpec:
        """Return a spec of the service that adds ``plus``."""
        if plus not in self._made:
            self._made[plus] = self._make(plus)
        chosen = DeploySettings(**{"port": 0, "ready_timeout_s": 60.0, **settings})
        return rollout.spec_for(self._made[plus], chosen, name="traffic")

    @property
    def _store(self) -> Store:
        return Store(self.folder / "store")

    def _make(self, plus: int) -> Entry:
        from modelpack.archive import build_bundle
        from modelpack.sdk.loading import load_import_string

        root = self.folder / f"plus-{plus}"
        root.mkdir()
        (root / f"traffic_{plus}.py").write_text(SERVICE.format(plus=plus))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "path", list(sys.path))
            service = load_import_string(f"traffic_{plus}:Traffic", root)
            project = Project(root=root, name="traffic")
            return build_bundle(project, service, store=self._store).entry

    def _prepare(
        self,
        spec: DeploymentSpec,
        port: int,
        folder: Path,
        progress: Progress,
    ) -> Command:
        [entry] = [one for one in self._made.values() if one.digest == spec.digest]
        place = folder / entry.digest.replace(":", "-")
        bundle = self._store.unpack(entry, place, exist_ok=True)
        speaks = {} if spec.settings.grpc_port is None else {"MODELPACK_GRPC_PORT": "0"}
        return Command(
            argv=(sys.executable, "-P", "-u", "-m", "modelpack.server"),
            env={**service_env(spec, port, bundle), "PYTHONPATH": str(CHECKOUT), **speaks},
            grpc_port=spec.settings.grpc_port,
            cwd=str(bundle),
            grace_s=10.0,
        )
