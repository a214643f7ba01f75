"""The model of a deployment in the Model Registry of Vertex AI, and its versions.

    ensure(body) ──alias of the content──► the version that is there, or an upload
    keep(aliases) ──► every other version goes;  remove ──► all of it

A version has an alias made of its content, so that an upload whose answer was lost is found again, and
none is made twice.  Source: Vertex AI API v1, ``models`` (``versionAliases``, ``deleteVersion``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from modelpack.errors import ConflictError, NotFoundError
from modelpack_gcp import vertex_body
from modelpack_gcp.modes import Place
from modelpack_gcp.refusals import NotNowError
from modelpack_gcp.wanted import refuse_foreign, resource_id

_API = "aiplatform.projects.locations.models"
_UPLOAD_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The one model of a deployment."""

    place: Place
    name: str
    """Of the deployment."""

    @property
    def full(self) -> str:
        """Name of the model."""
        return f"{self.place.parent}/models/{resource_id(self.name)}"

    def ensure(self, body: Mapping[str, Any]) -> str:
        """Return the name of the version with that content, uploaded if it is not there."""
        self._rest()
        alias = vertex_body.alias_of(body)
        found = self._get(f"{self.full}@{alias}")
        if found is None:
            model = {**body, "versionAliases": [alias]}
            is_first = self._get(self.full) is None
            more = {"modelId": resource_id(self.name)} if is_first else {"parentModel": self.full}
            what = f"upload a version of the model '{resource_id(self.name)}'"
            operation = self.place.google.call(
                f"{_API}.upload", what, {"model": model, **more}, parent=self.place.parent
            )
            self.place.google.finish("aiplatform", operation, what, _UPLOAD_S)
            found = self._get(f"{self.full}@{alias}")
        version = (found or {}).get("versionId")
        return f"{self.full}@{version}" if version else f"{self.full}@{alias}"

    def versions(self) -> list[str]:
        """Return ``MODEL@VERSION`` of every version, oldest first."""
        return [f"{resource_id(self.name)}@{one['versionId']}" for one in self._list()]

    def keep(self, aliases: Collection[str]) -> None:
        """Delete every version that has none of the aliases; what is deployed still goes later."""
        for one in self._list():
            if set(aliases).isdisjoint(one.get("versionAliases") or ()):
                what = f"delete version {one['versionId']} of '{resource_id(self.name)}'"
                with suppress(NotFoundError, NotNowError):
                    operation = self.place.google.call(
                        f"{_API}.deleteVersion", what, name=f"{self.full}@{one['versionId']}"
                    )
                    self.place.google.finish("aiplatform", operation, what, _UPLOAD_S)

    def remove(self) -> bool:
        """Delete the model with its versions; returns whether there was one."""
        self._rest()
        if self._get(self.full) is None:
            return False
        what = f"delete the model '{resource_id(self.name)}'"
        with suppress(NotFoundError):
            operation = self.place.google.call(f"{_API}.delete", what, name=self.full)
            self.place.google.finish("aiplatform", operation, what, _UPLOAD_S)
        return True

    def _get(self, name: str) -> Mapping[str, Any] | None:
        """Return a version, None when there is none; raises ConflictError for somebody else's."""
        what = f"look for the model '{resource_id(self.name)}'"
        try:
            found = self.place.google.call(f"{_API}.get", what, name=name)
        except NotFoundError:
            return None
        refuse_foreign(f"model '{resource_id(self.name)}'", self.name, found.get("labels"))
        return found

    def _list(self) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        asked: dict[str, Any] = {"name": self.full}
        while True:
            try:
                page = self.place.google.call(f"{_API}.listVersions", "list versions", **asked)
            except NotFoundError:
                return found
            found += page.get("models") or ()
            if not page.get("nextPageToken"):
                return found
            asked["pageToken"] = page["nextPageToken"]

    def _rest(self) -> None:
        """Wait for uploads and deletions that are under way, however they end."""
        asked = {"name": self.full, "filter": "done=false"}
        try:
            found = self.place.google.call(
                f"{_API}.operations.list", "see what is under way at the model", **asked
            )
        except NotFoundError:
            return
        for one in found.get("operations") or ():
            if not one.get("done"):
                with suppress(NotNowError, ConflictError, NotFoundError):
                    what = "end what is under way at the model"
                    self.place.google.finish("aiplatform", one, what, _UPLOAD_S)
