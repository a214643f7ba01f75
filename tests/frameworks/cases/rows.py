"""Data for the cases: 120 rows of four numbers, and which of three kinds each of them is."""

from __future__ import annotations

import numpy as np

_rng = np.random.default_rng(7)
x = _rng.normal(size=(120, 4)).astype("float32")
y = (x[:, 0] + 2 * x[:, 1] > 0).astype("int64") + (x[:, 2] > 0.5)
words = np.array(["low", "middle", "high"])[y]
