"""A module that a function makes."""

import torch
from nets import Net
from rows import x


def make(folder):
    torch.manual_seed(1)
    options = {"factory": "nets:make", "arguments": {"hidden": 16}}
    return {"model": Net(16), "options": options, "sample": {"x": x}}
