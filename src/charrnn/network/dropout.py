"""Dropout of numbers, whose random draws cost little on a CPU, and of whole input characters."""

import torch
from torch import Tensor, nn

BITS = 16  # of each random number: the probability is exact to 2^-17


class Dropout(nn.Dropout):
    """Sets each number to 0 with probability `p` while training, and divides the others by 1 - p (Srivastava 2014).

    On a CPU torch draws a double for every number, which took a third of a step; here one draw of its generator decides
    on four numbers.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        words = torch.empty(-(-x.numel() * BITS // 64), dtype=torch.int64).random_(-(2**63), None)
        numbers = words.view(torch.int16)[: x.numel()].view(x.shape)
        kept = numbers >= round(self.p * 2**BITS) - 2 ** (BITS - 1)
        dropped: Tensor = x * kept.to(x.dtype).mul_(1 / (1 - self.p))
        return dropped


class InputDropout(nn.Module):
    """Replaces each id by `missing` with probability `p` while training, like the word dropout of Bowman (2016).

    The recurrence goes on without that character; nothing is scaled.
    """

    def __init__(self, p: float, missing: int) -> None:
        super().__init__()
        self.p, self.missing = p, missing

    def forward(self, ids: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return ids
        return ids.masked_fill(torch.rand(ids.shape, device=ids.device) < self.p, self.missing)
