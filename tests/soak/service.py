"""What the soak test serves: it raises, dies, dawdles or streams, as its input says."""

import os
import signal
import time
from collections.abc import Iterator

from modelpack import Tensor, api, service

RAISES, KILLS, DAWDLES = 13, 66, 44


@service
class Soaked:
    @api(batch=True, max_batch_size=32)
    def double(self, x: Tensor["float32", "batch", 8]) -> Tensor["float32", "batch", 8]:
        first = x[:, 0]
        if (first == RAISES).any():
            raise ValueError("thirteen")
        if (first == KILLS).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (first == DAWDLES).any():
            time.sleep(0.05)
        return x * 2

    @api
    def count(self, to: int) -> Iterator[int]:
        for number in range(to):
            time.sleep(0.002)
            yield number
