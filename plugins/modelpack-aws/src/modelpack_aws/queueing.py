"""Where asynchronous endpoints and jobs read and write, and who is told.

    s3://BUCKET/PREFIX ◄── answers, failures        topics Done and Failed ◄── one message a request

The bucket is the user's: it outlives the deployment.  The role may read below ``input`` and write
below ``output``, of buckets of this account alone (a bucket of the same name that somebody else has
made gets nothing: threat model S21).

Facts: Amazon SageMaker AI developer guide, "Create an asynchronous inference endpoint" and
"Check prediction results".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelpack.errors import UsageError
from modelpack_aws.given import bucket_and_prefix
from modelpack_aws.roles import statement
from modelpack_aws.template import Json, Template, ref, sub, tags
from modelpack_aws.wanted import Wanted

MOST_IN_FLIGHT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Bucket and prefix, twice."""

    input_bucket: str
    input_prefix: str
    output_bucket: str
    output_prefix: str

    @property
    def output(self) -> str:
        """Where answers go, as S3 writes it."""
        return _uri(self.output_bucket, self.output_prefix)


def places_of(wanted: Wanted) -> Places:
    """Return where a deployment reads and writes; raises UsageError when nothing says it."""
    text = wanted.options.get("output")
    if text is None:
        kind = wanted.options.get("kind", "async")
        raise UsageError(
            f"an endpoint of the kind '{kind}' needs a place for its answers",
            hint="add '--option output=s3://BUCKET/PREFIX'",
        )
    output_bucket, output_prefix = bucket_and_prefix("output", text)
    read = wanted.options.get("input", text)
    input_bucket, input_prefix = bucket_and_prefix("input", read)
    return Places(
        input_bucket=input_bucket,
        input_prefix=input_prefix,
        output_bucket=output_bucket,
        output_prefix=output_prefix,
    )


def topics(template: Template, own_tags: Mapping[str, str]) -> None:
    """Declare the topics that say of each request how it went."""
    for name, about in (
        ("Done", "requests that were answered"),
        ("Failed", "requests that failed"),
    ):
        template.add(name, "AWS::SNS::Topic", {"Tags": tags(own_tags)})
        template.output(f"{name}Topic", f"Topic of {about}", ref(name))


def queue_config(places: Places, wanted: Wanted) -> Json:
    """Return the ``AsyncInferenceConfig`` of an endpoint."""
    in_flight = wanted.scaling.in_flight
    return {
        "OutputConfig": {
            "S3OutputPath": places.output,
            "S3FailurePath": _uri(
                places.output_bucket, f"{places.output_prefix}/failed".strip("/")
            ),
            "NotificationConfig": {"SuccessTopic": ref("Done"), "ErrorTopic": ref("Failed")},
        },
        "ClientConfig": {
            "MaxConcurrentInvocationsPerInstance": max(1, min(MOST_IN_FLIGHT, int(in_flight or 4)))
        },
    }


def queue_statements(places: Places, *, tells: bool) -> list[Json]:
    """Return what reading, writing and telling takes."""
    own = {"StringEquals": {"aws:ResourceAccount": ref("AWS::AccountId")}}
    read = _objects(places.input_bucket, places.input_prefix)
    written = _objects(places.output_bucket, places.output_prefix)
    buckets = sorted({places.input_bucket, places.output_bucket})
    listed = [sub(f"arn:${{AWS::Partition}}:s3:::{bucket}") for bucket in buckets]
    statements = [
        statement(["s3:GetObject"], [read], condition=own, sid="ReadRequests"),
        statement(
            ["s3:AbortMultipartUpload", "s3:PutObject"],
            [written],
            condition=own,
            sid="WriteAnswers",
        ),
        # Without it, what is not there looks like what is not allowed.
        statement(["s3:ListBucket"], listed, condition=own, sid="LookIntoBuckets"),
    ]
    if tells:
        statements.append(statement(["sns:Publish"], [ref("Done"), ref("Failed")], sid="Tell"))
    return statements


def _objects(bucket: str, prefix: str) -> Json:
    below = f"{prefix}/*" if prefix else "*"
    return sub(f"arn:${{AWS::Partition}}:s3:::{bucket}/{below}")


def _uri(bucket: str, prefix: str) -> str:
    return f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
