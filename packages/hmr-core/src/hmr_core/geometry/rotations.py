"""Rotations as axis-angle vectors (radians), unit quaternions (w first) and 3x3 matrices."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def axis_angle_to_quaternion(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4"]:
    """The unit quaternion (w, x, y, z) of a rotation vector; differentiable at zero."""
    half = 0.5 * _safe_norm(axis_angle)
    # sin(half) / angle tends to 1/2; torch.sinc(x) = sin(pi x) / (pi x) has the right value and derivative at 0.
    return torch.cat([torch.cos(half), 0.5 * torch.sinc(half / torch.pi) * axis_angle], dim=-1)


def quaternion_to_matrix(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation matrix of a quaternion (w, x, y, z) of any non-zero length."""
    w, x, y, z = quaternion.unbind(-1)
    two = 2.0 / (quaternion * quaternion).sum(-1)
    rows = [
        1 - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y),
        two * (x * y + w * z), 1 - two * (x * x + z * z), two * (y * z - w * x),
        two * (x * z - w * y), two * (y * z + w * x), 1 - two * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).reshape(*quaternion.shape[:-1], 3, 3)


def axis_angle_to_matrix(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation matrix of a rotation vector (Rodrigues' formula)."""
    return quaternion_to_matrix(axis_angle_to_quaternion(axis_angle))


def matrix_to_quaternion(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """The unit quaternion (w, x, y, z), w >= 0, of a rotation matrix.

    The largest of the four components is computed from a sum without cancellation, the others by division by it
    (Shepperd, 1978), so that it is accurate for every angle.
    """
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    x, y, z = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, yz, zx = m[..., 1, 0] + m[..., 0, 1], m[..., 2, 1] + m[..., 1, 2], m[..., 0, 2] + m[..., 2, 0]
    # Row i is 4 * q_i * q: the outer product of the quaternion with itself.
    outer = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, x, y, z], -1),
            torch.stack([x, 1 + xx - yy - zz, xy, zx], -1),
            torch.stack([y, xy, 1 - xx + yy - zz, yz], -1),
            torch.stack([z, zx, yz, 1 - xx - yy + zz], -1),
        ],
        -2,
    )
    largest = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = torch.take_along_dim(outer, largest[..., None, None], dim=-2).squeeze(-2)
    unit = row / torch.linalg.vector_norm(row, dim=-1, keepdim=True)
    return torch.where(unit[..., :1] < 0, -unit, unit)


def quaternion_to_axis_angle(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3"]:
    """The rotation vector of a unit quaternion (w, x, y, z), of angle at most pi."""
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    w, v = quaternion[..., :1], quaternion[..., 1:]
    length = _safe_norm(v)
    # Near zero atan2(|v|, w) / |v| tends to 1 / w.
    factor = torch.where(length > 1e-10, 2 * torch.atan2(length, w) / length, 2 / w.clamp(min=1e-10))
    return factor * v


def matrix_to_axis_angle(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """The rotation vector of a rotation matrix, of angle at most pi."""
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def orthonormalise(columns: Float[Tensor, "*batch 3 2"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation matrix whose first two columns these are after Gram-Schmidt; the third is their cross product.

    Source: Zhou et al., CVPR 2019, equation 15.
    """
    first = F.normalize(columns[..., 0], dim=-1)
    second = columns[..., 1] - (first * columns[..., 1]).sum(-1, keepdim=True) * first
    second = F.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def _safe_norm(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 1"]:
    """The Euclidean norm with a finite gradient at zero."""
    return (v * v).sum(-1, keepdim=True).clamp(min=torch.finfo(v.dtype).tiny).sqrt()
