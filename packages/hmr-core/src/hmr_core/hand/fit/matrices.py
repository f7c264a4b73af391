"""Products of many 3x3 matrices whose batch is the last axis (see chain.py), where torch's own would be slow.

Leading axes are broadcast; the last axis may be 1 on the right-hand side.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def times(
    a: Float[Tensor, "*#lead 3 3 batch"], b: Float[Tensor, "*#lead 3 n #batch"], out: Tensor | None = None
) -> Float[Tensor, "*lead 3 n batch"]:
    """A B."""
    result = torch.mul(a[..., :, 0, None, :], b[..., 0, None, :, :], out=out)
    result.addcmul_(a[..., :, 1, None, :], b[..., 1, None, :, :])
    return result.addcmul_(a[..., :, 2, None, :], b[..., 2, None, :, :])


def transposed_times(
    a: Float[Tensor, "*#lead 3 3 batch"], b: Float[Tensor, "*#lead 3 n #batch"], out: Tensor | None = None
) -> Float[Tensor, "*lead 3 n batch"]:
    """A^T B."""
    return times(a.transpose(-3, -2), b, out)


def times_transposed(
    a: Float[Tensor, "*#lead 3 3 batch"], b: Float[Tensor, "*#lead n 3 #batch"]
) -> Float[Tensor, "*lead 3 n batch"]:
    """A B^T."""
    return times(a, b.transpose(-3, -2))


def times_vector(
    a: Float[Tensor, "*#lead 3 3 batch"], v: Float[Tensor, "*#lead 3 #batch"]
) -> Float[Tensor, "*lead 3 batch"]:
    """A v."""
    result = a[..., :, 0, :] * v[..., 0, None, :]
    result.addcmul_(a[..., :, 1, :], v[..., 1, None, :])
    return result.addcmul_(a[..., :, 2, :], v[..., 2, None, :])


def transposed_times_vector(
    a: Float[Tensor, "*#lead 3 3 batch"], v: Float[Tensor, "*#lead 3 #batch"]
) -> Float[Tensor, "*lead 3 batch"]:
    """A^T v."""
    return times_vector(a.transpose(-3, -2), v)


def skew_vector(a: Float[Tensor, "*lead 3 3 batch"]) -> Float[Tensor, "*lead 3 batch"]:
    """The vector v whose [v] is A - A^T: the gradient by w at w = 0 of the sum of A times [w]."""
    flat = a.reshape(*a.shape[:-3], 9, a.shape[-1])
    return flat[..., [7, 2, 3], :] - flat[..., [5, 6, 1], :]
