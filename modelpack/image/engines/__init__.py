"""Builders that need a container engine, or at least its program.

    building    build_image: choose, build, search for secrets
    choosing    which builder, and why          orders         what it is asked, what it gives
    classic     Docker, over its interface      buildkit       Docker, through its program
    podman      podman and buildah              docker         where the engine is, what it has
    following   steps, log, errors              programs       a process with an end
    build_secrets, redaction, indexes           what a build may know, and what nobody may see
    scratch     folders for a while             tunnel         an engine of another machine

Every builder makes the same image of the same plan: files, user, variables, labels, entry point and
health check come from one list of instructions (``modelpack.image.dockerfile``).
"""

from modelpack.image.engines.build_secrets import BuildSecret
from modelpack.image.engines.building import build_image
from modelpack.image.engines.choosing import ENGINES
from modelpack.image.engines.docker import connect
from modelpack.image.engines.orders import ImageBuildError, ImageResult

__all__ = [
    "ENGINES",
    "BuildSecret",
    "ImageBuildError",
    "ImageResult",
    "build_image",
    "connect",
]
