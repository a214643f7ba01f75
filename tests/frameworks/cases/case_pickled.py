"""Any object: a function of this very file, which the other side does not have, over a table."""

import pandas as pd
from rows import x


def make(folder):
    table = pd.DataFrame({"weight": [0.5, -1.0, 2.0, 0.25]})

    def score(rows):
        return rows @ table["weight"].to_numpy()

    return {"model": score, "sample": {"x": x}}
