"""TorchScript."""

import torch
from nets import Net
from rows import x


def make(folder):
    torch.manual_seed(1)
    return {"model": torch.jit.script(Net(16).eval()), "sample": {"x": x}}
