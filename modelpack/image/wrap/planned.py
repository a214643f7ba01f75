"""How the image of a wrapped program differs from that of a bundle that modelpack serves.

ImagePlan of the bundle ──plan_for_program──► the same base, rules and labels; the program's port;
                                              no packages, no server; process 1 and the health
                                              check are scripts of the base's own Python

The entry point is ``python3 init.py PROGRAM ARGUMENT ...`` (``server.life.init``): the program gets
its signals, orphans are reaped, and its status is the container's.
"""

from __future__ import annotations

from dataclasses import replace

from modelpack.errors import UsageError
from modelpack.image.bases import PythonFrom
from modelpack.image.plan import BUNDLE_ROOT, ImagePlan, LayerKind
from modelpack.manifest import ProgramRecord

INIT_FILE = "init.py"
"""Process 1, below ``bundle/code``."""

_CODE = f"{BUNDLE_ROOT}/code"
_SERVER_ONLY = ("MODELPACK_BUNDLE", "MODELPACK_HOST", "MODELPACK_PORT")

# Any answer will do that is not the program's own failure: which paths it has is not known.
_PROBE = (
    "import os,socket; "
    's=socket.create_connection(("127.0.0.1",int(os.environ["PORT"])),4); '
    's.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n"); '
    "a=s.recv(64); "
    'raise SystemExit(not a.startswith(b"HTTP/") or a.split(b" ")[1][:1]==b"5")'
)


def plan_for_program(plan: ImagePlan, program: ProgramRecord) -> ImagePlan:
    """Return the plan of a bundle whose service is ``program``.

    Raises UsageError when the program was compiled for another platform than the image is for.
    """
    if program.platform not in (None, plan.platform.name):
        raise UsageError(
            f"'{program.path}' was compiled for {program.platform}, and the image is for "
            f"{plan.platform.name}",
            hint="wrap one that was compiled for it, or leave --platform out",
        )
    python = "python3" if plan.base.python_from is PythonFrom.BASE else f"python{plan.python}"
    script = (python, "-I", "-S")
    env = {name: value for name, value in plan.env.items() if name not in _SERVER_ONLY}
    without = (LayerKind.PACKAGES, LayerKind.SERVER)
    return replace(
        plan,
        base=replace(plan.base, reason=_reason(plan)),
        program=program,
        env={**env, "PORT": str(program.port)},
        port=program.port,
        entry_point=(
            *script,
            f"{_CODE}/{INIT_FILE}",
            f"{_CODE}/{program.path}",
            *program.arguments,
        ),
        health_check=(*script, "-c", _PROBE),
        layers=tuple(layer for layer in plan.layers if layer.kind not in without),
    )


def _reason(plan: ImagePlan) -> str:
    if plan.base.has_gpu or "asked" in plan.base.reason:
        return plan.base.reason
    return "a wrapped program needs glibc, and a Python that starts and checks it"
