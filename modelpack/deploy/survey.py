"""Finds deployments by name, wherever they run, and acts on them there.

    records (whom to ask, with which options) + every target of the catalog ──► deployments

A record comes first, because it knows the options; a deployment without one is found all the same,
as long as its target is here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modelpack.deploy import journal, records, revisions
from modelpack.deploy.catalog import Catalog, installed
from modelpack.deploy.plugin import Target
from modelpack.deploy.state import State, Status
from modelpack.errors import (
    ConflictError,
    CredentialsError,
    DeploymentNotFoundError,
    ModelpackError,
    ToolMissingError,
    UsageError,
    did_you_mean,
)
from modelpack.tag import check_name


@dataclass(frozen=True, slots=True)
class Listing:
    """All deployments that were found, and the targets that could not be asked."""

    statuses: tuple[Status, ...]
    problems: tuple[str, ...]


def list_deployments(catalog: Catalog | None = None) -> Listing:
    """Return the deployments of every target, by name.

    A target that cannot be asked is one line of ``problems`` and stops nothing else.  One whose
    tool or credentials are not on this machine, or that wants to be told more (a region), is only
    worth a line when a record says that it was used.
    """
    catalog = catalog or installed()
    statuses: dict[tuple[str, str, str], Status] = {}
    problems = list(catalog.problems)
    for name, options, is_recorded in _places(catalog):
        try:
            target = catalog.load(name).from_options(options)
            for status in target.list():
                statuses[(status.name, target.name, _key(target.whereabouts))] = status
        except (ToolMissingError, CredentialsError, UsageError) as error:
            if is_recorded:
                problems.append(f"target '{name}': {error.message}")
        except ModelpackError as error:
            problems.append(f"target '{name}': {error.message}")
    ordered = [statuses[key] for key in sorted(statuses)]
    return Listing(tuple(ordered), tuple(dict.fromkeys(problems)))


def find(name: str, *, at: str | None = None, catalog: Catalog | None = None) -> Target:
    """Return the target at which the deployment stands; ``at`` asks only the one of that name.

    Raises TagError, DeploymentNotFoundError, ConflictError when several targets have one of that
    name, and what a target raises that was used for it and cannot be asked now.
    """
    check_name(name)
    catalog = catalog or installed()
    record = records.read(name)
    if record is not None and at in (None, record.target):
        target = catalog.load(record.target).from_options(record.options)
        if target.status(name).state is not State.ABSENT:
            return target
    found: list[Target] = []
    unasked: dict[str, list[str]] = {}
    for place in [at] if at is not None else catalog.names:
        try:
            target = catalog.load(place).from_options({})
            if target.status(name).state is not State.ABSENT:
                found.append(target)
        except ModelpackError as error:
            if at is not None:
                raise
            unasked.setdefault(error.message, []).append(place)
    if not found:
        raise _not_found(name, at, unasked, catalog)
    if len(found) > 1:
        places = " and ".join(f"'{target.name}'" for target in found)
        raise ConflictError(
            f"there is a deployment '{name}' at {places}", hint="say which one with '--target'"
        )
    return found[0]


def destroy(name: str, *, at: str | None = None, catalog: Catalog | None = None) -> None:
    """Stop the deployment and leave nothing of it; raises what ``find`` raises."""
    check_name(name)
    with records.lock(name):
        records.sweep(name)
        try:
            target = find(name, at=at, catalog=catalog)
        except DeploymentNotFoundError:
            if at is None:
                _forget(name)  # it stands nowhere: what we remember is out of date
            raise
        with target.hold(name):
            target.destroy(name)
        record = records.read(name)
        if record is None or record.target == target.name:
            _forget(name)


def forget(name: str, *, catalog: Catalog | None = None) -> records.Record:
    """Drop what is remembered here of a deployment whose target is gone for good; return it.

    Nothing is removed anywhere else.  Raises TagError, DeploymentNotFoundError when nothing is
    remembered, ConflictError when the target answers and it stands there.
    """
    check_name(name)
    with records.lock(name):
        records.sweep(name)
        record = records.read(name)
        if record is None:
            raise DeploymentNotFoundError(
                f"nothing is remembered of a deployment '{name}'",
                hint="run 'modelpack deployments list' to see what stands",
            )
        if _stands(record, catalog or installed()):
            raise ConflictError(
                f"'{name}' stands at target '{record.target}', which answers",
                hint="leave '--forget' out, and it is removed there",
            )
        _forget(name)
    return record


def _stands(record: records.Record, catalog: Catalog) -> bool:
    """Return whether the target of a record answers that the deployment stands there."""
    try:
        target = catalog.load(record.target).from_options(record.options)
        return target.status(record.name).state is not State.ABSENT
    except ModelpackError:
        return False


def refuse_other_target(name: str, target: Target) -> None:
    """Raise ConflictError when a deployment of that name stands at another target."""
    record = records.read(name)
    if record is None or is_sent_to(record, target) or is_gone(record):
        return
    raise ConflictError(
        f"a deployment '{name}' stands already at target '{record.target}'",
        hint=f"run 'modelpack deployments destroy {name}' first, or give another '--name'",
    )


def is_sent_to(record: records.Record, target: Target) -> bool:
    """Return whether the record names this very target, with whichever other options."""
    if record.target != target.name:
        return False
    if dict(record.options) == dict(target.options):
        return True
    try:
        other = type(target).from_options(record.options)
    except ModelpackError:
        return False
    return dict(other.whereabouts) == dict(target.whereabouts)


def is_gone(record: records.Record, catalog: Catalog | None = None) -> bool:
    """Return whether the target of a record says that nothing stands there any more."""
    try:
        target = (catalog or installed()).load(record.target).from_options(record.options)
        return target.status(record.name).state is State.ABSENT
    except ModelpackError:
        return False


def _forget(name: str) -> None:
    records.forget(name)
    journal.forget(name)
    revisions.forget(name)


def _places(catalog: Catalog) -> Iterator[tuple[str, Mapping[str, str], bool]]:
    """Yield name, options, and whether a record names them, of every target to ask."""
    recorded = {(record.target, _key(record.options)) for record in records.all_records()}
    for name in sorted(set(catalog.names) | {name for name, _ in recorded}):
        was_used = any(used == name for used, _ in recorded)
        yield name, {}, was_used
        for used, options in sorted(recorded):
            if used == name and options != _key({}):
                yield name, json.loads(options), True


def _not_found(
    name: str, at: str | None, unasked: Mapping[str, list[str]], catalog: Catalog
) -> DeploymentNotFoundError:
    known = {status.name: status.target for status in list_deployments(catalog).statuses}
    near = did_you_mean(name, sorted(known))
    if name in known:
        hint = f"there is one at target '{known[name]}'"
    elif near:
        hint = f"did you mean '{near}'?"
    else:
        hint = "run 'modelpack deployments list' to see them"
    place = f" at target '{at}'" if at else ""
    return DeploymentNotFoundError(
        f"no deployment '{name}'{place}", hint="; ".join([hint, *_unasked(unasked)])
    )


def _unasked(places: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield who could not be asked, those that say the same together."""
    for why, names in places.items():
        quoted = ", ".join(f"'{name}'" for name in names)
        yield f"target{'s' if len(names) > 1 else ''} {quoted} could not be asked: {why}"


def _key(options: Mapping[str, str]) -> str:
    return json.dumps(dict(options), sort_keys=True)
