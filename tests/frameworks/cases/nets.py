"""A module as a user writes one: dropout, and two layers that share their weights."""

from __future__ import annotations

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(4, hidden)
        self.dropout = nn.Dropout(0.5)
        self.second = nn.Linear(hidden, 3)
        self.again = nn.Linear(hidden, 3)
        self.again.weight = self.second.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.dropout(torch.relu(self.first(x)))
        return self.second(hidden) + self.again(hidden)


def make(hidden: int) -> Net:
    return Net(hidden)


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.layer(x)
        return {"scores": scores, "best": scores.argmax(dim=1)}
