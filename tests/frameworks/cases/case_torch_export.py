"""An exported program, for any number of rows."""

import torch
from nets import Net
from rows import x


def make(folder):
    torch.manual_seed(1)
    rows = torch.export.Dim("rows", min=2, max=1024)
    model = torch.export.export(
        Net(16).eval(), (torch.from_numpy(x),), dynamic_shapes={"x": {0: rows}}
    )
    return {"model": model, "sample": {"x": x}}
