"""The registry that images go to, in Azure Container Registry.

    look ──► Registry(id, host, location)
    push ──► image by our own builder and registry client, with a login of a few hours
    remove ──► the repository of a deployment, all its images

The caller's token of Azure is exchanged for a login of the registry; no password of it is asked for.
Facts: Azure Container Registry, "Azure AD authentication" (``/oauth2/exchange``; user 0000…) and its
REST API (``DELETE /acr/v1/NAME``), "Roles and permissions" (AcrPush, AcrDelete; Contributor may do both).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from modelpack.deploy import DeploymentSpec, Progress, one_line
from modelpack.deploy.pushing import FindLogin, Login, Push, image_tag, push_image
from modelpack.errors import CredentialsError, DeployError, NotFoundError
from modelpack_azure.account import Account
from modelpack_azure.arm import Calls
from modelpack_azure.naming import repository_of

KIND = "Microsoft.ContainerRegistry/registries"
API = "2023-07-01"
MAKE = "az acr create --sku Basic -g GROUP -n NAME"

_USER = "00000000-0000-0000-0000-000000000000"
_SCOPE = "https://containerregistry.azure.net/.default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A registry as Azure describes it."""

    id: str
    host: str
    location: str


@dataclass(frozen=True, slots=True)
class Registries:
    """The registries of one account."""

    calls: Calls
    account: Account
    push_image: Push = push_image  # for x86-64: what Azure's services run

    def look(self, path: str) -> Registry:
        """Return a registry that exists; raises NotFoundError when it does not."""
        found = self.calls.get(path, API)
        if found is None:
            raise NotFoundError(
                f"there is no container registry '{path.rpartition('/')[2]}' in "
                f"'{self.account.group}'",
                hint=f"'{MAKE}' makes one, or name another with '--option registry=NAME'",
            )
        host = str((found.get("properties") or {}).get("loginServer") or "")
        if not host:
            raise DeployError(f"the container registry '{path.rpartition('/')[2]}' has no address")
        return Registry(id=path, host=host, location=str(found.get("location")))

    def push(
        self, spec: DeploymentSpec, registry: Registry, *, base: str | None, progress: Progress
    ) -> str:
        """Build and push the image of a spec; return its reference by digest; safe to repeat."""
        where = f"{registry.host}/{repository_of(spec.name)}"
        reference = f"{where}:{image_tag(spec)}"
        pushed = self.push_image(
            spec, reference, find_login=self._login(registry), base=base, progress=progress
        )
        progress.note(f"{pushed.sent_bytes} bytes sent to '{where}'")
        return f"{where}@{pushed.digest}"

    def remove(self, name: str, registry: Registry) -> None:
        """Remove the images of a deployment; none there is no mistake."""
        repository = repository_of(name)
        refresh = _refresh_token(self.calls, registry.host)
        form = {
            "grant_type": "refresh_token",
            "service": registry.host,
            "scope": f"repository:{repository}:delete",
            "refresh_token": refresh,
        }
        token = _asked(self.calls, registry.host, "token", form, "access_token")
        status, body = self.calls.fetch(
            f"https://{registry.host}/acr/v1/{repository}", token=token, method="DELETE"
        )
        if status not in (200, 202, 404):
            raise DeployError(
                f"cannot remove the images of '{name}': {one_line(body.decode('utf-8', 'replace'))}",
                hint="the role AcrDelete is needed; everything else of it is gone",
            )

    def _login(self, registry: Registry) -> FindLogin:
        def find(host: str) -> Login | None:
            if host != registry.host:
                return None
            return login_of(self.calls, host)

        return find


def login_of(calls: Calls, host: str) -> Login:
    """Return the caller's login for a registry; raises CredentialsError."""
    return Login(_USER, _refresh_token(calls, host))


def _refresh_token(calls: Calls, host: str) -> str:
    form = {
        "grant_type": "access_token",
        "service": host,
        "access_token": calls.token(_SCOPE),
    }
    return _asked(calls, host, "exchange", form, "refresh_token")


def _asked(calls: Calls, host: str, word: str, form: dict[str, str], key: str) -> str:
    """Return a token that the registry gives for a form; it is in no message."""
    status, body = calls.fetch(f"https://{host}/oauth2/{word}", form=form)
    try:
        return str(json.loads(body)[key])
    except (ValueError, KeyError, TypeError) as cause:
        raise CredentialsError(
            f"the registry '{host}' lets nobody in: it answers HTTP {status}",
            hint="whoever deploys needs the role AcrPush there",
        ) from cause
