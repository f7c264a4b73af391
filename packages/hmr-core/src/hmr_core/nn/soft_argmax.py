"""Soft-argmax: coordinates as the expectation over heat maps."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


def normalise_volume(
    logits: Float[Tensor, "batch joints depth height width"], norm: Literal["sigmoid", "softmax"]
) -> tuple[Float[Tensor, "batch joints depth height width"], Float[Tensor, "batch joints"]]:
    """Make a distribution over each joint's volume, in float32 at least; also return its peak before the division.

    sigmoid: each cell by itself, then divided by the sum (plus 1e-7), as published. softmax: over the whole volume.
    """
    flat = logits.flatten(2)
    flat = flat if flat.dtype == torch.float64 else flat.float()
    heat = torch.sigmoid(flat) if norm == "sigmoid" else torch.softmax(flat, dim=2)
    peak = heat.amax(2)
    return (heat / (heat.sum(2, keepdim=True) + 1e-7)).view(logits.shape), peak


def soft_argmax_3d(heat: Float[Tensor, "batch joints depth height width"]) -> Float[Tensor, "batch joints 3"]:
    """Compute the expectation of (x, y, z) over a volume, each as index / size, so that it lies in 0..1.

    Source: Sun et al., Integral Human Pose Regression, ECCV 2018, equation 2. The marginals are taken first, so that no
    volume of coordinates is built.
    """
    axes = (heat.sum((2, 3)), heat.sum((2, 4)), heat.sum((3, 4)))
    return torch.stack([_expectation(marginal) for marginal in axes], dim=-1)


def _expectation(marginal: Float[Tensor, "batch joints size"]) -> Float[Tensor, "batch joints"]:
    size = marginal.shape[-1]
    index = torch.arange(size, dtype=marginal.dtype, device=marginal.device)
    return (marginal * (index / size)).sum(-1)
