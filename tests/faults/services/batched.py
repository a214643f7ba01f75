"""Does to its process what its input says."""

import os
import signal
import time

import numpy as np

from modelpack import Tensor, api, service

RAISES, KILLS, HANGS, FEW, MANY, NAN = 13, 66, 99, 77, 78, 55


@service
class Faulty:
    @api(batch=True, max_batch_size=32)
    def double(self, x: Tensor["float32", "batch", 2]) -> Tensor["float32", "batch", 2]:
        first = x[:, 0]
        if (first == RAISES).any():
            raise ValueError("thirteen, says /etc/passwd")
        if (first == KILLS).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (first == HANGS).any():
            time.sleep(3600)
        if (first == FEW).any():
            return x[1:] * 2
        if (first == MANY).any():
            return np.concatenate([x, x])
        time.sleep(0.02)
        return np.where(x == NAN, np.nan, x * 2)

    @api(batch=True)
    def lengths(self, words: list[str]) -> list[int]:
        return [len(word) for word in words]

    @api(batch=True)
    def total(self, x: Tensor["float32", "batch", "n"]) -> Tensor["float32", "batch"]:
        return x.sum(axis=1)
