"""A small AWS in memory: stacks with change sets, image repositories, one service of ECS in each stack.

    client("cloudformation").create_change_set(...) ──strict──► held against the service's own model
                                                     ──fault──► refused, or done and its answer lost
                                                     ──► what CloudFormation would have done

It does what the user guides say, where our own emulated runs show something else: a service that does
not come up takes its stack back to the template before.  Load balancers answer at one loopback address,
by the ``Host`` header.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from modelpack.errors import UnreachableError

from .fake_parts import (
    EXAMPLE,
    Client,
    FakeStack,
    RepositoryNotFoundException,
    changes,
    env_of,
    refused,
)

ACCOUNT = "123456789012"
SUBNETS = [
    {
        "SubnetId": f"subnet-{zone * 8}",
        "VpcId": "vpc-1",
        "AvailabilityZone": f"us-east-1{zone}",
        "MapPublicIpOnLaunch": True,
    }
    for zone in ("a", "b")
]


class FakeAws:
    """The clients of one account; ``fault`` decides what becomes of a call."""

    def __init__(self) -> None:
        self.region = "us-east-1"
        self.stacks: dict[str, FakeStack] = {}
        self.sets: dict[tuple[str, str], dict[str, Any]] = {}
        self.repositories: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.replaced: set[str] = set()
        """Resources that the next change set makes anew."""
        self.fault: Callable[[str], str | None] = lambda _: None
        self._moment = datetime(2026, 1, 1, tzinfo=UTC)
        self._number = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()
        self.endpoint_url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def use(self, region: str) -> None:
        self.region = region

    def client(self, service: str) -> Any:
        return Client(self, service)

    def resources(self) -> list[str]:
        """Name all that stands."""
        return [
            *(f"stack {name}" for name in self.stacks),
            *(f"repository {name}" for name in self.repositories),
            *(f"change set {stack}" for stack, _ in self.sets),
        ]

    def push(self, spec: Any, reference: str, **_: Any) -> Any:
        from modelpack.deploy.pushing import Pushed

        self.calls.append("push")
        if self.fault("push"):
            raise UnreachableError("cannot push: the registry went away")
        name, _, tag = reference.partition("/")[2].rpartition(":")
        digest = "sha256:" + (tag.encode().hex() * 64)[:64]
        self.repositories[name]["images"][tag] = digest
        return Pushed(digest, 1)

    # CloudFormation

    def describe_stacks(self, StackName: str | None = None) -> Any:
        if StackName is None:
            return {"Stacks": [self._describe(stack) for stack in self.stacks.values()]}
        return {"Stacks": [self._describe(self._stack(StackName))]}

    def get_template(self, StackName: str) -> Any:
        return {"TemplateBody": self._stack(StackName).template}

    def describe_stack_events(self, StackName: str) -> Any:
        return {"StackEvents": list(reversed(self._stack(StackName).events))}

    def create_change_set(self, StackName: str, ChangeSetName: str, **asked: Any) -> Any:
        if (StackName, ChangeSetName) in self.sets:
            raise refused("AlreadyExistsException", "there is such a change set")
        stack = self.stacks.get(StackName)
        if asked["ChangeSetType"] == "CREATE":
            if stack is not None and stack.status != "REVIEW_IN_PROGRESS":
                raise refused("ValidationError", "the stack exists")
            stack = stack or FakeStack(
                StackName, self._arn(StackName), "REVIEW_IN_PROGRESS", self._now()
            )
            stack.tags = asked["Tags"]
            self.stacks[StackName] = stack
        elif stack is None or stack.then is not None:
            raise refused("ValidationError", "the stack cannot be updated now")
        template = json.loads(asked["TemplateBody"])
        given = {one["ParameterKey"]: one["ParameterValue"] for one in asked["Parameters"]}
        assert set(given) >= {
            key for key, one in template["Parameters"].items() if "Default" not in one
        }
        self.sets[StackName, ChangeSetName] = {
            "template": template,
            "parameters": given,
            "tags": asked["Tags"],
            "changes": changes(stack, template, given, self.replaced),
        }
        return {"Id": ChangeSetName}

    def describe_change_set(self, StackName: str, ChangeSetName: str) -> Any:
        found = self.sets.get((StackName, ChangeSetName))
        if found is None:
            raise refused("ChangeSetNotFound", "there is no such change set")
        if not found["changes"]:
            reason = "The submitted information didn't contain changes."
            return {"Status": "FAILED", "StatusReason": reason}
        return {"Status": "CREATE_COMPLETE", "Changes": found["changes"]}

    def delete_change_set(self, StackName: str, ChangeSetName: str) -> Any:
        self.sets.pop((StackName, ChangeSetName), None)
        return {}

    def list_change_sets(self, StackName: str) -> Any:
        names = [name for stack, name in self.sets if stack == StackName]
        return {"Summaries": [{"ChangeSetName": name} for name in names]}

    def execute_change_set(self, StackName: str, ChangeSetName: str, **_: Any) -> Any:
        found, stack = self.sets.pop((StackName, ChangeSetName), None), self._stack(StackName)
        if found is None:
            raise refused("InvalidChangeSetStatus", "it was executed")
        is_first = stack.status == "REVIEW_IN_PROGRESS"
        word = "CREATE" if is_first else "UPDATE"
        former = (stack.template, stack.parameters, stack.tasks)
        if any(one["ResourceChange"]["LogicalResourceId"] == "Task" for one in found["changes"]):
            stack.tasks += 1
        stack.template, stack.parameters = found["template"], found["parameters"]
        stack.tags = found["tags"]
        stack.status = f"{word}_IN_PROGRESS"

        def end() -> None:
            stack.changed = self._now()
            if env_of(stack.template).get("FAKE_MODE") != "crash":
                stack.status = f"{word}_COMPLETE"
                return
            self._event(
                stack, "AWS::ECS::Service", "Service", f"{word}_FAILED", "error: it crashes"
            )
            if is_first:
                stack.status = "ROLLBACK_COMPLETE"
            else:
                stack.template, stack.parameters, stack.tasks = former
                stack.status = "UPDATE_ROLLBACK_COMPLETE"

        stack.then = end
        return {}

    def continue_update_rollback(self, StackName: str, **_: Any) -> Any:
        stack = self._stack(StackName)
        assert stack.status == "UPDATE_ROLLBACK_FAILED"
        stack.status = "UPDATE_ROLLBACK_IN_PROGRESS"
        stack.then = lambda: setattr(stack, "status", "UPDATE_ROLLBACK_COMPLETE")
        return {}

    def delete_stack(self, StackName: str, **_: Any) -> Any:
        stack = self._stack(StackName, must=False)
        if stack is not None:
            stack.status = "DELETE_IN_PROGRESS"
            stack.then = lambda: self._forget(stack)
        return {}

    # The others

    def get_caller_identity(self) -> Any:
        return {"Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/me"}

    def describe_vpcs(self, **_: Any) -> Any:
        return {"Vpcs": [{"VpcId": "vpc-1", "CidrBlock": "10.0.0.0/16"}]}

    def describe_subnets(self, **_: Any) -> Any:
        return {"Subnets": SUBNETS}

    def describe_services(self, cluster: str, services: list[str]) -> Any:
        stack = self.stacks[cluster]
        deployment = {
            "status": "PRIMARY",
            "taskDefinition": f"{stack.name}:{stack.tasks}",
            "rolloutState": "COMPLETED",
            "runningCount": 1,
        }
        one = {
            "status": "ACTIVE",
            "deployments": [deployment],
            "runningCount": 1,
            "desiredCount": 1,
        }
        return {"services": [one]}

    def filter_log_events(self, logGroupName: str, **_: Any) -> Any:
        lines = ["this is it", "asked for /readyz"]
        return {
            "events": [
                {"eventId": str(number), "timestamp": number + 1, "message": line}
                for number, line in enumerate(lines)
            ]
        }

    def describe_repositories(self, repositoryNames: list[str]) -> Any:
        [name] = repositoryNames
        self._repository(name)
        uri = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/{name}"
        arn = f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/{name}"
        return {"repositories": [{"repositoryArn": arn, "repositoryUri": uri}]}

    def list_tags_for_resource(self, resourceArn: str) -> Any:
        tags = self._repository(resourceArn.partition("/")[2])["tags"]
        return {"tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def create_repository(self, repositoryName: str, tags: list[Any], **_: Any) -> Any:
        assert repositoryName not in self.repositories
        marks = {one["Key"]: one["Value"] for one in tags}
        self.repositories[repositoryName] = {"tags": marks, "images": {}}
        return {}

    def put_lifecycle_policy(self, repositoryName: str, **_: Any) -> Any:
        self._repository(repositoryName)
        return {}

    def set_repository_policy(self, repositoryName: str, policyText: str) -> Any:
        self._repository(repositoryName)["policy"] = json.loads(policyText)
        return {}

    def tag_resource(self, resourceArn: str, tags: list[Any]) -> Any:
        marks = self._repository(resourceArn.partition("/")[2])["tags"]
        marks |= {one["Key"]: one["Value"] for one in tags}
        return {}

    def describe_images(self, repositoryName: str, imageIds: list[Any]) -> Any:
        images = self._repository(repositoryName)["images"]
        tag = imageIds[0]["imageTag"]
        if tag not in images:
            raise refused("ImageNotFoundException", "there is no such image")
        return {"imageDetails": [{"imageDigest": images[tag]}]}

    def delete_repository(self, repositoryName: str, force: bool) -> Any:
        self._repository(repositoryName)
        del self.repositories[repositoryName]
        return {}

    # What happens by itself

    def _stack(self, name: str, *, must: bool = True) -> Any:
        stack = next((one for one in self.stacks.values() if name in (one.name, one.id)), None)
        if stack is None and must:
            raise refused("ValidationError", f"Stack with id {name} does not exist")
        return stack

    def _describe(self, stack: FakeStack) -> Any:
        outputs = {
            "Url": f"http://{stack.name}.elb.test",
            "Cluster": stack.name,
            "Service": "service",
            "Task": f"{stack.name}:{stack.tasks}",
            "Logs": "logs",
        }
        said = {
            "StackName": stack.name,
            "StackId": stack.id,
            "StackStatus": stack.status,
            "Tags": stack.tags,
            "CreationTime": stack.created,
            "Outputs": [{"OutputKey": key, "OutputValue": one} for key, one in outputs.items()],
        }
        if stack.changed is not None:
            said["LastUpdatedTime"] = stack.changed
        if stack.then is not None:
            then, stack.then = stack.then, None
            then()
        return said

    def _forget(self, stack: FakeStack) -> None:
        self.stacks.pop(stack.name, None)
        for key in [key for key in self.sets if key[0] == stack.name]:
            del self.sets[key]

    def _event(self, stack: FakeStack, *words: str) -> None:
        keys = ("ResourceType", "LogicalResourceId", "ResourceStatus", "ResourceStatusReason")
        one = {"EventId": str(len(stack.events)), **dict(zip(keys, words, strict=True))}
        stack.events.append(one)

    def _repository(self, name: str) -> dict[str, Any]:
        if name not in self.repositories:
            raise refused(
                "RepositoryNotFoundException", "no such repository", RepositoryNotFoundException
            )
        return self.repositories[name]

    def _now(self) -> datetime:
        self._moment += timedelta(seconds=1)
        return self._moment

    def _arn(self, name: str) -> str:
        self._number += 1
        return f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/{name}/{self._number}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        aws = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stack = aws.stacks[str(self.headers["Host"]).partition(".")[0]]
                version = env_of(stack.template)["MODELPACK_TAG"].partition(":")[2]
                paths = {"/double": {"post": {"requestBody": EXAMPLE}}}
                info = {"title": "fake", "version": version}
                self.answer({"openapi": "3.1.0", "info": info, "paths": paths})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.answer({"doubled": [2]})

            def answer(self, value: object) -> None:
                data = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                return

        return Handler
