"""Templates of functions: what they say, and that linters and service models find nothing in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from modelpack_aws import lambda_, policy, strict
from modelpack_aws.lambda_ import render
from modelpack_aws.template import Template
from modelpack_aws.wanted import GIB, Accelerator, Network, Scaling, Traffic, Wanted

from modelpack.errors import UsageError

from .linted import findings
from .requests_of import requests_of

WANTED = Wanted(name="digits", bundle="digits:7c1f0b2e9a44", revision="0123456789ab", mode="lambda")
FORMER = "fedcba987654"
INSIDE = Network(subnets=("subnet-0123456789abcdef0",), security_groups=("sg-0123456789abcdef0",))

SPECS = {
    "plain": WANTED,
    "public": replace(WANTED, network=Network(public=True)),
    "network": replace(WANTED, network=INSIDE),
    "large": replace(
        WANTED, memory_bytes=10 * GIB, options={"ephemeral": "10240", "timeout": "900"}
    ),
    "streaming, warm, arm64": replace(
        WANTED,
        options={"stream": "yes", "provisioned": "2", "platform": "linux/arm64"},
        scaling=Scaling(least=2, most=50),
    ),
    "secrets and labels": replace(
        WANTED,
        env={"GREETING": "hello"},
        secrets={"API_TOKEN": "secretsmanager:bank", "LIMIT": "ssm:/bank/limit"},
        labels={"team": "fraud", "cost/centre": "a b"},
    ),
    "told": replace(WANTED, options={"alarm_topic": "arn:aws:sns:eu-west-1:123456789012:on-call"}),
    "canary": replace(WANTED, traffic=Traffic(canary_percent=10, bake_s=600)),
    "long name": replace(WANTED, name="a" + "-bc" * 20),
}


def resource(template: Any, name: str) -> Any:
    return template.resources[name]["Properties"]


MADE = {"CreateFunction", "PutMetricAlarm"}
SAMPLE = ("public", "canary")
"""Specs that the slow linter sees every time; it sees all of them on demand."""


def templates_of(name: str) -> list[Template]:
    """Return the templates that a spec has, one after the other."""
    wanted = SPECS[name]
    templates = [render(wanted), render(wanted, former=FORMER)]
    if wanted.traffic.canary_percent:
        templates.append(render(wanted, former=FORMER, share=0.1))
    return templates


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.long) for name in SPECS],
)
def test_cfn_lint_finds_nothing(name: str) -> None:
    """Errors, warnings and notes; of the last template, which has all that the others have."""
    assert findings(templates_of(name)[-1]) == []


@pytest.mark.parametrize("name", SPECS)
def test_no_rule_and_no_model_is_broken(name: str) -> None:
    """Our own rules, and the models of the services that CloudFormation asks."""
    for template in templates_of(name):
        assert policy.lint(template.to_json(), public=SPECS[name].network.public) == []
        operations = set()
        for service, operation, parameters in requests_of(template.to_json()):
            operations.add(operation)
            assert strict.problems(service, operation, parameters) == [], operation
        assert operations >= MADE or name == "transform"


def test_the_same_spec_gives_the_same_bytes() -> None:
    again = replace(WANTED, labels=dict(reversed(list(WANTED.labels.items()))))

    assert render(WANTED).text() == render(again).text()


def test_a_first_revision_answers_all_calls() -> None:
    live = resource(render(WANTED), "Live")

    assert live["Name"] == lambda_.ALIAS
    assert live["FunctionVersion"] == {"Fn::GetAtt": ["Version0123456789ab", "Version"]}
    assert "RoutingConfig" not in live


def test_the_former_revision_answers_until_the_new_one_is_told_to() -> None:
    template = render(WANTED, former=FORMER)

    assert {f"Version{FORMER}", "Version0123456789ab"} <= template.resources.keys()
    live = resource(template, "Live")
    assert live["FunctionVersion"] == {"Fn::GetAtt": [f"Version{FORMER}", "Version"]}
    assert "RoutingConfig" not in live


def test_a_canary_gets_its_share_and_an_alarm_of_its_own() -> None:
    template = render(SPECS["canary"], former=FORMER, share=0.1)

    new = {"Fn::GetAtt": ["Version0123456789ab", "Version"]}
    weights = resource(template, "Live")["RoutingConfig"]["AdditionalVersionWeights"]
    assert weights == [{"FunctionVersion": new, "FunctionWeight": 0.1}]
    watched = resource(template, "CanaryFailing")["Metrics"][1]["MetricStat"]["Metric"]
    assert {"Name": "ExecutedVersion", "Value": new} in watched["Dimensions"]


def test_revisions_of_one_function_differ_where_versions_need_it() -> None:
    """Lambda publishes no version of a function that has not changed."""
    other = replace(WANTED, revision=FORMER)

    changed = resource(render(WANTED), "Function"), resource(render(other), "Function")

    assert changed[0]["Description"] != changed[1]["Description"]


def test_other_options_make_another_version_of_the_same_revision() -> None:
    slow = replace(WANTED, options={"timeout": "90"})
    from_elsewhere = replace(WANTED, options={"profile": "work", "region": "eu-west-1"})

    assert WANTED.mark == WANTED.revision == from_elsewhere.mark
    assert slow.mark != WANTED.revision
    assert f"Version{slow.mark}" in render(slow).resources


def test_it_is_private_unless_it_is_told() -> None:
    private, public = render(WANTED), render(SPECS["public"])

    assert resource(private, "Address")["AuthType"] == "AWS_IAM"
    assert not [one for one in private.resources if one.startswith("Everybody")]
    assert resource(public, "Address")["AuthType"] == "NONE"
    actions = {resource(public, name)["Action"] for name in ("EverybodyAsks", "EverybodyCalls")}
    assert actions == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    assert policy.lint(public.to_json()) != []


def test_values_of_secrets_are_put_in_by_cloudformation() -> None:
    variables = resource(render(SPECS["secrets and labels"]), "Function")["Environment"][
        "Variables"
    ]

    assert variables["API_TOKEN"] == "{{resolve:secretsmanager:bank:SecretString}}"
    assert variables["LIMIT"] == "{{resolve:ssm:/bank/limit}}"


def test_the_role_may_write_its_lines_and_nothing_else() -> None:
    own = resource(render(WANTED), "Role")

    (statement,) = own["Policies"][0]["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert statement["Resource"] == {"Fn::GetAtt": ["Logs", "Arn"]}


@pytest.mark.parametrize(
    ("changed", "memory_mb"),
    [
        ({}, 1769),
        ({"memory_bytes": GIB}, 1024),
        ({"memory_bytes": 1}, 128),
        ({"cpu": 2.0}, 3538),
        ({"cpu": 0.5, "memory_bytes": 4 * GIB}, 4096),
    ],
)
def test_processors_come_with_memory(changed: dict[str, Any], memory_mb: int) -> None:
    assert lambda_.size_of(replace(WANTED, **changed)).memory_mb == memory_mb


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"accelerator": Accelerator(kind="nvidia-l4")}, "no accelerators"),
        ({"memory_bytes": 11 * GIB}, "at most 10240 MB"),
        ({"cpu": 6.0}, "5.8 processors"),
        ({"options": {"timeout": "901"}}, "'timeout': must be 1 to 900 seconds, got '901'"),
        ({"options": {"timeout": "fast"}}, "got 'fast'"),
        ({"options": {"ephemeral": "511"}}, "512 to 10240 MB"),
        ({"options": {"stream": "maybe"}}, "must be yes or no"),
        ({"options": {"platform": "linux/riscv64"}}, "linux/amd64 or linux/arm64"),
        ({"options": {"retention": "31"}}, "'retention'"),
        ({"options": {"alarm_topic": "on-call"}}, "ARN of a topic"),
        ({"network": Network(public=True, allow=("10.0.0.0/8",))}, "some networks in"),
        ({"network": Network(subnets=("subnet-1",))}, "'subnets' and 'security_groups'"),
        ({"env": {"X": "1"}}, "no variable of that name"),
        ({"env": {"TEXT": "x" * 4093}}, "4096 bytes of variables, these are 4097"),
        ({"secrets": {"API_TOKEN": "hunter2"}}, "no reference that AWS knows"),
        (
            {"options": {"provisioned": "1"}, "traffic": Traffic(canary_percent=5)},
            "keeps no environments warm",
        ),
    ],
)
def test_what_lambda_cannot_do_is_refused(changed: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what.replace("(", r"\(")) as caught:
        render(replace(WANTED, **changed))

    assert "hunter2" not in str(caught.value)


def test_what_means_little_here_is_said() -> None:
    wanted = replace(WANTED, cpu=2.0, scaling=Scaling(least=3, most=9, in_flight=8))

    said = " | ".join(lambda_.notes(wanted))

    for word in ("3538 MB", "in_flight", "provisioned=N", "signed"):
        assert word in said
    assert resource(render(wanted), "Function")["ReservedConcurrentExecutions"] == 9
