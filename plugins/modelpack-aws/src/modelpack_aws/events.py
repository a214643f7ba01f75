"""What happens to the resources of a stack while it is changed.

DescribeStackEvents, newest first ──► news(): lines since the last look ──► progress
└─► first_failure(): what everything else fell over
"""

from __future__ import annotations

from typing import Any

from modelpack_aws.session import Clients, error_message, said

_MOST_EVENTS = 200

# Resources that stopped only because another one had failed say this.
_BEGINS = "User Initiated"
_CANCELLED = ("Resource creation cancelled", "Resource update cancelled")


class Events:
    """What happens to the resources of a stack, from now on."""

    def __init__(self, clients: Clients, name: str) -> None:
        self._clients = clients
        self._name = name
        self._failures: list[str] = []
        self._seen = {str(event["EventId"]) for event in self._read()}

    def news(self) -> list[str]:
        """Return a line for each failure and each resource that is done since the last look."""
        lines = []
        for event in reversed(self._read()):
            if str(event["EventId"]) in self._seen:
                continue
            self._seen.add(str(event["EventId"]))
            status = str(event.get("ResourceStatus", ""))
            reason = str(event.get("ResourceStatusReason") or "")
            what = f"{event.get('ResourceType')} {event.get('LogicalResourceId')}"
            if status.endswith("_FAILED"):
                lines.append(f"{what}: {status}: {reason}")
                if not any(text in reason for text in _CANCELLED):
                    self._failures.append(f"{what}: {reason}")
            elif status.endswith("_COMPLETE"):
                lines.append(f"{what}: {status}")
        return lines

    def first_failure(self) -> str | None:
        """Return what failed first, and why; of a change that began before we looked, too."""
        if self._failures:
            return self._failures[0]
        found = None
        for event in self._read():
            status, reason = (
                str(event.get(key) or "") for key in ("ResourceStatus", "ResourceStatusReason")
            )
            if reason == _BEGINS:
                break
            if status.endswith("_FAILED") and not any(text in reason for text in _CANCELLED):
                found = f"{event.get('ResourceType')} {event.get('LogicalResourceId')}: {reason}"
        return found

    def _read(self) -> list[dict[str, Any]]:
        """Return the newest events, newest first; none for a stack that is not there yet."""
        api = self._clients.client("cloudformation")
        with said(f"read the events of the stack '{self._name}'"):
            try:
                found = api.describe_stack_events(StackName=self._name)
            except api.exceptions.ClientError as cause:
                if "does not exist" in error_message(cause):
                    return []
                raise
        return list(found.get("StackEvents") or ())[:_MOST_EVENTS]
