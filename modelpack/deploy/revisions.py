"""Which revisions of a deployment were found healthy, and when: what a rollback goes back to.

    deployments/NAME.history     JSON: one entry for each settled revision, oldest first (0600)

Kept on the machine that deployed, for targets whose engine keeps no history of its own; where one
does, the target says so in ``Target.history`` and this file is not asked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelpack import paths
from modelpack.deploy.records import write_private
from modelpack.deploy.spec import DeploymentSpec
from modelpack.deploy.state import Revision
from modelpack.errors import DeployError, NotFoundError, did_you_mean
from modelpack.manifest import canonical_json
from modelpack.tag import check_name

MOST = 50
"""How many revisions are kept; older ones are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    target: str
    since: str
    spec: DeploymentSpec

    def to_json(self) -> dict[str, Any]:
        return {"target": self.target, "since": self.since, "spec": self.spec.to_json()}


def keep(spec: DeploymentSpec, target: str) -> None:
    """Note that the revision was found healthy now; one that stood already is not noted again."""
    entries = _read(spec.name)
    if entries and entries[-1].target == target and entries[-1].spec.revision == spec.revision:
        return
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    entries = [*entries, _Entry(target=target, since=now, spec=spec)][-MOST:]
    value = [entry.to_json() for entry in entries]
    write_private(_file(spec.name), canonical_json(value))


def kept(name: str, target: str) -> tuple[Revision, ...]:
    """Return the revisions that were noted for that target, oldest first; raises TagError."""
    return tuple(
        Revision(
            deployment=name,
            id=entry.spec.revision,
            bundle=entry.spec.bundle,
            target=target,
            spec=entry.spec,
            since=entry.since,
        )
        for entry in _read(name)
        if entry.target == target
    )


def forget(name: str) -> None:
    """Drop the history of a deployment that is gone."""
    _file(name).unlink(missing_ok=True)


def pick(history: tuple[Revision, ...], current: str | None, wanted: str | None) -> DeploymentSpec:
    """Return the spec of the revision to go back to: the wanted one, or the last one that is not ``current``.

    ``wanted`` may be the beginning of an id, or the tag of a bundle.  Raises NotFoundError, and
    DeployError when what it was is not known any more.
    """
    if wanted is None:
        others = [one for one in history if one.id != current]
        if not others:
            raise NotFoundError("there is no revision to go back to", hint=_look(history))
        found = others[-1]
    else:
        named = [one for one in history if wanted in (one.id, one.bundle)]
        begun = [one for one in history if len(wanted) >= 4 and one.id.startswith(wanted)]
        ids = dict.fromkeys(one.id for one in named or begun)
        if len(ids) != 1:
            raise _not_found(history, wanted, list(ids))
        found = (named or begun)[-1]
    if found.spec is None:
        raise DeployError(
            f"what revision '{found.id}' was is not known any more",
            hint=f"deploy its bundle '{found.bundle}' again",
        )
    return found.spec


def _not_found(history: tuple[Revision, ...], wanted: str, several: list[str]) -> NotFoundError:
    if several:
        return NotFoundError(
            f"'{wanted}' may be any of the revisions {', '.join(several)}",
            hint="give the id of one of them",
        )
    near = did_you_mean(wanted, [one.id for one in history])
    hint = f"did you mean '{near}'?" if near else _look(history)
    return NotFoundError(f"no revision '{wanted}' is known", hint=hint)


def _look(history: tuple[Revision, ...]) -> str:
    name = history[-1].deployment if history else "NAME"
    return f"run 'modelpack deployments history {name}' to see what there was"


def _read(name: str) -> list[_Entry]:
    try:
        value = json.loads(_file(name).read_bytes())
        return [
            _Entry(
                target=str(one["target"]),
                since=str(one["since"]),
                spec=DeploymentSpec.from_json(one["spec"]),
            )
            for one in value
        ]
    except (FileNotFoundError, ValueError, KeyError, TypeError, DeployError):
        return []  # a damaged history is no history: what runs is not touched by it


def _file(name: str) -> Path:
    return paths.deployments_dir() / f"{check_name(name)}.history"
