"""What the data sets' own scorers have in common: FreiHAND's alignment, means, areas and F-scores.

Points are in metres; errors are (n, points), in metres, nan where a point is not known.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

_NO_SIZE = 1e-8
"""What the scorers add to a hand's size before they divide by it: points that are all in one place stay there."""


def aligned(points: Float[ndarray, "n points 3"], true: Float[ndarray, "n points 3"]) -> Float64[ndarray, "n points 3"]:
    """The points under the similarity (reflection allowed) that brings them closest to the truth; PA.

    Unlike our own metrics it gives a result for points that are all in one place: the middle of the truth.
    """
    points, true = points.astype(np.float64), true.astype(np.float64)
    middle = true.mean(1, keepdims=True)
    a, b = points - points.mean(1, keepdims=True), true - middle
    size, true_size = (np.linalg.norm(hand, axis=(1, 2))[:, None, None] + _NO_SIZE for hand in (a, b))
    u, s, vt = np.linalg.svd(np.swapaxes(a / size, 1, 2) @ (b / true_size))
    placed: ndarray = (a / size) @ (u @ vt) * s.sum(1)[:, None, None] * true_size + middle
    return placed


def distances(points: Float[ndarray, "n points 3"], true: Float[ndarray, "n points 3"]) -> Float64[ndarray, "n points"]:
    """How far each point is from its true place."""
    far: ndarray = np.linalg.norm(points.astype(np.float64) - true.astype(np.float64), axis=-1)
    return far


def mean_of_means(errors: Float64[ndarray, "n points"]) -> float | None:
    """The mean of each point over the samples that know it, then the mean of these; None where nothing is known."""
    known = ~np.isnan(errors)
    counts = known.sum(0)
    there = counts > 0
    if not there.any():
        return None
    return float((np.where(known, errors, 0).sum(0)[there] / counts[there]).mean())


def area(errors: Float64[ndarray, "n points"]) -> float | None:
    """The area under the PCK curve with 100 thresholds from 0 to 50 mm, an error on a threshold counted, point by
    point, then their mean.
    """
    from hmr_core.metrics import auc

    return None if np.isnan(errors).all() else auc(1000 * errors)


def f_means(points: Float[ndarray, "n m 3"], true: Float[ndarray, "n k 3"]) -> tuple[float, float]:
    """The means of the F-scores at 5 and 15 mm."""
    from hmr_core.metrics import f_scores

    at_5mm, at_15mm = f_scores(points.astype(np.float64), true.astype(np.float64)).mean(0).tolist()
    return at_5mm, at_15mm


def mesh_metrics(
    verts: Float[ndarray, "n m 3"] | None, true: Float[ndarray, "n k 3"] | None
) -> dict[str, float | None]:
    """What FreiHAND and HO-3D report of meshes, by their names, in cm; None where there is no mesh on either side."""
    names = [f"mesh_{kind}{what}" for kind in ("", "al_") for what in ("mean3d", "auc3d")]
    names += [f"f_{kind}score_{t}" for t in (5, 15) for kind in ("", "al_")]
    if verts is None or true is None:
        return dict.fromkeys(names)
    placed = aligned(verts, true)
    found: list[float | None] = []
    for points in (verts, placed):
        errors = distances(points, true)
        mean = mean_of_means(errors)
        found += [None if mean is None else 100 * mean, area(errors)]
    raw, after = f_means(verts, true), f_means(placed, true)
    found += [raw[0], after[0], raw[1], after[1]]
    return dict(zip(names, found, strict=True))
