"""The similarity that brings one set of points closest to another (orthogonal Procrustes with scale)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.errors import HmrError


class DegeneratePointsError(HmrError):
    """Points that no similarity aligns. index: of the first such sample in the batch; reason: what they are like, and
    what to check.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"PA error of sample {index}: {reason}")
        self.index, self.reason = index, reason


def align(
    source: Float[Tensor, "batch n 3"], target: Float[Tensor, "batch n 3"], *, reflection: bool = True
) -> Float[Tensor, "batch n 3"]:
    """source under the rotation, scale and shift that bring it closest to target in the least-squares sense.

    reflection: whether a mirrored source is allowed, as in the published protocol (which uses orthogonal_procrustes).
    Units are kept. Source: Schoenemann (1966); Umeyama (1991) for the case without reflection.
    Raises DegeneratePointsError when a set of points is not finite or has all its points in one place, since nothing
    aligns it.
    """
    source_mean, target_mean = source.mean(1, keepdim=True), target.mean(1, keepdim=True)
    a, b = source - source_mean, target - target_mean
    size = (a * a).sum((1, 2))
    _refuse_degenerate(source, size, "prediction")
    _refuse_degenerate(target, (b * b).sum((1, 2)), "ground truth")
    u, s, vt = torch.linalg.svd(a.mT @ b)
    if not reflection:
        sign = torch.ones_like(s)
        sign[:, 2] = torch.sign(torch.linalg.det(u @ vt))
        u, s = u * sign[:, None, :], s * sign
    scale = s.sum(1) / size
    aligned: Tensor = scale[:, None, None] * a @ (u @ vt) + target_mean
    return aligned


def _refuse_degenerate(points: Float[Tensor, "batch n 3"], size: Float[Tensor, "batch"], what: str) -> None:
    info = torch.finfo(points.dtype)
    # Points that are all the same are off their mean by its rounding: by up to n / 2 eps of their size in each value.
    # Twice that is below a nanometre for a hand in float64, as metrics are computed: no prediction means so little.
    rounding = points.shape[1] * info.eps * points.abs().amax((1, 2))
    bad = ~torch.isfinite(size) | (size <= (3 * points.shape[1] * rounding**2).clamp(min=info.tiny))
    if bool(bad.any()):
        index = int(bad.nonzero()[0, 0])
        reason = "not finite" if not bool(torch.isfinite(size[index])) else "all in one place"
        check = {"prediction": "the model's output", "ground truth": "the annotations"}[what]
        problem = f"the points of the {what} are {reason}, so they cannot be aligned. Check {check}."
        raise DegeneratePointsError(index, problem)
