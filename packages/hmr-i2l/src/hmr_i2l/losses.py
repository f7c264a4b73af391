"""The losses of stage lixel, all in heat-map cells, each a mean over all of its values.

Points and faces that do not count add zero to the sum and are counted in the mean, as published.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

SHORTEST_EDGE = 1e-4
"""In cells: the direction of a shorter edge counts less, so that an edge of no length has a gradient that is small."""

EDGES = ((0, 1), (0, 2), (1, 2))
"""The edges of a face, by its corners."""


def point_loss(
    predicted: Float[Tensor, "batch n 3"], truth: Float[Tensor, "batch n 3"], visible: Float[Tensor, "batch n"]
) -> Float[Tensor, ""]:
    """|predicted - truth| of the visible points, on each axis."""
    return ((predicted - truth).abs() * visible[..., None]).mean()


def normal_loss(
    predicted: Float[Tensor, "batch n 3"],
    truth: Float[Tensor, "batch n 3"],
    visible: Float[Tensor, "batch n"],
    faces: Int64[Tensor, "faces 3"],
) -> Float[Tensor, ""]:
    """|cosine| of each predicted edge with the true normal of its face, where the face's three vertices are visible."""
    first, second, _ = (_unit(edge) for edge in _edges(truth, faces))
    normal = _unit(torch.linalg.cross(first, second))
    cosines = [(_unit(edge) * normal).sum(-1).abs() for edge in _edges(predicted, faces)]
    return (torch.stack(cosines) * visible[:, faces].prod(-1)).mean()


def edge_loss(
    predicted: Float[Tensor, "batch n 3"],
    truth: Float[Tensor, "batch n 3"],
    visible: Float[Tensor, "batch n"],
    faces: Int64[Tensor, "faces 3"],
) -> Float[Tensor, ""]:
    """|predicted length - true length| of each face's edges, where both ends of the edge are visible."""
    off = [
        (torch.linalg.vector_norm(one, dim=-1) - torch.linalg.vector_norm(other, dim=-1)).abs()
        for one, other in zip(_edges(predicted, faces), _edges(truth, faces), strict=True)
    ]
    ends = [visible[:, faces[:, start]] * visible[:, faces[:, end]] for start, end in EDGES]
    return (torch.stack(off) * torch.stack(ends)).mean()


def _edges(verts: Tensor, faces: Tensor) -> list[Tensor]:
    """The vectors along each face's edges."""
    return [verts[:, faces[:, end]] - verts[:, faces[:, start]] for start, end in EDGES]


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=-1, eps=SHORTEST_EDGE)
