"""Reads handwritten digits: 64 grey values in, the digit and its probabilities out."""

from dataclasses import dataclass

import modelpack
from modelpack import Tensor

Images = Tensor["float32", "batch", 64]
Labels = Tensor["int64", "batch"]
Probabilities = Tensor["float32", "batch", 10]


@dataclass
class Reading:
    label: Labels
    probabilities: Probabilities


@modelpack.service
class @{class}:
    """Reads handwritten digits from images of 8 x 8 pixels."""

    clf = modelpack.Model("@{name}-clf:latest")

    @modelpack.api(batch=True, max_batch_size=64)
    def predict(self, x: Images) -> Reading:
        """Return the digit in each image, and how likely each digit is.

        An image is 64 grey values from 0 to 16, row by row.
        """
        return Reading(**self.clf(x))
