"""An image run on this machine, through its engine.

settings   port, limits, rights: what the container is made with
container  start, wait until it answers, stop, remove
"""

from modelpack.image.running.container import NotReadyError, Running, run_image
from modelpack.image.running.settings import RunOptions

__all__ = ["NotReadyError", "RunOptions", "Running", "run_image"]
