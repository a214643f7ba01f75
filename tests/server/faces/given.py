"""What the lines of the checklist are tried with: a model, a small machine, an older registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import orjson
from onnx import TensorProto, helper

from modelpack.manifest import sha256_digest

SMALL = """
from modelpack.server.faces import multi_model
multi_model.memory_bytes = lambda: multi_model.PROCESS_BYTES * 2  # of such a machine
multi_model.LOADED = 60_000_000 / {size}  # of which one such model takes most
"""
"""Code of a service: the machine that it runs on has no memory for two models."""


def doubling_model(folder: Path) -> str:
    """Write an ONNX model that adds a number to itself; returns its folder."""
    folder.mkdir(parents=True)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "m.onnx")
    return str(folder)


def as_before(stand_in: Any, repository: str, tag: str, new: str) -> None:
    """Tag what a registry has once more, with the names that the format had up to v0.0.6."""
    blobs = stand_in.blobs[repository]
    manifest, kind = stand_in.manifests[repository, tag]
    value = json.loads(manifest.replace(b"vnd.cncf.model", b"vnd.cnai.model"))
    config = blobs[value["config"]["digest"]].replace(b'"diffIds"', b'"diff_ids"')
    digest = sha256_digest(config)
    blobs[digest] = config
    value["config"] |= {"digest": digest, "size": len(config)}
    written = orjson.dumps(value).replace(b"org.cncf.model", b"org.cnai.model")
    for name in (new, sha256_digest(written)):
        stand_in.manifests[repository, name] = (written, kind)
