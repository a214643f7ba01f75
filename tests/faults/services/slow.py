"""Takes 0.1 s a batch and counts the rows that it computed."""

import time

from modelpack import Tensor, api, service


@service
class Slow:
    def __init__(self) -> None:
        self.rows = 0

    @api(batch=True, max_batch_size=4)
    def work(self, x: Tensor["float32", "batch", 1]) -> Tensor["float32", "batch", 1]:
        self.rows += len(x)
        time.sleep(0.1)
        return x

    @api
    def computed(self) -> int:
        return self.rows
