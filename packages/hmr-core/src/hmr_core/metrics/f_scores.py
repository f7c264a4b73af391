"""F-scores of surfaces: how much of two sets of points lies closer to the other than a threshold, whichever is which.

Source: Knapitsch et al., Tanks and Temples (2017), eqs. 3-5; for hands Zimmermann et al., FreiHAND (2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmr_core.errors import HmrError, UsageError
from hmr_core.geometry.alignment import align
from hmr_core.metrics.points import Array, as_tensors, in_kind_of

THRESHOLDS_MM = (5.0, 15.0)
"""The thresholds that the literature quotes."""

_PART = 16
"""So many meshes are a thread's, before it takes the next."""

_LOST = 2e-6
"""What float32 may lose of a squared distance, as a share of the largest squares of the points: 17 roundings."""


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
    with _threads() as pool:
        chunks = [slice(start, start + _PART) for start in range(0, len(points), _PART)]
        parts = list(pool.map(lambda chunk: _scores(points[chunk], true[chunk], squares), chunks))
    return torch.cat([points.new_empty(0, len(thresholds_mm)), *parts])


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """As many threads as torch computes with, each of which computes alone: a step takes less than a millisecond, and
    on a busy machine threads that wait for each other at every step take ten times as long.
    """
    count = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(count)


def _scores(
    a: Float[Tensor, "batch n 3"], b: Float[Tensor, "batch m 3"], squares: Float[Tensor, " thresholds"]
) -> Float[Tensor, "batch thresholds"]:
    """The F-scores of some meshes. squares: of the thresholds.

    Distances are taken in float32, in half the time; where that leaves it open whether one is below a threshold, it is
    taken again in float64.
    """
    middle = a.mean(1, keepdim=True)
    a, b = ((points - middle).mT.contiguous() for points in (a, b))
    a_squares, b_squares = (points.square().sum(1, keepdim=True) for points in (a, b))
    # |a - b|^2 = |a|^2 + |b|^2 - 2 a b, as one product of matrices of five columns and five rows.
    left = torch.cat([-2 * a, a_squares, torch.ones_like(a_squares)], dim=1).float().mT
    right = torch.cat([b, torch.ones_like(b_squares), b_squares], dim=1).float()
    to_b, to_a = left.new_empty(len(a), a.shape[2]), left.new_empty(len(b), b.shape[2])
    # One pair of meshes at a time, all in the same memory: its n x m distances just fit a processor's cache.
    memory = left.new_empty(a.shape[2], b.shape[2])
    for i in range(len(a)):
        torch.matmul(left[i], right[i], out=memory)
        torch.amin(memory, 1, out=to_b[i])
        torch.amin(memory, 0, out=to_a[i])
    lost = _LOST * (a_squares.amax(2) + b_squares.amax(2))
    precision = _closer(to_b, a, b, squares, lost).double().mean(1)
    recall = _closer(to_a, b, a, squares, lost).double().mean(1)
    both = precision + recall
    return torch.where(both > 0, 2 * precision * recall / both, 0)


def _closer(
    nearest: Float[Tensor, "batch n"],
    a: Float[Tensor, "batch 3 n"],
    b: Float[Tensor, "batch 3 m"],
    squares: Float[Tensor, " thresholds"],
    lost: Float[Tensor, "batch 1"],
) -> Bool[Tensor, "batch n thresholds"]:
    """Whether the nearest one of b is closer to each point of a than each threshold.

    nearest: its squared distance, which may be off by `lost`; no number where it is too large for float32.
    """
    squared = nearest.double()
    sure = ((squared[..., None] - squares).abs() > lost[..., None]).all(2)
    for mesh, point in (~sure).nonzero().tolist():
        squared[mesh, point] = (a[mesh, :, point, None] - b[mesh]).square().sum(0).min()
    return squared[..., None] < squares
