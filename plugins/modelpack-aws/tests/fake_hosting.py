"""The small AWS in memory, with functions of Lambda and endpoints of SageMaker in its stacks.

    stack changed ──► versions are published, the alias is set      (Lambda)
                  ──► variants run models, each with its weight     (SageMaker)
    invoke, invoke_endpoint ──► what the version or the model of that name answers

A service whose variable ``FAKE_MODE`` says ``crash`` is made without complaint and fails when asked.
"""

from __future__ import annotations

import io
import json
from typing import Any

from botocore.exceptions import ClientError

from .fake_aws import EXAMPLE, FakeAws, FakeStack, refused

HELD = "the variant must be deregistered as a scalable target before it can be removed"


class FakeHosting(FakeAws):
    """Stacks that hold one function or one endpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.versions: dict[str, dict[str, tuple[int, dict[str, Any]]]] = {}
        """By stack and logical id: number of a version, and the function as it was then."""
        self.published: dict[str, int] = {}
        self.alias: dict[str, dict[str, float]] = {}
        """By stack: share of each version."""
        self.weights: dict[str, dict[str, float]] = {}
        """By stack: weight of each variant."""
        self.scaled: set[str] = set()
        """Resource ids of variants whose number of instances follows the calls."""
        self.alarms = "OK"
        self.moves: list[dict[str, float]] = []
        """Every distribution of calls that there was, oldest first."""

    # CloudFormation

    def execute_change_set(self, StackName: str, ChangeSetName: str, **_: Any) -> Any:
        found, stack = self.sets.pop((StackName, ChangeSetName), None), self._stack(StackName)
        if found is None:
            raise refused("InvalidChangeSetStatus", "it was executed")
        former = (stack.template, stack.parameters)
        word = "CREATE" if stack.status == "REVIEW_IN_PROGRESS" else "UPDATE"
        stack.template, stack.parameters = found["template"], found["parameters"]
        stack.tags, stack.status = found["tags"], f"{word}_IN_PROGRESS"

        def end() -> None:
            stack.changed = self._now()
            if self._is_held(stack):
                self._event(stack, "AWS::SageMaker::Endpoint", "Endpoint", "UPDATE_FAILED", HELD)
                stack.template, stack.parameters = former
                stack.status = "UPDATE_ROLLBACK_COMPLETE"
                return
            stack.status = f"{word}_COMPLETE"
            self._publish(stack)
            self._weigh(stack)

        stack.then = end
        return {}

    def _describe(self, stack: FakeStack) -> Any:
        busy = stack.then is not None
        said = super()._describe(stack)
        said["Parameters"] = [
            {"ParameterKey": key, "ParameterValue": value}
            for key, value in stack.parameters.items()
        ]
        outputs = {} if busy or not stack.template else stack.template["Outputs"]
        said["Outputs"] = [
            {"OutputKey": key, "OutputValue": self._value(stack, one["Value"])}
            for key, one in outputs.items()
        ]
        return said

    def _value(self, stack: FakeStack, value: Any) -> str:
        if isinstance(value, str):
            return value
        if "Ref" in value:
            properties = self._of(stack, value["Ref"])
            return str(properties.get("FunctionName") or properties.get("LogGroupName") or "alarm")
        name, attribute = value["Fn::GetAtt"]
        if attribute == "Version":
            return str(self.versions[stack.name][name][0])
        if attribute == "FunctionUrl":
            return f"https://{stack.name}.lambda-url.test/"
        return str(self._of(stack, name)["EndpointName"])

    def _of(self, stack: FakeStack, name: str) -> dict[str, Any]:
        found: dict[str, Any] = stack.template["Resources"][name]["Properties"]
        return found

    def _publish(self, stack: FakeStack) -> None:
        resources = stack.template["Resources"]
        if "Function" not in resources:
            return
        kept = self.versions.setdefault(stack.name, {})
        wanted = [name for name in resources if resources[name]["Type"] == "AWS::Lambda::Version"]
        for name in wanted:
            if name not in kept:
                number = self.published.get(stack.name, 0) + 1
                self.published[stack.name] = number
                kept[name] = (number, self._of(stack, "Function"))
        live = self._of(stack, "Live")
        others = (live.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or []
        shares = {
            self._value(stack, one["FunctionVersion"]): one["FunctionWeight"] for one in others
        }
        shares[self._value(stack, live["FunctionVersion"])] = 1.0 - sum(shares.values())
        self.alias[stack.name] = shares
        self.moves.append(dict(shares))
        for name in [name for name in kept if name not in wanted]:
            assert str(kept[name][0]) not in shares, "a version that answers was deleted"
            del kept[name]

    def _is_held(self, stack: FakeStack) -> bool:
        """Return whether a variant would go that still scales; else note which of them scale."""
        resources = stack.template["Resources"]
        if "Config" not in resources:
            return False
        variants = {one["VariantName"] for one in self._of(stack, "Config")["ProductionVariants"]}
        if any(one.rpartition("/")[2] not in variants for one in self.scaled):
            return True
        self.scaled |= {
            self._of(stack, name)["ResourceId"]
            for name, body in resources.items()
            if body["Type"] == "AWS::ApplicationAutoScaling::ScalableTarget"
        }
        return False

    def deregister_scalable_target(self, ResourceId: str, **_: Any) -> Any:
        if ResourceId not in self.scaled:
            raise refused("ObjectNotFoundException", "no such target")
        self.scaled.remove(ResourceId)
        return {}

    def _forget(self, stack: FakeStack) -> None:
        super()._forget(stack)
        self.scaled.clear()

    def _weigh(self, stack: FakeStack) -> None:
        if "Config" not in stack.template["Resources"]:
            return
        variants = self._of(stack, "Config")["ProductionVariants"]
        self.weights[stack.name] = {
            one["VariantName"]: float(one["InitialVariantWeight"]) for one in variants
        }
        self.moves.append(dict(self.weights[stack.name]))

    # Lambda

    def get_function_configuration(self, FunctionName: str, Qualifier: str) -> Any:
        function = self._version(FunctionName, Qualifier)
        return {
            "State": "Active",
            "MemorySize": function["MemorySize"],
            "Environment": function["Environment"],
        }

    def invoke(self, FunctionName: str, Qualifier: str, Payload: bytes) -> Any:
        function, event = self._version(FunctionName, Qualifier), json.loads(Payload)
        if function["Environment"]["Variables"].get("FAKE_MODE") == "crash":
            said = {"errorType": "service-failed", "errorMessage": "it crashes"}
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(said).encode())}
        version = function["Description"].split()[0].partition(":")[2]
        body: Any = {"doubled": [2]}
        if event["rawPath"] == "/openapi.json":
            paths = {"/double": {"post": {"requestBody": EXAMPLE}}}
            info = {"title": "fake", "version": version}
            body = {"openapi": "3.1.0", "info": info, "paths": paths}
        answer = {"statusCode": 200, "body": json.dumps(body), "isBase64Encoded": False}
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}

    def update_alias(self, FunctionName: str, Name: str, RoutingConfig: Any) -> Any:
        assert RoutingConfig == {"AdditionalVersionWeights": {}}
        stack = FunctionName
        live = self._value(
            self._stack(stack), self._of(self._stack(stack), "Live")["FunctionVersion"]
        )
        self.alias[stack] = {live: 1.0}
        self.moves.append(dict(self.alias[stack]))
        return {}

    def _version(self, function: str, number: str) -> dict[str, Any]:
        for known, properties in self.versions.get(function, {}).values():
            if str(known) == number:
                return properties
        raise refused("ResourceNotFoundException", f"Function not found: {function}:{number}")

    # SageMaker

    def describe_endpoint(self, EndpointName: str) -> Any:
        counts = {
            one["VariantName"]: one["InitialInstanceCount"]
            for one in self._of(self._stack(EndpointName), "Config")["ProductionVariants"]
        }
        variants = [
            {"VariantName": name, "CurrentWeight": weight, "CurrentInstanceCount": counts[name]}
            for name, weight in self.weights[EndpointName].items()
        ]
        return {
            "EndpointName": EndpointName,
            "EndpointStatus": "InService",
            "ProductionVariants": variants,
        }

    def update_endpoint_weights_and_capacities(
        self, EndpointName: str, DesiredWeightsAndCapacities: list[Any]
    ) -> Any:
        weights = self.weights[EndpointName]
        for one in DesiredWeightsAndCapacities:
            assert one["VariantName"] in weights
            weights[one["VariantName"]] = one["DesiredWeight"]
        self.moves.append(dict(weights))
        return {}

    def invoke_endpoint(
        self, EndpointName: str, Body: Any, TargetVariant: str | None = None, **_: Any
    ) -> Any:
        stack = self._stack(EndpointName)
        variants = self._of(stack, "Config")["ProductionVariants"]
        chosen = next(one for one in variants if TargetVariant in (None, one["VariantName"]))
        container = self._of(stack, chosen["ModelName"]["Fn::GetAtt"][0])["PrimaryContainer"]
        if (container.get("Environment") or {}).get("FAKE_MODE") == "crash":
            said = {"Error": {"Code": "ModelError", "Message": "m"}, "OriginalStatusCode": 500}
            raise ClientError({**said, "OriginalMessage": "it crashes"}, "InvokeEndpoint")
        return {"Body": io.BytesIO(b"{}")}

    def describe_alarms(self, **_: Any) -> Any:
        return {"MetricAlarms": [{"StateValue": self.alarms, "StateReason": "calls failed"}]}
