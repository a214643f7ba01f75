"""The pages by which a client learns what a request may say: OpenAPI 3, one page a group and version.

Only what decides how a client behaves: that PATCH of each kind takes ``fieldValidation`` and ``dryRun``,
so that kubectl leaves the checks to the server.  Schemas of the objects are not there.  Source:
Kubernetes, "The Kubernetes API" (OpenAPI V3), and what kubectl asks for before it applies.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .kinds import Kind

_ASKED = ("dryRun", "fieldManager", "fieldValidation", "force")


def pages(kinds: Iterable[Kind], version: str) -> dict[str, Any]:
    """Return the pages by their paths."""
    kinds, found, index = list(kinds), {}, {}
    for api_version in dict.fromkeys(one.api_version for one in kinds):
        mine = [one for one in kinds if one.api_version == api_version]
        group = f"apis/{api_version}" if mine[0].group else f"api/{api_version}"
        index[group] = {"serverRelativeURL": f"/openapi/v3/{group}?hash={version}"}
        found[f"/openapi/v3/{group}"] = {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": f"v{version}"},
            "paths": {f"/{group}{_place(one)}": {"patch": _patch(one)} for one in mine},
        }
    return {**found, "/openapi/v3": {"paths": index}}


def _place(kind: Kind) -> str:
    space = "/namespaces/{namespace}" if kind.is_namespaced else ""
    return f"{space}/{kind.plural}/{{name}}"


def _patch(kind: Kind) -> dict[str, Any]:
    said = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    asked = [{"name": one, "in": "query", "schema": {"type": "string"}} for one in _ASKED]
    return {
        "operationId": f"patch{kind.kind}",
        "parameters": asked,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-group-version-kind": said,
    }
