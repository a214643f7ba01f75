"""One app of Heroku: read it, and change one thing of it at a time.

Every change may be repeated.  Source: Heroku Platform API reference ("App", "Config Vars", "Formation",
"Dyno", "Release") and Heroku's own command line (``container:release``) for images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelpack.errors import ConflictError, NotFoundError, RefusedError
from modelpack_heroku.body import PROCESS, STACK, changed
from modelpack_heroku.calls import Heroku
from modelpack_heroku.kept import MARK
from modelpack_heroku.refusals import NameTakenError

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class App:
    """An app by its name."""

    heroku: Heroku
    name: str

    def read(self) -> Json | None:
        """Return it as Heroku describes it, None when there is none; raises ConflictError for others'."""
        try:
            found: Json = self._call("GET", "", "look for")
        except NotFoundError:
            return None
        except RefusedError as cause:
            raise ConflictError(
                f"the app '{self.name}' is somebody else's, or the key may not see it: "
                f"{cause.message.partition(': ')[2]}",
                hint="names are shared by all of Heroku: choose one with '--option app=NAME'",
            ) from cause
        return found

    def config(self) -> dict[str, str]:
        """Return its config vars."""
        return {str(k): str(v) for k, v in self._call("GET", "/config-vars", "read").items()}

    def web(self) -> Json | None:
        """Return quantity and size of its web process; None before its first release."""
        listed = self.heroku.listed(f"/apps/{self.name}/formation", f"read the app '{self.name}'")
        return next((one for one in listed if one.get("type") == PROCESS), None)

    def dynos(self) -> list[Json]:
        """Return its web dynos."""
        listed = self.heroku.listed(f"/apps/{self.name}/dynos", f"see the dynos of '{self.name}'")
        return [one for one in listed if one.get("type") == PROCESS]

    def newest(self) -> Json:
        """Return its newest release."""
        listed = self.heroku.listed(
            f"/apps/{self.name}/releases", f"read the releases of '{self.name}'", newest=1
        )
        return listed[0] if listed else {}

    def ensure(self, *, region: str | None, team: str | None) -> bool:
        """Make it unless it is there; return whether it was made."""
        found = self.read()
        if found is not None:
            _require_container(found, self.name)
            return False
        body = {"name": self.name, "stack": STACK, **({"region": region} if region else {})}
        path = "/apps"
        if team is not None:
            body, path = {**body, "team": team}, "/teams/apps"
        try:
            self.heroku.call("POST", path, f"make the app '{self.name}'", body)
        except NameTakenError:
            if self.read() is None:
                raise
            return False  # of an apply whose answer was lost
        return True

    def mark(self, own: Mapping[str, str]) -> None:
        """Write into an app whose it is, unless that stands there; nothing else of it changes."""
        config = self.config()
        if MARK not in config:
            self.configure(config, {**config, **own})

    def configure(self, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        """Bring its config vars from one state to another, in one release; nothing for no change."""
        body = changed(before, after)
        if body:
            self._call("PATCH", "/config-vars", "set the config vars of", body)

    def release(self, image_id: str) -> None:
        """Release an image that was pushed to it."""
        updates = [{"type": PROCESS, "docker_image": image_id}]
        self._call("PATCH", "/formation", "release the image to", {"updates": updates}, docker=True)

    def scale(self, quantity: int, size: str | None = None) -> None:
        """Let it have so many dynos, of a size."""
        update: dict[str, Any] = {"type": PROCESS, "quantity": quantity}
        if size is not None:
            update["size"] = size
        self._call("PATCH", "/formation", "scale", {"updates": [update]})

    def preboot(self, *, enabled: bool) -> None:
        """Let new dynos start before the old ones end, or not; nothing is started anew by it."""
        self._call("PATCH", "/features/preboot", "set preboot of", {"enabled": enabled})

    def back(self, release: str) -> None:
        """Go back to a release: its image and its config vars."""
        self._call("POST", "/releases", "go back to a release of", {"release": release})

    def delete(self) -> bool:
        """Remove it; returns whether it was there."""
        try:
            self._call("DELETE", "", "remove")
        except NotFoundError:
            return False
        return True

    def _call(self, method: str, below: str, what: str, body: Any = None, **more: bool) -> Any:
        path = f"/apps/{self.name}{below}"
        return self.heroku.call(method, path, f"{what} the app '{self.name}'", body, **more)


def _require_container(described: Json, name: str) -> None:
    """Raise ConflictError for an app that runs no images."""
    stacks = {str((described.get(key) or {}).get("name")) for key in ("stack", "build_stack")}
    if STACK not in stacks:
        raise ConflictError(
            f"the app '{name}' has a stack that runs no images",
            hint=f"heroku stack:set container --app {name}",
        )
