"""Errors in the image, by the size of the hand there."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hmr_core.errors import UsageError
from hmr_core.metrics.points import Array, as_tensors, checked_mask, checked_pair, in_kind_of

BOX_SHARES = (0.05, 0.1, 0.15)
"""The shares of the box's side that the literature quotes."""


def pck_px(
    points_px: Array,
    true_px: Array,
    box_px: Array,
    *,
    shares: Sequence[float] = BOX_SHARES,
    valid: Array | None = None,
) -> Array:
    """The share of each hand's points that are off by at most a share of its box, (..., shares), 0..1.

    points_px, true_px: (..., n, 2), pixels. box_px: (...), the longer side of each hand's box. valid: (..., n), true
    where a point is known; None where all are. nan for a hand of which none is.
    Raises UsageError for other shapes. Source: Pavlakos et al., HaMeR (2024), PCK on HInt.
    """
    pred, true = checked_pair(points_px=points_px, true_px=true_px)
    (box,) = as_tensors(box_px=box_px)
    if box.shape != pred.shape[:-2]:
        raise UsageError(
            f"box_px has the shape {tuple(box.shape)}. Valid beside these points: {tuple(pred.shape[:-2])}."
        )
    known = checked_mask(valid, points_px, tuple(pred.shape[:-1]))
    limits = box[..., None] * torch.tensor(shares, dtype=torch.float64, device=box.device)
    off_px = torch.linalg.vector_norm(pred - true, dim=-1)
    within = (off_px[..., None] <= limits[..., None, :]) & known[..., None]
    return in_kind_of(within.sum(-2) / known.sum(-1, keepdim=True), points_px)  # type: ignore[no-any-return]
