"""The linear algebra of a step: a matrix in the shape of an arrow.

The joints of two fingers have nothing in common but what all fingers share (the wrist's rotation, shape, place). So
each finger's nine unknowns are eliminated on their own, and the shared ones remain.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def solve_arrow(
    own: Float[Tensor, "batch 5 9 9"],
    across: Float[Tensor, "batch 5 9 shared"],
    shared: Float[Tensor, "batch shared shared"],
    by_own: Float[Tensor, "batch 5 9"],
    by_shared: Float[Tensor, "batch shared"],
) -> tuple[Float[Tensor, "batch 45"], Float[Tensor, "batch shared"]]:
    """The unknowns of the fingers, and the shared ones, whose products with the matrix are by_own and by_shared.

    own: the matrix of each finger; across: of fingers and what is shared. Not finite where the matrix is not positive
    definite.
    """
    batch, count = by_shared.shape
    # What the fingers have in common with the rest, and the right-hand side, in one go.
    factor, _ = torch.linalg.cholesky_ex(own)
    both = torch.cat([across, by_own[..., None]], dim=3)
    both = torch.linalg.solve_triangular(factor, both, upper=False)
    coupled, own_rest = both[..., :count].flatten(1, 2), both[..., count:].flatten(1, 2)
    reduced, _ = torch.linalg.cholesky_ex(shared - coupled.mT @ coupled)
    common = torch.cholesky_solve(by_shared[..., None] - coupled.mT @ own_rest, reduced)
    rest = (own_rest - coupled @ common).reshape(batch, 5, 9, 1)
    fingers = torch.linalg.solve_triangular(factor.mT, rest, upper=True)
    return fingers.reshape(batch, 45), common[..., 0]
