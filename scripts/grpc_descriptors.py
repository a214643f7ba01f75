"""Compiles ``modelpack/server/grpc/protos`` into ``modelpack/server/grpc/descriptors.py``.

    python scripts/grpc_descriptors.py           writes the module
    python scripts/grpc_descriptors.py --print   prints it

The compiler is the one in grpcio-tools, whose version the test group of pyproject.toml pins.  What
it makes is descriptors alone, which every protobuf runtime reads, and no module for one of them.
"""

from __future__ import annotations

import sys
import tempfile
from base64 import b64encode
from pathlib import Path
from textwrap import wrap

GRPC = Path(__file__).parents[1] / "modelpack" / "server" / "grpc"
TARGET = GRPC / "descriptors.py"

HEAD = '''"""Descriptors of the messages in ``protos``, made by ``scripts/grpc_descriptors.py``: do not edit."""

from __future__ import annotations

from base64 import b64decode

_TEXTS = (
'''

TAIL = ''')

FILES = tuple(b64decode(text) for text in _TEXTS)
"""Serialized FileDescriptorProto, each after those that it imports."""
'''


def compiled() -> list[tuple[str, bytes]]:
    """Return name and descriptor of every file, those of its imports before it."""
    import grpc_tools
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    protos = GRPC / "protos"
    own = Path(grpc_tools.__file__).parent / "_proto"
    names = sorted(path.name for path in protos.glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "set")
        words = [f"-I{protos}", f"-I{own}", "--include_imports", f"--descriptor_set_out={out}"]
        if protoc.main(["protoc", *words, *names]) != 0:
            raise SystemExit(1)
        found = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    return [(file.name, file.SerializeToString(deterministic=True)) for file in found]


def module() -> str:
    """Return the text of the module."""
    parts = [HEAD]
    for name, data in compiled():
        lines = "\n".join(wrap(b64encode(data).decode(), 96))
        parts.append(f'    # {name}\n    """\n{lines}\n""",\n')
    return "".join([*parts, TAIL])


def main() -> None:
    """Write the module, or print it."""
    if "--print" in sys.argv[1:]:
        sys.stdout.write(module())
    else:
        TARGET.write_text(module())


if __name__ == "__main__":
    main()
