"""Loads, unless a file says that its weights are gone."""

from pathlib import Path

from modelpack import Tensor, api, service


@service
class Moody:
    def __init__(self) -> None:
        if Path("broken").exists():
            raise OSError("weights.bin is gone")

    @api(batch=True)
    def double(self, x: Tensor["float32", "batch", 2]) -> Tensor["float32", "batch", 2]:
        return x * 2
