"""Which service of AWS a deployment gets when its spec does not say, and why.

    DeploymentSpec ──choose──► ("ecs", "no machines to look after …")
    word ──MODES.load──► AwsMode

Pure: the same spec gives the same answer everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelpack.deploy import DeploymentSpec, Modes
from modelpack_aws.given import is_on
from modelpack_aws.modes import AwsMode
from modelpack_aws.wanted import GIB

MODES = Modes[AwsMode](
    {
        "ecs": "modelpack_aws.standing:EcsMode",
        "ec2": "modelpack_aws.standing:Ec2Mode",
        "lambda": "modelpack_aws.lambda_mode:LambdaMode",
        "sagemaker": "modelpack_aws.sagemaker_mode:SagemakerMode",
    },
)

_LAMBDA_BYTES = 10 * GIB
"""Most memory of a function: AWS Lambda developer guide, "Lambda quotas"."""


def choose(
    spec: DeploymentSpec, options: Mapping[str, str], allowed: Sequence[str]
) -> tuple[str, str]:
    """Return the word of a mode, and why it is that one; raises UsageError.

    allowed  words of the modes that the target has; of one alone there is no choice
    """
    asked = MODES.asked(spec, allowed)
    if asked is not None:
        return asked
    settings = spec.settings
    if (settings.instance or "").startswith("ml."):
        return "sagemaker", f"'{settings.instance}' is a type of SageMaker"
    if is_on(options, "spot"):
        return "ec2", "spot instances are of EC2"
    if settings.accelerator is not None:
        return "sagemaker", (
            f"Fargate has no '{settings.accelerator}', SageMaker has, with drivers and replacement; "
            "'mode: ec2' has it for less, on instances of your own"
        )
    if settings.instance is not None:
        return "ec2", f"'{settings.instance}' is asked for, and ECS on Fargate takes no type"
    if settings.min_replicas == 0 and (settings.memory_bytes or 0) <= _LAMBDA_BYTES:
        return "lambda", "it alone costs nothing while nobody asks (scaling.min is 0)"
    return "ecs", "no machines to look after, and as many replicas as there are requests for"
