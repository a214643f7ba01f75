"""A model in the words of the protocol: its metadata, and the configuration that Triton would have.

    Served ──metadata──► {"name", "versions", "platform", "inputs", "outputs"}
           ──configuration──► {"name", "max_batch_size", "input", "output", …}

An answer whose parts only show when it is there (``dict``) has no outputs in either.  In the
configuration an api with batches has ``max_batch_size`` and dims without the batch, if all of its
inputs have rows; else 0 and all dims, as Triton has it for models that do not batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelpack.config.settings import ServerSettings
from modelpack.server.faces.catalog import Served
from modelpack.server.faces.tensors import InputPort, OutputPort


def metadata(served: Served, version: str, platform: str) -> dict[str, Any]:
    """Return the model metadata of the Open Inference Protocol."""
    return {
        "name": served.name,
        "versions": [version],
        "platform": platform,
        "inputs": [_tensor(port) for port in served.inputs],
        "outputs": [_tensor(port) for port in served.outputs.declared],
    }


def configuration(served: Served, settings: ServerSettings, platform: str) -> dict[str, Any]:
    """Return the model as a ``ModelConfig`` in JSON (Triton's model configuration extension)."""
    api = served.api
    batch = api.batch
    ports: Sequence[InputPort | OutputPort] = (*served.inputs, *served.outputs.declared)
    has_rows = (
        batch is not None
        and {port.name for port in served.inputs} <= set(api.batched)
        and all(port.shape and port.shape[0] < 0 for port in ports)
    )
    found: dict[str, Any] = {
        "name": served.name,
        "platform": "",
        "backend": platform,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": batch.max_batch_size if batch is not None and has_rows else 0,
        "input": [_configured(port, has_rows) for port in served.inputs],
        "output": [_configured(port, has_rows) for port in served.outputs.declared],
        "instance_group": [{"name": served.name, "kind": "KIND_CPU", "count": settings.replicas}],
        "model_transaction_policy": {"decoupled": api.is_stream},
        "parameters": {},
    }
    if batch is not None and has_rows:
        wait_us = round((batch.max_wait_ms or 0) * 1000)
        found["dynamic_batching"] = {
            "preferred_batch_size": list(batch.preferred_batch_sizes),
            "max_queue_delay_microseconds": wait_us,
        }
    return found


def _tensor(port: InputPort | OutputPort) -> dict[str, Any]:
    return {"name": port.name, "datatype": port.datatype, "shape": list(port.shape)}


def _configured(port: InputPort | OutputPort, has_rows: bool) -> dict[str, Any]:
    dims = list(port.shape[1:] if has_rows else port.shape)
    kind = "STRING" if port.datatype == "BYTES" else port.datatype
    found: dict[str, Any] = {"name": port.name, "data_type": f"TYPE_{kind}", "dims": dims or [1]}
    if not dims:
        found["reshape"] = {"shape": []}
    if isinstance(port, InputPort) and not port.is_required:
        found["optional"] = True
    return found
