"""F-scores of surfaces: how much of two sets of points lies closer to the other than a threshold, whichever is which.

Source: Knapitsch et al., Tanks and Temples (2017), eqs. 3-5; for hands Zimmermann et al., FreiHAND (2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.errors import HmrError, UsageError
from hmr_core.geometry.alignment import align
from hmr_core.metrics.points import Array, as_tensors, in_kind_of

THRESHOLDS_MM = (5.0, 15.0)
"""The thresholds that the literature quotes."""


def f_scores(
    points: Array, true_points: Array, *, thresholds_mm: Sequence[float] = THRESHOLDS_MM, aligned: bool = False
) -> Array:
    """The F-score of each mesh at each threshold, (..., thresholds), 0..1.

    points: (..., n, 3), metres. true_points: (..., m, 3). aligned: bring the points closest to the truth first, by a
    similarity (reflection allowed, as published); then n must be m, and point i is where true point i should be.
    At a threshold, precision is the share of the predicted points whose nearest true point is closer (not: as far),
    and recall the share of the true points whose nearest predicted point is. F = 2 P R / (P + R), and 0 where both are.
    Raises UsageError for other shapes; HmrError for points that are not finite or, if aligned, are all in one place.
    """
    pred, true = as_tensors(points=points, true_points=true_points)
    fits = pred.ndim >= 2 and pred.shape[:-2] == true.shape[:-2] and pred.shape[-1] == true.shape[-1] == 3
    if not fits or 0 in pred.shape or 0 in true.shape or (aligned and pred.shape != true.shape):
        same = "n = m, since they are aligned" if aligned else "of one point at least"
        raise UsageError(
            f"points has the shape {tuple(pred.shape)}, and true_points {tuple(true.shape)}. Valid: (..., n, 3) and "
            f"(..., m, 3), {same}."
        )
    for what, given in (("points", pred), ("true_points", true)):
        if not bool(torch.isfinite(given).all()):
            raise HmrError(f"{what} has numbers that are not finite, so it has no F-score.")
    flat, true_flat = pred.reshape(-1, *pred.shape[-2:]), true.reshape(-1, *true.shape[-2:])
    scores = flat_f_scores(align(flat, true_flat) if aligned else flat, true_flat, [float(t) for t in thresholds_mm])
    return in_kind_of(scores.reshape(*pred.shape[:-2], len(thresholds_mm)), points)  # type: ignore[no-any-return]


def flat_f_scores(
    points: Float[Tensor, "batch n 3"], true: Float[Tensor, "batch m 3"], thresholds_mm: Sequence[float] = THRESHOLDS_MM
) -> Float[Tensor, "batch thresholds"]:
    """`f_scores` of a flat batch in float64."""
    squares = torch.tensor([(t / 1000) ** 2 for t in thresholds_mm], dtype=torch.float64, device=points.device)
    # One pair of meshes at a time, all in the same memory: its n x m distances just fit a processor's cache.
    memory = points.new_empty(points.shape[1], true.shape[1])
    scores = points.new_empty(len(points), len(thresholds_mm))
    with _one_thread():
        for i, (a, b) in enumerate(zip(points, true, strict=True)):
            to_true, to_points = _nearest(a, b, memory)
            precision = (to_true[:, None] < squares).double().mean(0)
            recall = (to_points[:, None] < squares).double().mean(0)
            both = precision + recall
            scores[i] = torch.where(both > 0, 2 * precision * recall / both, 0)
    return scores


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread: a step takes less than a millisecond, and on a busy machine threads that wait for each
    other at every step take ten times as long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _nearest(
    a: Float[Tensor, "n 3"], b: Float[Tensor, "m 3"], memory: Float[Tensor, "n m"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    """The squared distance of each point to the nearest of the others, both ways.

    |a - b|^2 = |a|^2 + |b|^2 - 2 a b, as one product of matrices. Both are first moved to a's middle: what is lost to
    rounding then is below 1e-16 m^2 for hands, so below 1e-11 m at 5 mm.
    """
    middle = a.mean(0)
    a, b = a - middle, b - middle
    ones = (torch.ones_like(a[:, :1]), torch.ones_like(b[:, :1]))
    left = torch.cat([-2 * a, (a * a).sum(1, keepdim=True), ones[0]], dim=1)
    right = torch.cat([b, ones[1], (b * b).sum(1, keepdim=True)], dim=1)
    squared = torch.matmul(left, right.T, out=memory)
    return squared.amin(1), squared.amin(0)
