"""The identity that a deployment runs as, and its right to pull the image.

    ensure ──► user-assigned identity modelpack-NAME ──► role AcrPull on the registry
    remove ──► the role, then the identity

With ``--option identity=…`` an identity that exists is used, and nothing of it is changed.

The role is given under a name made of both sides, so giving it twice is giving it once.

Facts: Azure RBAC, "Azure built-in roles" (AcrPull; Role Based Access Control Administrator may give it) and
"Assign Azure roles using the REST API" (the name is a GUID; ``principalType`` keeps a principal that is
not known everywhere yet from being refused).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from modelpack.errors import ConflictError, DeployError
from modelpack_azure.account import Account
from modelpack_azure.arm import Calls, Json
from modelpack_azure.naming import NAME_TAG, identity_name, tags_of

KIND = "Microsoft.ManagedIdentity/userAssignedIdentities"
API_IDENTITY = "2023-01-31"
API_ROLE = "2022-04-01"
ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"

_ROLES = "providers/Microsoft.Authorization/roleAssignments"
_DEFINITIONS = "providers/Microsoft.Authorization/roleDefinitions"


@dataclass(frozen=True, slots=True)
class Identities:
    """Identities of one account."""

    calls: Calls
    account: Account

    def path(self, name: str) -> str:
        """Return the path of the identity of a deployment: the given one, else our own."""
        given = self.account.options.get("identity")
        if given:
            return self.account.path_of("identity", given, KIND)
        return self.own(name)

    def own(self, name: str) -> str:
        """Return the path of the identity that we make."""
        return self.account.path(KIND, identity_name(name))

    @property
    def is_given(self) -> bool:
        """True when the identity is somebody else's."""
        return bool(self.account.options.get("identity"))

    def look(self, name: str) -> Json | None:
        """Return our identity, None when there is none; raises ConflictError for somebody else's."""
        found = self.calls.get(self.own(name), API_IDENTITY)
        if found is not None and (found.get("tags") or {}).get(NAME_TAG) != name:
            raise ConflictError(
                f"the identity '{identity_name(name)}' was not made by modelpack",
                hint="remove it, or give the deployment another '--name'",
            )
        return found

    def ensure(self, name: str, location: str, target: str, labels: dict[str, str]) -> Json:
        """Make the identity; safe to repeat."""
        self.look(name)
        body = {"location": location, "tags": tags_of(name, target, labels)}
        return self.calls.put(self.own(name), API_IDENTITY, body)

    def let_pull(self, name: str, registry_id: str) -> None:
        """Let our identity pull from a registry; safe to repeat."""
        found = self.look(name)
        principal = ((found or {}).get("properties") or {}).get("principalId")
        if not principal:
            raise DeployError(f"the identity '{identity_name(name)}' is gone")
        body = {
            "properties": {
                "roleDefinitionId": f"/subscriptions/{self.account.subscription}/{_DEFINITIONS}/{ACR_PULL}",
                "principalId": principal,
                "principalType": "ServicePrincipal",
            }
        }
        try:
            self.calls.put(self._role(name, registry_id), API_ROLE, body)
        except ConflictError as cause:
            if "RoleAssignmentExists" not in f"{cause.message}{cause.__cause__}":
                raise

    def remove(self, name: str, registry_id: str | None) -> None:
        """Take the right away and remove our identity; what is not there is no mistake."""
        if self.is_given or self.look(name) is None:
            return
        if registry_id is not None:
            self.calls.delete(self._role(name, registry_id), API_ROLE)
        self.calls.delete(self.own(name), API_IDENTITY)

    def _role(self, name: str, registry_id: str) -> str:
        both = f"{registry_id}|{self.own(name)}|AcrPull".lower()
        return f"{registry_id}/{_ROLES}/{uuid.uuid5(uuid.NAMESPACE_URL, both)}"
