"""Batch transform: rows of files in S3 through the service, once.

    deployment of the kind 'transform' ──its stack──► model, instance type, place for answers
    Job(source=s3://…) ──request──► create_transform_job ──► wait ──► Outcome

    python -m modelpack_aws.transform digits s3://bucket/rows --content-type text/csv

The container is the one of every other place; SageMaker sends it pieces of the files at
``/invocations`` and writes what comes back beside each other, a file for a file.  A job is named by
its deployment and what it does: asked again, the same job is waited for instead of a second one.

Facts: Amazon SageMaker AI developer guide, "Use batch transform"; API ``CreateTransformJob``.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from modelpack.errors import DeployError, DeploymentNotFoundError, UsageError
from modelpack_aws import strict
from modelpack_aws.given import bucket_and_prefix, shortened
from modelpack_aws.session import Clients, Session, error_code, said
from modelpack_aws.stack import Stacks
from modelpack_aws.wanted import stack_name

POLL_S = 15.0
MOST_PAYLOAD_MB = 100
ROWS = "application/jsonlines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run over all files below a prefix."""

    deployment: str
    source: str
    """``s3://BUCKET/PREFIX``."""
    content_type: str = ROWS
    """Of the files: JSON lines, ``text/csv``, or any other with ``split="None"``."""
    accept: str | None = None
    """Of the answers; None: as the content type."""
    split: str = "Line"
    """``Line``: a piece is made of whole lines; ``None``: a piece is a file."""
    instances: int = 1
    payload_mb: int = 6
    """Most of one piece."""
    in_flight: int | None = None
    """Pieces that one instance is sent at once; None: as SageMaker thinks."""
    joins: bool = False
    """True: each answer stands behind its row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job has ended."""

    name: str
    status: str
    """``Completed``, ``Stopped`` or ``Failed``."""
    output: str
    reason: str | None = None


def request(job: Job, *, model: str, instance: str, output: str) -> dict[str, Any]:
    """Return the parameters of ``CreateTransformJob``; raises UsageError for what it refuses."""
    bucket, prefix = bucket_and_prefix("source", job.source)
    if job.joins and job.split != "Line":
        raise UsageError("answers are joined with lines alone", hint="leave out '--split None'")
    accept = job.accept or job.content_type
    found: dict[str, Any] = {
        "TransformJobName": job_name(job, model),
        "ModelName": model,
        "BatchStrategy": "MultiRecord" if job.split == "Line" else "SingleRecord",
        "MaxPayloadInMB": job.payload_mb,
        "TransformInput": {
            "DataSource": {
                "S3DataSource": {
                    "S3DataType": "S3Prefix",
                    "S3Uri": f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}",
                }
            },
            "ContentType": job.content_type,
            "SplitType": job.split,
        },
        "TransformOutput": {
            "S3OutputPath": output,
            "Accept": accept,
            "AssembleWith": "Line" if job.split == "Line" else "None",
        },
        "TransformResources": {"InstanceType": instance, "InstanceCount": job.instances},
    }
    if job.in_flight is not None:
        found["MaxConcurrentTransforms"] = job.in_flight
    if job.joins:
        found["DataProcessing"] = {"JoinSource": "Input"}
    if not 1 <= job.payload_mb * (job.in_flight or 1) <= MOST_PAYLOAD_MB:
        raise UsageError(
            f"pieces of {job.payload_mb} MB, {job.in_flight or 1} at once: at most "
            f"{MOST_PAYLOAD_MB} MB together"
        )
    strict.require("sagemaker", "CreateTransformJob", found)
    return found


def job_name(job: Job, model: str) -> str:
    """Return the name of a job: the same for the same job of the same revision."""
    digits = hashlib.sha256(json.dumps([asdict(job), model], sort_keys=True).encode()).hexdigest()
    return f"{shortened(stack_name(job.deployment), 50)}-{digits[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """Jobs of one account and region."""

    clients: Clients
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def start(self, job: Job) -> str:
        """Begin a job and return its name; one that runs or has run already is left as it is.

        Raises DeploymentNotFoundError, UsageError for what SageMaker would refuse, and what
        ``session.said`` says.
        """
        stack = Stacks(clients=self.clients).read(stack_name(job.deployment))
        if stack is None:
            raise DeploymentNotFoundError(
                f"no deployment '{job.deployment}' in this account and region",
                hint="run 'modelpack deploy --target aws-sagemaker --option kind=transform' first",
            )
        try:
            model, instance = stack.outputs["Model"], stack.outputs["Instance"]
            output = stack.outputs["Output"]
        except KeyError as cause:
            raise UsageError(
                f"the deployment '{job.deployment}' is not for jobs",
                hint="deploy one with '--option kind=transform'",
            ) from cause
        asked = request(job, model=model, instance=instance, output=output)
        name = str(asked["TransformJobName"])
        api = self.clients.client("sagemaker")
        with said(f"start the job '{name}'"):
            try:
                api.create_transform_job(**asked)
            except api.exceptions.ClientError as cause:
                if error_code(cause) != "ResourceInUse":
                    raise
        return name

    def wait(self, name: str, *, timeout_s: float = 86_400.0) -> Outcome:
        """Wait until a job has ended; raises DeployError when that takes longer."""
        deadline = self.now() + timeout_s
        while True:
            with said(f"read the job '{name}'"):
                found = self.clients.client("sagemaker").describe_transform_job(
                    TransformJobName=name
                )
            status = str(found["TransformJobStatus"])
            if status in ("Completed", "Failed", "Stopped"):
                return Outcome(
                    name=name,
                    status=status,
                    output=str(found["TransformOutput"]["S3OutputPath"]),
                    reason=found.get("FailureReason"),
                )
            if self.now() >= deadline:
                raise DeployError(
                    f"the job '{name}' is still {status} after {timeout_s:g} s",
                    hint="it goes on; run the same command again to wait for it",
                )
            self.sleep(POLL_S)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a job and wait for it; returns the exit status."""
    import argparse
    import sys

    from modelpack.errors import ModelpackError

    parser = argparse.ArgumentParser(
        prog="python -m modelpack_aws.transform",
        description="Send all rows of files in S3 through a deployment.",
    )
    parser.add_argument("deployment")
    parser.add_argument("source", help="s3://BUCKET/PREFIX")
    parser.add_argument("--content-type", default=ROWS)
    parser.add_argument("--accept")
    parser.add_argument("--split", choices=("Line", "None"), default="Line")
    parser.add_argument("--instances", type=int, default=1)
    parser.add_argument("--payload-mb", type=int, default=6)
    parser.add_argument("--in-flight", type=int)
    parser.add_argument("--join", action="store_true", help="answers stand behind their rows")
    parser.add_argument("--region")
    parser.add_argument("--profile")
    parser.add_argument("--endpoint-url")
    given = parser.parse_args(arguments)
    job = Job(
        deployment=given.deployment,
        source=given.source,
        content_type=given.content_type,
        accept=given.accept,
        split=given.split,
        instances=given.instances,
        payload_mb=given.payload_mb,
        in_flight=given.in_flight,
        joins=given.join,
    )
    session = Session(
        region_name=given.region, profile=given.profile, endpoint_url=given.endpoint_url
    )
    try:
        jobs = Transform(clients=session)
        outcome = jobs.wait(jobs.start(job))
    except ModelpackError as error:
        hint = f"\n  help: {error.hint}" if error.hint else ""
        sys.stderr.write(f"error[{error.code}]: {error.message}{hint}\n")
        return error.exit_code
    if outcome.status != "Completed":
        sys.stderr.write(
            f"error[deploy-failed]: {outcome.name} {outcome.status}: {outcome.reason}\n"
        )
        return 1
    sys.stdout.write(outcome.output + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
