"""What AWS has, as boto3 that is installed knows it: regions, and types of instances.

    region, instance ──require──► nothing, or UsageError with what was probably meant

No call is made, so a plan without credentials refuses what a plan with them would.  What AWS has had
for less time than boto3 is old is not known here: then a newer boto3 is what is missing.

Sources: ``endpoints.json`` of botocore (all partitions); the enumerations ``InstanceType`` of the EC2
API, ``ProductionVariantInstanceType`` and ``TransformInstanceType`` of the SageMaker API.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

from modelpack.errors import UsageError, did_you_mean

_NEWER = "a newer boto3 may know it: pip install -U boto3"
_TYPES = {
    "ec2": ("EC2", "ec2", "InstanceType"),
    "sagemaker": ("SageMaker", "sagemaker", "ProductionVariantInstanceType"),
    "transform": ("batch transform of SageMaker", "sagemaker", "TransformInstanceType"),
}


def require_region(region: str | None, *, said_by: str) -> None:
    """Raise UsageError for a region that AWS has not; None is for AWS's own configuration to say.

    said_by  where it is named, such as ``deploy.region``
    """
    if region is not None and region not in regions():
        raise UsageError(
            f"{said_by}: AWS has no region '{region[:40]}'", hint=_hint(region, regions())
        )


def require_type(name: str, where: str) -> None:
    """Raise UsageError for a type of instance that a service has not.

    where  ``ec2``, ``sagemaker`` (endpoints) or ``transform`` (its batch jobs)
    """
    title, service, shape = _TYPES[where]
    full = name if where == "ec2" or name.startswith("ml.") else f"ml.{name}"
    known = types(service, shape)
    if full not in known:
        raise UsageError(
            f"deploy.instance: {title} has no type '{name[:40]}'", hint=_hint(full, known)
        )


@cache
def regions() -> frozenset[str]:
    """Return the regions of all partitions; EC2 is in every one."""
    import botocore.session

    session = botocore.session.get_session()
    names = session.get_available_partitions()
    return frozenset(one for name in names for one in session.get_available_regions("ec2", name))


@cache
def types(service: str, shape: str) -> frozenset[str]:
    """Return the words of an enumeration of a service."""
    import botocore.session

    model = botocore.session.get_session().get_service_model(service)
    return frozenset(model.shape_for(shape).enum)


def _hint(said: str, known: Collection[str]) -> str:
    near = did_you_mean(said, sorted(known))
    return f"did you mean '{near}'? else {_NEWER}" if near else _NEWER
