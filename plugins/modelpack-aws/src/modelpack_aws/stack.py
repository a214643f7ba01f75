"""Stacks of CloudFormation: read, changed by change sets, waited for, deleted.

    read ──► Stack, or None
    prepare(order) ──► Prepared(changes) ──execute──► wait ──► Stack
                          │ nothing to change: no change set stays        │ events ──► progress
    delete ──► wait until it is gone                                      └ failed ──► DeployError

What always holds:

* every step may be repeated, also after it was killed between call and answer: a change set is
  named after what it does and what it starts from, calls carry that name as their token, and
  whatever runs already is waited for and not begun again;
* a stack that failed to come up is deleted before it is made again, one whose way back failed is
  brought back first;
* CloudFormation's own word that a stack is complete is all that is said here: whether what is in it
  works, others find out.

Wire facts: CloudFormation API reference and user guide ("Stack status codes", "Change sets").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from modelpack.deploy import Clock, Progress
from modelpack.errors import ConflictError, DeployError, NotFoundError
from modelpack_aws.changes import StackChange, read_changes
from modelpack_aws.described import (
    IN_REVIEW,
    NEVER_CAME_UP,
    SETTLED_WELL,
    Stack,
    is_busy,
    read_stack,
    template_value,
)
from modelpack_aws.events import Events
from modelpack_aws.session import Clients, error_code, error_message, said
from modelpack_aws.template import tags as tag_list

__all__ = ["Clock", "Order", "Prepared", "Stack", "Stacks"]

POLL_S = 5.0
"""Between two looks at a stack; CloudFormation itself takes seconds for anything."""

_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a stack shall be."""

    stack: str
    """Its name."""
    body: str
    """The template as text."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags of the stack, which its resources get too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A change set that waits to be executed."""

    order: Order
    name: str
    """Name of the change set, and token of what is done with it."""
    changes: tuple[StackChange, ...]
    is_first: bool = False
    """True when it makes the stack."""

    @property
    def is_empty(self) -> bool:
        """True when the stack is as it shall be; there is no change set then."""
        return not self.changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacks:
    """The stacks of one account and region."""

    clients: Clients
    clock: Clock = field(default_factory=Clock)

    def read(self, name: str) -> Stack | None:
        """Return a stack, None when there is none."""
        found = self._describe(name)
        if found is None or found["StackStatus"] == "DELETE_COMPLETE":
            return None
        if found["StackStatus"] == IN_REVIEW:
            return read_stack(found, {})
        api = self._api
        with said(f"read the template of the stack '{name}'"):
            try:
                template = api.get_template(StackName=found["StackId"])["TemplateBody"]
            except api.exceptions.ClientError as cause:
                if _is_absent(cause):  # it went between the two calls
                    return None
                raise
        return read_stack(found, template_value(template))

    def find(self, tag: str) -> Iterator[Stack]:
        """Yield every stack that has a tag of that name, without its metadata."""
        with said("list the stacks"):
            for page in self._api.get_paginator("describe_stacks").paginate():
                for found in page["Stacks"]:
                    stack = read_stack(found, {})
                    if tag in stack.tags and found["StackStatus"] != "DELETE_COMPLETE":
                        yield stack

    def prepare(self, order: Order, progress: Progress) -> Prepared:
        """Make the change set that brings a stack to what is ordered, and say what it would do.

        Waits for what is under way, deletes what never came up, and brings back what is stuck half
        way.  Raises DeployError when CloudFormation refuses the template.
        """
        stack = self._calm(order.stack, progress)
        name = _change_set_name(order, stack)
        kind = "CREATE" if stack is None or stack.is_empty else "UPDATE"
        self._make(order, name, kind)
        found = self._await_change_set(order.stack, name)
        if found["Status"] == "FAILED":
            reason = str(found.get("StatusReason") or "no reason given")
            self._drop(order.stack, name)
            if any(text in reason for text in _NO_CHANGES):
                return Prepared(order=order, name=name, changes=())
            raise DeployError(f"CloudFormation refuses the change of '{order.stack}': {reason}")
        pages = self._pages(order.stack, name)
        changes = tuple(read_changes(pages))
        return Prepared(order=order, name=name, changes=changes, is_first=kind == "CREATE")

    def tidy(self, name: str) -> None:
        """Delete the change sets of ours that nobody executed: of applies that were cut short."""
        with said(f"look for changes of '{name}' that were not made"):
            found = self._api.list_change_sets(StackName=name).get("Summaries") or ()
        for one in found:
            waits = one.get("ExecutionStatus") not in ("EXECUTE_IN_PROGRESS", "EXECUTE_COMPLETE")
            if waits and str(one["ChangeSetName"]).startswith(_token_of("change")):
                self._drop(name, str(one["ChangeSetName"]))

    def drop(self, prepared: Prepared) -> None:
        """Take back a change set that shall not be executed, and the stack if it has nothing else."""
        self._drop(prepared.order.stack, prepared.name)
        stack = self._describe(prepared.order.stack)
        if stack is not None and stack["StackStatus"] == IN_REVIEW:
            self._delete(stack["StackId"], prepared.name)

    def execute(self, prepared: Prepared, progress: Progress, *, timeout_s: float) -> Stack:
        """Execute a change set and wait until the stack is as it shall be; return it.

        Raises DeployError with the first reason when it is not; the stack has gone back then.
        """
        name = prepared.order.stack
        events = Events(self.clients, name)
        if not prepared.is_empty:
            with said(f"change the stack '{name}'"):
                self._begin(prepared)
        return self.wait(name, progress, timeout_s=timeout_s, events=events)

    def wait(
        self, name: str, progress: Progress, *, timeout_s: float, events: Events | None = None
    ) -> Stack:
        """Wait until CloudFormation has done with a stack; return it.

        Raises DeployError when it failed, went back, or takes longer than ``timeout_s``.
        """
        events = events or Events(self.clients, name)
        status = self._watch(name, events, progress, timeout_s)
        if status is None:
            raise DeployError(f"the stack '{name}' is gone", hint="deploy it again")
        if status not in SETTLED_WELL:
            why = events.first_failure() or f"it is {status}"
            raise DeployError(f"the stack '{name}' was not changed: {why}")
        found = self.read(name)
        if found is None:
            raise DeployError(f"the stack '{name}' is gone", hint="deploy it again")
        return found

    def delete(self, name: str, progress: Progress, *, timeout_s: float) -> None:
        """Delete a stack and all that is in it; a stack that is not there is no mistake."""
        stack = self._describe(name)
        if stack is None or stack["StackStatus"] == "DELETE_COMPLETE":
            return
        stack_id = str(stack["StackId"])
        events = Events(self.clients, stack_id)
        if is_busy(stack["StackStatus"]) and stack["StackStatus"] != "DELETE_IN_PROGRESS":
            self._watch(stack_id, events, progress, timeout_s)
        self._delete(stack_id, _token("delete", stack_id))
        status = self._watch(stack_id, events, progress, timeout_s)
        if status is not None:
            why = events.first_failure() or f"it is {status}"
            raise DeployError(
                f"the stack '{name}' could not be deleted: {why}",
                hint="remove what holds it, then destroy the deployment again",
            )

    @property
    def _api(self) -> Any:
        return self.clients.client("cloudformation")

    def _begin(self, prepared: Prepared) -> None:
        try:
            self._api.execute_change_set(
                StackName=prepared.order.stack,
                ChangeSetName=prepared.name,
                ClientRequestToken=prepared.name,
            )
        except self._api.exceptions.ClientError as cause:
            # A call whose answer was lost has begun it: what runs is waited for.
            if not error_code(cause).startswith("InvalidChangeSetStatus"):
                raise

    def _describe(self, name: str) -> dict[str, Any] | None:
        with said(f"read the stack '{name}'"):
            try:
                found: list[dict[str, Any]] = self._api.describe_stacks(StackName=name)["Stacks"]
            except self._api.exceptions.ClientError as cause:
                if _is_absent(cause):
                    return None
                raise
        return found[0] if found else None

    def _calm(self, name: str, progress: Progress) -> Stack | None:
        """Return the stack once nothing is under way and it can be changed."""
        found = self._describe(name)
        if found is not None and is_busy(found["StackStatus"]):
            progress.note(f"the stack '{name}' is being changed ({found['StackStatus']})")
            self._watch(name, Events(self.clients, name), progress, timeout_s=3600.0)
            found = self._describe(name)
        if found is None or found["StackStatus"] == "DELETE_COMPLETE":
            return None
        if found["StackStatus"] in NEVER_CAME_UP:
            progress.note(f"the stack '{name}' never came up and is made again")
            self.delete(name, progress, timeout_s=3600.0)
            return None
        if found["StackStatus"] == "UPDATE_ROLLBACK_FAILED":
            progress.note(f"the stack '{name}' is stuck on its way back and is helped along")
            with said(f"bring back the stack '{name}'"):
                self._api.continue_update_rollback(
                    StackName=name, ClientRequestToken=_token("continue", str(found["StackId"]))
                )
            self._watch(name, Events(self.clients, name), progress, timeout_s=3600.0)
            found = self._describe(name)
        return None if found is None else read_stack(found, {})

    def _make(self, order: Order, name: str, kind: str) -> None:
        api = self._api
        with said(f"plan the change of the stack '{order.stack}'"):
            try:
                api.create_change_set(
                    StackName=order.stack,
                    ChangeSetName=name,
                    ChangeSetType=kind,
                    ClientToken=name,
                    TemplateBody=order.body,
                    Parameters=[
                        {"ParameterKey": key, "ParameterValue": value}
                        for key, value in sorted(order.parameters.items())
                    ],
                    Tags=tag_list(order.tags),
                    Capabilities=["CAPABILITY_IAM"],
                )
            except api.exceptions.ClientError as cause:
                # The same change of the same stack: it was made before we were interrupted.
                if error_code(cause) != "AlreadyExistsException":
                    raise

    def _await_change_set(self, stack: str, name: str) -> dict[str, Any]:
        deadline = self.clock.now() + 600.0
        while True:
            with said(f"read the change of the stack '{stack}'"):
                found: dict[str, Any] = self._api.describe_change_set(
                    StackName=stack, ChangeSetName=name
                )
            if found["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
                return found
            if self.clock.now() >= deadline:
                raise DeployError(f"CloudFormation does not plan the change of '{stack}'")
            self.clock.sleep(POLL_S)

    def _pages(self, stack: str, name: str) -> Iterator[Mapping[str, Any]]:
        token: dict[str, str] = {}
        while True:
            with said(f"read the change of the stack '{stack}'"):
                page = self._api.describe_change_set(StackName=stack, ChangeSetName=name, **token)
            yield page
            if not page.get("NextToken"):
                return
            token = {"NextToken": page["NextToken"]}

    def _drop(self, stack: str, name: str) -> None:
        with suppress(NotFoundError, ConflictError), said(f"drop the change of '{stack}'"):
            self._api.delete_change_set(StackName=stack, ChangeSetName=name)

    def _delete(self, stack: str, token: str) -> None:
        with said(f"delete the stack '{stack}'"):
            self._api.delete_stack(StackName=stack, ClientRequestToken=token)

    def _watch(self, name: str, events: Events, progress: Progress, timeout_s: float) -> str | None:
        """Return the status once nothing is under way, None when the stack is gone."""
        deadline = self.clock.now() + timeout_s
        while True:
            found = self._describe(name)
            for line in events.news():
                progress.note(line)
            if found is None or found["StackStatus"] == "DELETE_COMPLETE":
                return None
            status = str(found["StackStatus"])
            if not is_busy(status):
                return status
            if self.clock.now() >= deadline:
                raise DeployError(
                    f"the stack '{name}' is still {status} after {timeout_s:g} s",
                    hint="CloudFormation goes on; deploy again to wait for it",
                )
            self.clock.sleep(POLL_S)


def _is_absent(cause: Exception) -> bool:
    return error_code(cause) in ("ValidationError", "StackNotFound") and (
        "does not exist" in error_message(cause)
    )


def _change_set_name(order: Order, stack: Stack | None) -> str:
    """Return a name for what changes from where: the same after an interruption, new after a change."""
    start = (
        "" if stack is None or stack.is_empty else f"{stack.id} {stack.updated or stack.created}"
    )
    value = [order.body, dict(order.parameters), dict(order.tags), start]
    return _token("change", json.dumps(value, sort_keys=True))


def _token(word: str, text: str) -> str:
    """Return a token: letters, digits and hyphens, beginning with a letter."""
    return f"{_token_of(word)}{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _token_of(word: str) -> str:
    """Return what a token begins with."""
    return f"modelpack-{word}-"
