"""The messages: what ``protos`` say, with the numbers that clients of others send."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from modelpack.server.grpc.messages import message

ROOT = Path(__file__).parents[3]


def test_the_descriptors_are_what_the_compiler_makes_of_the_protos() -> None:
    script = ROOT / "scripts" / "grpc_descriptors.py"

    made = subprocess.run(
        [sys.executable, script, "--print"], capture_output=True, text=True, check=True
    ).stdout

    assert made == (ROOT / "modelpack" / "server" / "grpc" / "descriptors.py").read_text()


def field(number: int, value: bytes) -> bytes:
    """Write a field with a length before it, by hand."""
    return bytes([number << 3 | 2, len(value)]) + value


def test_a_request_written_by_hand_is_understood() -> None:
    """Numbers of the Open Inference Protocol: model 1, version 2, id 3, inputs 5, outputs 6, raw 7."""
    contents = field(6, np.float32(0.5).tobytes()) + bytes([6 << 3 | 5]) + np.float32(2).tobytes()
    tensor = field(1, b"x") + field(2, b"FP32") + field(3, b"\x02") + field(5, contents)
    parameter = field(4, field(1, b"timeout") + field(2, b"\x10\x05"))
    wire = b"".join(
        [field(1, b"m"), field(2, b"v"), field(3, b"i"), parameter, field(5, tensor),
         field(6, field(1, b"y")), field(7, b"raw")]
    )  # fmt: skip

    read = message("inference.ModelInferRequest").FromString(wire)

    assert (read.model_name, read.model_version, read.id) == ("m", "v", "i")
    assert read.parameters["timeout"].int64_param == 5
    (one,) = read.inputs
    assert (one.name, one.datatype, list(one.shape)) == ("x", "FP32", [2])
    assert list(one.contents.fp32_contents) == [0.5, 2.0]  # packed, and one that is not
    assert [out.name for out in read.outputs] == ["y"]
    assert list(read.raw_input_contents) == [b"raw"]


def test_our_messages_stand_beside_those_of_a_client_in_one_process() -> None:
    """Two definitions of a name in protobuf's own pool would be an error."""

    program = """
from google.protobuf import descriptor_pool
import modelpack.server.grpc.messages as ours
pool = descriptor_pool.Default()
pool.AddSerializedFile(ours.FILES_BY_NAME["health.proto"].replace(b"health.proto", b"other_.proto"))
print(pool.FindMessageTypeByName("grpc.health.v1.HealthCheckRequest").file.name)
"""

    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert said.strip() == "other_.proto"
