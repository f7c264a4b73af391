"""Losses of what annotations have, where they lack some of it for some samples."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def known_l1(
    predicted: Float[Tensor, "batch *rest"], truth: Float[Tensor, "batch *rest"], known: Float[Tensor, "batch *some"]
) -> Float[Tensor, ""]:
    """Mean |predicted - truth| over all numbers that are known; 0 where none is.

    known: 1 or 0 for each sample, or for each of its points: its shape is how predicted's begins.
    """
    weights = known.reshape(*known.shape, *[1] * (predicted.ndim - known.ndim)).expand_as(predicted)
    return ((predicted - truth).abs() * weights).sum() / weights.sum().clamp(min=1)
