"""Stochastic depth: in training a residual branch is left out for some samples, and scaled for the others.

Huang et al., Deep Networks with Stochastic Depth, ECCV 2016.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class DropPath(nn.Module):
    """A branch that counts 0 with probability `rate` and 1 / (1 - rate) else, for each sample, by torch's generator."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Float[Tensor, "batch *rest"]) -> Float[Tensor, "batch *rest"]:
        """The branch as it counts; in eval mode it is as it was."""
        if not self.training or self.rate == 0:
            return branch
        shape = (len(branch), *[1] * (branch.ndim - 1))
        kept = torch.rand(shape, device=branch.device) >= self.rate
        return branch * (kept / (1 - self.rate)).to(branch.dtype)


def drop_rates(last: float, blocks: int) -> list[float]:
    """The rates of a network's blocks: rising evenly from 0 to that of the last."""
    return [last * i / max(blocks - 1, 1) for i in range(blocks)]
