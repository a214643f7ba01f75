"""Whose Azure it is, and the paths of what stands there.

    --option subscription=… resource_group=… registry=… ──► Account ──path("Microsoft.App/…", "digits")──►
        /subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.App/containerApps/digits

The subscription is that of the option, of ``AZURE_SUBSCRIPTION_ID``, or the default one of the Azure
CLI.  Things that exist already are named by their name in the resource group, or by their whole id; what
can be neither is refused before anybody is asked.

Rules of names: Azure, "Naming rules and restrictions for Azure resources".
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelpack.errors import CredentialsError, UsageError

DEFAULT_GROUP = "modelpack"

OF_THE_CALLER = frozenset({"subscription", "resource_group", "endpoint", "base"})
"""Options that say who asks, where and how an image is made; all others decide what runs."""

_ID = re.compile(r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+/[^/]+/[^/]+.*", re.I)
_SUBSCRIPTION = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_GROUP = re.compile(r"[\w(][\w.()-]{0,88}[\w()-]|[\w()]", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_REGISTRY = re.compile(r"[A-Za-z0-9]{5,50}")
_REGISTRIES = ".azurecr.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A subscription and a resource group of it, as the options say."""

    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def subscription(self) -> str:
        """Id of the subscription; raises CredentialsError when nothing says it, UsageError."""
        found = self.options.get("subscription") or os.environ.get("AZURE_SUBSCRIPTION_ID")
        found = found or _of_the_cli()
        if not found:
            raise CredentialsError(
                "no Azure subscription is set",
                hint="set AZURE_SUBSCRIPTION_ID or '--option subscription=ID', or run 'az login'",
            )
        if not _SUBSCRIPTION.fullmatch(found):
            raise UsageError(
                f"'{found[:60]}' is no id of a subscription",
                hint="'az account show --query id' prints it",
            )
        return found

    @property
    def group(self) -> str:
        """Name of the resource group; raises UsageError for one that cannot be."""
        found = self.options.get("resource_group") or DEFAULT_GROUP
        if not _GROUP.fullmatch(found):
            raise UsageError(
                f"option 'resource_group': '{found[:60]}' is no name of one",
                hint="letters, digits and '-_.()', 90 at most; 'az group list -o table' has yours",
            )
        return found

    def check(self) -> None:
        """Raise UsageError for an option that says in vain whose Azure it is; asks nobody."""
        _ = self.group
        if "subscription" in self.options:
            _ = self.subscription

    @property
    def root(self) -> str:
        """Path of the resource group."""
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"

    def path(self, kind: str, name: str) -> str:
        """Return the path of a resource of the group; ``kind`` such as ``Microsoft.App/jobs``."""
        return f"{self.root}/providers/{kind}/{name}"

    def given(self, option: str, kind: str, command: str) -> str:
        """Return the path of something that exists already, named by an option.

        ``command`` makes one, for the hint.  Raises UsageError when the option is missing, or what
        it says is neither a name nor an id of that kind.
        """
        return self.path_of(option, self.named(option, kind, command), kind)

    def named(self, option: str, kind: str, command: str) -> str:
        """Return the name or id that an option says; raises as ``given``, and needs no subscription."""
        found = self.options.get(option)
        if not found:
            raise UsageError(
                f"the target needs '--option {option}=NAME'",
                hint=f"'{command}' makes one; docs/how-to/deploy-to-azure.md has the whole way",
            )
        return name_or_id(option, found, kind)

    def path_of(self, option: str, found: str, kind: str) -> str:
        """Return the path of what an option names, by its name or its whole id; raises UsageError."""
        said = name_or_id(option, found, kind)
        return said if said.startswith("/") else self.path(kind, said)


def name_or_id(option: str, found: str, kind: str) -> str:
    """Return what an option says, in a form that Azure takes; raises UsageError for anything else.

    A registry may be called by its host too.
    """
    if _ID.fullmatch(found):
        if f"/providers/{kind}/".lower() not in found.lower():
            raise UsageError(
                f"option '{option}': '{found[-60:]}' is no id of '{kind}'",
                hint="write its name, or its id: 'az resource list -o table' has them",
            )
        return found.rstrip("/")
    is_registry = option == "registry"
    name = found.removesuffix(_REGISTRIES) if is_registry else found
    if not (_REGISTRY if is_registry else _WORD).fullmatch(name):
        hint = "a registry has 5 to 50 letters and digits" if is_registry else "write its name"
        raise UsageError(f"option '{option}': '{found[:60]}' is no name", hint=f"{hint}, or its id")
    return name


def _of_the_cli() -> str | None:
    """Return the default subscription of the Azure CLI, None when there is none."""
    folder = Path(os.environ.get("AZURE_CONFIG_DIR") or Path.home() / ".azure")
    try:
        profile = json.loads((folder / "azureProfile.json").read_text(encoding="utf-8-sig"))
        return next(
            (str(one["id"]) for one in profile["subscriptions"] if one.get("isDefault")), None
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
