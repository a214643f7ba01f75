"""What a model takes and gives, as messages: its metadata, and Triton's configuration of it."""

from __future__ import annotations

from modelpack.server.faces.catalog import Catalog, Served
from modelpack.server.faces.tensors import Shape
from modelpack.server.grpc.messages import Message, enum, message

PLATFORM = "modelpack"

_Metadata = message("inference.ModelMetadataResponse")
_Config = message("inference.ModelConfig")
_TYPES = enum("inference.DataType")


def metadata_of(served: Served, catalog: Catalog) -> Message:
    """Return the metadata of a model."""
    found = _Metadata(name=served.name, versions=[catalog.version], platform=PLATFORM)
    for port in served.inputs:
        found.inputs.add(name=port.name, datatype=port.datatype, shape=port.shape)
    for output in served.outputs.declared:
        found.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
    return found


def config_of(served: Served, replicas: int) -> Message:
    """Return the configuration of a model; the axes of an api with batches are those of one row."""
    api = served.api
    config = _Config(name=served.name, platform=PLATFORM, backend=PLATFORM)
    if api.batch is not None:
        config.max_batch_size = api.batch.max_batch_size
        batching = config.dynamic_batching
        batching.preferred_batch_size.extend(api.batch.preferred_batch_sizes)
        batching.max_queue_delay_microseconds = int((api.batch.max_wait_ms or 0) * 1000)
    config.instance_group.add(name=served.name, count=replicas)
    config.model_transaction_policy.decoupled = api.is_stream
    for port in served.inputs:
        config.input.add(
            name=port.name,
            data_type=_type(port.datatype),
            dims=_dims(port.shape, is_batched=port.name in api.batched),
            optional=not port.is_required,
        )
    for output in served.outputs.declared:
        dims = _dims(output.shape, is_batched=api.batch is not None)
        config.output.add(name=output.name, data_type=_type(output.datatype), dims=dims)
    return config


def _type(datatype: str) -> int:
    return _TYPES["TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"]


def _dims(shape: Shape, *, is_batched: bool) -> Shape:
    return shape[1:] if is_batched else shape
