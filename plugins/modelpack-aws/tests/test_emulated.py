"""Endpoints, models and jobs at a server that speaks the APIs of SageMaker and CloudFormation.

It accepts more than AWS does and is ready at once: what is shown is that the calls fit together and
that nothing is left.  Updates of endpoints it does not know; ``test_sagemaker`` has them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore import xform_name
from modelpack_aws import strict
from modelpack_aws.sagemaker_mode import SagemakerMode
from modelpack_aws.session import Session
from modelpack_aws.stack import Order, Stacks
from modelpack_aws.transform import Job, Transform, job_name, main
from modelpack_aws.wanted import Scaling, Wanted

from modelpack.deploy import SILENT, Clock, State, Status
from modelpack.errors import DeployError, DeploymentNotFoundError, UsageError
from tests.s3 import s3_server

from .requests_of import IMAGE, requests_of

cloud = s3_server

ANSWERS = "s3://bucket-of-ours/answers"
ROWS = "s3://bucket-of-ours/rows"
WANTED = Wanted(
    name="digits",
    bundle="digits:7c1f0b2e9a44",
    revision="0123456789ab",
    mode="sagemaker",
    instance="m5.large",  # of those that the server knows
)
SPECS = {
    "realtime": replace(WANTED, scaling=Scaling(least=1, most=3, in_flight=4)),
    "serverless": replace(WANTED, options={"kind": "serverless"}),
    "async": replace(
        WANTED,
        options={"kind": "async", "output": ANSWERS},
        scaling=Scaling(least=0, most=2, idle_s=300),
    ),
}
JOBS = replace(WANTED, name="rows", options={"kind": "transform", "output": ANSWERS})


@pytest.fixture(scope="module")
def session(cloud: str) -> Iterator[Session]:
    with pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "testing")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            environment.setenv(name, os.devnull)
        made = Session(region_name="eu-west-1", endpoint_url=cloud)
        strict.guard(made.client("sagemaker"))
        yield made
        for service in list(made._clients.values()):
            service.close()


@pytest.fixture(scope="module")
def stacks(session: Session) -> Stacks:
    return Stacks(clients=session, clock=Clock(sleep=lambda _: time.sleep(0.02)))


def ordered(wanted: Wanted) -> Order:
    return Order(
        stack=wanted.stack,
        body=SagemakerMode().render(wanted).body(),
        parameters={"Image": IMAGE},
        tags=wanted.tags(),
    )


def create(session: Session, order: Order) -> None:
    """Make a stack without a change set: only then this server knows its outputs."""
    session.client("cloudformation").create_stack(
        StackName=order.stack,
        TemplateBody=order.body,
        Parameters=[{"ParameterKey": "Image", "ParameterValue": IMAGE}],
        Capabilities=["CAPABILITY_IAM"],
    )


def standing(session: Session) -> list[Any]:
    api = session.client("sagemaker")
    return [
        *api.list_endpoints()["Endpoints"],
        *api.list_endpoint_configs()["EndpointConfigs"],
        *api.list_models()["Models"],
        *session.client("iam").list_roles()["Roles"],
        *session.client("sns").list_topics()["Topics"],
    ]


@pytest.mark.parametrize("kind", SPECS)
def test_an_endpoint_is_made_described_and_leaves_nothing(
    kind: str, session: Session, stacks: Stacks
) -> None:
    wanted, mode, order = SPECS[kind], SagemakerMode(), ordered(SPECS[kind])

    prepared = stacks.prepare(order, SILENT)
    stacks.drop(prepared)
    create(session, order)
    stack = stacks.wait(order.stack, SILENT, timeout_s=60)
    sight = mode.look(session, stack, wanted)
    status = Status(name="digits", target="aws", state=sight.state, bundle=wanted.bundle)
    noted = mode.verify(session, stack, status)
    there = standing(session)
    stacks.delete(wanted.stack, SILENT, timeout_s=60)

    kinds = {change.kind for change in prepared.changes}
    assert {"AWS::SageMaker::Endpoint", "AWS::SageMaker::Model"} <= kinds
    assert sight.state is State.RUNNING
    # This machine's store has no such bundle.
    assert [one.startswith("no request was made") for one in noted or ()] == [True]
    assert len(there) >= 4
    assert standing(session) == []
    assert stacks.read(wanted.stack) is None


@pytest.mark.parametrize("kind", SPECS)
def test_each_call_behind_it_is_taken(kind: str, session: Session) -> None:
    api = session.client("sagemaker")
    made = SagemakerMode().render(SPECS[kind]).to_json()
    for service, operation, parameters in requests_of(made):
        if service == "sagemaker":
            getattr(api, xform_name(operation))(**parameters)

    found = api.describe_endpoint(EndpointName="modelpack-digits")
    config = api.describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"])
    model = config["ProductionVariants"][0]["ModelName"]
    api.delete_endpoint(EndpointName="modelpack-digits")
    api.delete_endpoint_config(EndpointConfigName=found["EndpointConfigName"])
    api.delete_model(ModelName=model)

    assert found["EndpointStatus"] == "InService"
    assert [one["VariantName"] for one in found["ProductionVariants"]] == ["main"]
    assert standing(session) == []


@pytest.fixture(scope="module")
def jobs(session: Session, stacks: Stacks) -> Iterator[Transform]:
    """A deployment for jobs stands."""
    order = ordered(JOBS)
    create(session, order)
    yield Transform(clients=session, sleep=lambda _: time.sleep(0.02))
    stacks.delete(order.stack, SILENT, timeout_s=60)


def test_a_job_takes_the_model_of_the_deployment(session: Session, jobs: Transform) -> None:
    job = Job(deployment="rows", source=ROWS, content_type="text/csv", joins=True, in_flight=4)

    name = jobs.start(job)
    outcome = jobs.wait(name)

    found = session.client("sagemaker").describe_transform_job(TransformJobName=name)
    assert (outcome.status, outcome.output, outcome.name) == ("Completed", ANSWERS, name)
    assert found["ModelName"].startswith("modelpack-rows-Model0123456789ab")
    assert found["TransformResources"]["InstanceType"] == "ml.m5.large"
    assert found["TransformInput"]["SplitType"] == "Line"
    assert found["DataProcessing"]["JoinSource"] == "Input"


def test_the_same_job_is_not_begun_twice(session: Session, jobs: Transform) -> None:
    job = Job(deployment="rows", source=f"{ROWS}/again")

    assert jobs.start(job) == jobs.start(job)
    names = [
        one["TransformJobName"]
        for one in session.client("sagemaker").list_transform_jobs()["TransformJobSummaries"]
    ]
    assert len(names) == len(set(names))


def test_a_job_runs_from_the_command_line(
    cloud: str, jobs: Transform, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--region", "eu-west-1", "--endpoint-url", cloud]

    assert main(["rows", f"{ROWS}/cli", *where]) == 0
    assert capsys.readouterr().out == f"{ANSWERS}\n"
    assert main(["nobody", ROWS, *where]) == 3
    said = capsys.readouterr().err
    assert said.startswith("error[deployment-not-found]: no deployment 'nobody'")
    assert len(said.splitlines()) == 2


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"source": "rows.csv"}, "no place in S3"),
        ({"payload_mb": 101}, "at most 100 MB together"),
        ({"payload_mb": 20, "in_flight": 6}, "at most 100 MB together"),
        ({"split": "None", "joins": True}, "joined with lines alone"),
        ({"split": "Lines"}, "CreateTransformJob would be refused"),
        ({"instances": 0}, "CreateTransformJob would be refused"),
    ],
)
def test_a_job_that_would_be_refused_is_not_sent(
    changed: dict[str, Any], what: str, jobs: Transform
) -> None:
    with pytest.raises(UsageError, match=what):
        jobs.start(Job(**{"deployment": "rows", "source": ROWS, **changed}))


def test_only_deployments_for_jobs_have_jobs(session: Session, jobs: Transform) -> None:
    with pytest.raises(DeploymentNotFoundError, match="no deployment 'nobody'"):
        jobs.start(Job(deployment="nobody", source=ROWS))


def test_a_job_that_takes_too_long_is_told() -> None:
    class Clients:
        region = "eu-west-1"

        def client(self, service: str) -> Any:
            return self

        def describe_transform_job(self, **_: Any) -> Any:
            return {"TransformJobStatus": "InProgress"}

    moments = iter(range(100))
    jobs = Transform(clients=Clients(), now=lambda: next(moments), sleep=lambda _: None)

    with pytest.raises(DeployError, match="still InProgress after 5 s"):
        jobs.wait("job", timeout_s=5)


def test_a_new_revision_has_jobs_of_its_own() -> None:
    job = Job(deployment="rows", source=ROWS)

    assert job_name(job, "model-1") == job_name(job, "model-1") != job_name(job, "model-2")
    assert len(job_name(replace(job, deployment="d" * 63), "model-1")) <= 63
