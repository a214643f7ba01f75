"""The pages by which a client learns which kinds there are."""

from __future__ import annotations

import functools
from typing import Any

from . import openapi
from .kinds import Kind
from .schema import VERSION

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


@functools.cache
def pages(kinds: tuple[Kind, ...]) -> dict[str, Any]:
    """Return the pages by their paths."""
    major, minor, _ = VERSION.split(".")
    found: dict[str, Any] = {
        "/version": {"major": major, "minor": minor, "gitVersion": f"v{VERSION}"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/api/v1": _resources("v1", [one for one in kinds if not one.group]),
    }
    groups = []
    for group in dict.fromkeys(one.group for one in kinds if one.group):
        mine = [one for one in kinds if one.group == group]
        versions = [
            {"groupVersion": f"{group}/{version}", "version": version}
            for version in dict.fromkeys(one.version for one in mine)
        ]
        named = {"name": group, "versions": versions, "preferredVersion": versions[0]}
        groups.append(named)
        found[f"/apis/{group}"] = {"kind": "APIGroup", "apiVersion": "v1", **named}
        for version in versions:
            there = [one for one in mine if one.version == version["version"]]
            path = version["groupVersion"]
            found[f"/apis/{path}"] = _resources(path, there)
    found["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    return found | openapi.pages(kinds, VERSION)


def _resources(group_version: str, kinds: list[Kind]) -> dict[str, Any]:
    resources = []
    for one in kinds:
        said = {
            "name": one.plural,
            "singularName": one.kind.lower(),
            "namespaced": one.is_namespaced,
            "kind": one.kind,
            "verbs": _VERBS,
            "shortNames": list(one.short),
        }
        resources.append(said)
        if one.has_status:
            resources.append({**said, "name": f"{one.plural}/status", "shortNames": []})
        if one.kind == "Deployment":
            scale = {"name": f"{one.plural}/scale", "kind": "Scale", "shortNames": []}
            more = {"group": "autoscaling", "version": "v1"}
            resources.append({**said, **scale, **more, "verbs": ["get", "patch", "update"]})
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    }
