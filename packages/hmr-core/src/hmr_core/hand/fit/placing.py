"""Where a hand is of which the joints relative to its wrist are known, and the points of the picture they are seen at.

Where a joint x is seen at u (both coordinates at depth 1), the wrist's place p obeys two equations that are linear in
it: x_x + p_x = u_x (x_z + p_z), and the same for y. They are solved by least squares again and again, each with the
weight that makes its error one in the picture, and less the farther off a point is (Geman & McClure, 1985). The batch
is the last axis (see chain.py).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.hand.fit.image_least_squares import NEAREST_M

FARTHEST_M = 1000.0
"""Where a hand is at most that is a speck."""

ROUNDS = 4
"""Solutions, each with the weights that the last one gives."""

FAR = 0.2
"""The share of the hand's size at which a point costs half of what it can cost at most: fingers may be bent otherwise
than the joints have them, and a wild point is farther off.
"""


def place_in_picture(
    points: Float[Tensor, "21 3 batch"],
    seen: Float[Tensor, "21 2 batch"],
    weights: Float[Tensor, "21 batch"],
    size: Float[Tensor, "batch"],
    *,
    rounds: int = ROUNDS,
) -> Float[Tensor, "3 batch"]:
    """The wrist's place, metres: nothing of the hand is nearer than NEAREST_M.

    points: relative to the wrist, metres. seen: at depth 1, with weights. size: the hand's, among these.
    """
    nearest = NEAREST_M - points[:, 2].amin(0)
    place = _at_a_guess(points, seen, weights, nearest)
    for _ in range(rounds):
        placed = points + place
        inverse = 1 / placed[:, 2]
        error = (placed[:, :2] * inverse[:, None] - seen).square().sum(1)
        bound = (FAR * size).square()
        weight = weights * (inverse * (bound / (error + bound))).square()
        known = seen * points[:, 2:] - points[:, :2]
        matrix, on_depth = torch.zeros_like(place).repeat(3, 1, 1), seen * weight[:, None]
        matrix[0, 0] = matrix[1, 1] = weight.sum(0)
        matrix[:2, 2] = matrix[2, :2] = -on_depth.sum(0)
        matrix[2, 2] = (on_depth * seen).sum((0, 1))
        side = torch.cat([(weight[:, None] * known).sum(0), -(on_depth * known).sum((0, 1))[None]])
        found = torch.linalg.solve_ex(matrix.permute(2, 0, 1), side.T)[0].T
        # A hand that the points do not place stays where it is.
        better = torch.isfinite(found).all(0) & (found[2] > nearest)
        place = torch.where(better, found, place)
    return place


def _at_a_guess(
    points: Float[Tensor, "21 3 batch"],
    seen: Float[Tensor, "21 2 batch"],
    weights: Float[Tensor, "21 batch"],
    nearest: Float[Tensor, "batch"],
) -> Float[Tensor, "3 batch"]:
    """As far away as a hand of its size is that is equally far all over; by medians, which no single point moves."""
    known = (weights > 0)[:, None]
    flat, seen = torch.where(known, points[:, :2], torch.nan), torch.where(known, seen, torch.nan)
    middle, seen_middle = flat.nanmedian(0).values, seen.nanmedian(0).values
    reach = torch.linalg.vector_norm(flat - middle, dim=1).nanmedian(0).values
    seen_reach = torch.linalg.vector_norm(seen - seen_middle, dim=1).nanmedian(0).values
    depth = torch.maximum((reach / seen_reach.clamp(min=1e-9)).clamp(max=FARTHEST_M), nearest + NEAREST_M)
    return torch.cat([seen_middle * depth - middle, depth[None]])
