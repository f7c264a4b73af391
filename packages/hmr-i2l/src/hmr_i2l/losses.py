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
    first, second, _ = _unit(_edges(truth, faces)).unbind(2)
    normal = _unit(torch.linalg.cross(first, second))
    cosines = (_unit(_edges(predicted, faces)) * normal[:, :, None]).sum(-1).abs()
    return (cosines * visible[:, faces].prod(-1, keepdim=True)).mean()


def edge_loss(
    predicted: Float[Tensor, "batch n 3"],
    truth: Float[Tensor, "batch n 3"],
    visible: Float[Tensor, "batch n"],
    faces: Int64[Tensor, "faces 3"],
) -> Float[Tensor, ""]:
    """|predicted length - true length| of each face's edges, where both ends of the edge are visible."""
    lengths, true_lengths = (torch.linalg.vector_norm(_edges(verts, faces), dim=-1) for verts in (predicted, truth))
    first, second, third = visible[:, faces].unbind(2)
    ends = torch.stack([first * second, first * third, second * third], dim=2)
    off: Tensor = (lengths - true_lengths).abs() * ends
    return off.mean()


def _edges(verts: Float[Tensor, "batch n 3"], faces: Int64[Tensor, "faces 3"]) -> Float[Tensor, "batch faces 3 3"]:
    """The vectors along each face's edges: from its first corner to its second and its third, from its second to its
    third.
    """
    # index_select, and once: the gradient of indexing by three tensors is several times slower.
    corners = verts.index_select(1, faces.flatten()).view(len(verts), *faces.shape, 3)
    first, second, third = corners.unbind(2)
    return torch.stack([second - first, third - first, third - second], dim=2)


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=-1, eps=SHORTEST_EDGE)
