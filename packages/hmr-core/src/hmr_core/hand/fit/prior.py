"""What rotations are expected to be, and what it costs to depart from it.

A rotation R that is expected to be S costs |R - S|^2 / 2, which for small angles is the squared angle. Where a joint
turns about one axis more readily than about another, |M|^2 = trace(M M^T) becomes trace(M A M^T), with a symmetric
matrix A of its own (Downs, 1972: the matrix Fisher distribution). For small angles w it gives w^T H w with
H = (trace(A) 1 - A) / 2; A = 1 is the same about all axes. The batch is the last axis (see chain.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hmr_core.hand.fit.matrices import times


@dataclass(frozen=True, kw_only=True)
class PosePrior:
    """expected: S. stiffness: A. weight: the cost of a squared radian about an axis with A = 1."""

    expected: Float[Tensor, "16 3 3 batch"]
    stiffness: Float[Tensor, "16 3 3 1"]
    weight: float

    def of(self, samples: Int64[Tensor, "chosen"]) -> PosePrior:
        """The same for some of the samples."""
        return replace(self, expected=self.expected.index_select(-1, samples))

    def cost(self, local: Float[Tensor, "16 3 3 batch"]) -> Float[Tensor, "batch"]:
        """The sum over the 16 rotations."""
        turned = local - self.expected
        turned = 0.5 * (times(turned, self.stiffness) * turned).sum((0, 1, 2))
        return self.weight * turned

    @cached_property
    def gradient(self) -> Float[Tensor, "16 3 3 batch"]:
        """Half the gradient by the rotations' entries, but for what does not change a rotation.

        trace((R - S) A (R - S)^T) / 2 = trace(A) - trace(A S^T R), whose gradient by R is -S A.
        """
        return -0.5 * self.weight * times(self.expected, self.stiffness)

    @cached_property
    def matrices(self) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "5 9 9"]]:
        """What these costs add to the matrix of a step: for the wrist, and for each finger."""
        stiffness = self.stiffness[..., 0]
        identity = torch.eye(3, dtype=stiffness.dtype, device=stiffness.device)
        each = 0.5 * (stiffness.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] * identity - stiffness)
        fingers = stiffness.new_zeros(5, 9, 9)
        for joint in range(3):
            own = slice(3 * joint, 3 * joint + 3)
            fingers[:, own, own] = each[1 + joint :: 3]
        return self.weight * each[0], self.weight * fingers
