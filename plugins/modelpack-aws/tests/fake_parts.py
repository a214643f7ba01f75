"""Parts of the small AWS in memory: errors, a stack, a client whose calls are checked and may go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError
from modelpack_aws import strict


class RepositoryNotFoundException(ClientError):
    pass


class Exceptions:
    ClientError = ClientError
    RepositoryNotFoundException = RepositoryNotFoundException


@dataclass
class FakeStack:
    name: str
    id: str
    status: str
    created: datetime
    template: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    tags: list[Any] = field(default_factory=list)
    changed: datetime | None = None
    then: Callable[[], None] | None = None
    """What becomes of it at the next look."""
    tasks: int = 1
    """Number of its newest task definition."""
    events: list[Any] = field(default_factory=list)


EXAMPLE = {"content": {"application/json": {"example": {"x": [1.0]}}}}


class Client:
    """A client of one service: every call is checked, counted, and may go wrong."""

    exceptions = Exceptions

    def __init__(self, aws: Any, service: str) -> None:
        self._aws, self._service = aws, service

    def __getattr__(self, name: str) -> Callable[..., Any]:
        do = getattr(self._aws, name)

        def call(**parameters: Any) -> Any:
            operation = "".join(word.capitalize() for word in name.split("_"))
            strict.require(self._service, operation, parameters)
            self._aws.calls.append(name)
            fault = self._aws.fault(name)
            if fault == "refused":
                raise refused("ThrottlingException", "slow down")
            answer = do(**parameters)
            if fault == "lost":
                raise EndpointConnectionError(endpoint_url="https://aws.test")
            return answer

        return call

    def get_paginator(self, name: str) -> Any:
        pages = getattr(self, name)

        class Pages:
            def paginate(self) -> Iterator[Any]:
                yield pages()

        return Pages()


def changes(
    stack: FakeStack, template: dict[str, Any], given: dict[str, str], replaced: set[str]
) -> list[Any]:
    """Return what differs in the resources: the metadata of a template alone changes nothing."""
    before, after = stack.template.get("Resources", {}), template["Resources"]
    has_other_image = stack.parameters.get("Image") != given["Image"]
    found = []
    for name in sorted({*before, *after}):
        if name not in before or name not in after:
            action = "Add" if name in after else "Remove"
        elif before[name] != after[name] or (name == "Task" and has_other_image):
            action = "Modify"
        else:
            continue
        kind = (after.get(name) or before[name])["Type"]
        change = {"Action": action, "LogicalResourceId": name, "ResourceType": kind}
        if name in replaced:
            change["Replacement"] = "True"
        found.append({"ResourceChange": change})
    return found


def env_of(template: dict[str, Any]) -> dict[str, str]:
    [container] = template["Resources"]["Task"]["Properties"]["ContainerDefinitions"]
    return {one["Name"]: one["Value"] for one in container["Environment"]}


def refused(code: str, message: str, kind: type[ClientError] = ClientError) -> ClientError:
    return kind({"Error": {"Code": code, "Message": message}}, "Call")
