"""The rays that pixels are seen along, and the frame of a ray: that of a camera turned to look along it.

A network that sees a crop does not know where in the picture it was, and takes the hand to be before the camera. What
it says of directions is so in the frame of the ray through the middle of the crop, not in camera space. 30 degrees off
the optical axis the two differ by 30 degrees.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def rays(
    points_px: Float[Tensor, "*batch n 2"], intrinsics: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch n 3"]:
    """The rays of pixels in camera space, of depth 1.

    The matrix's last row is 0 0 1; skew is undone as any of its other entries. Without skew the result is, to the bit,
    that of a division by the focal lengths.
    """
    offset_px = points_px - intrinsics[..., None, :2, 2]
    (fx, skew), (lean, fy) = (intrinsics[..., None, row, :2, None].unbind(-2) for row in (0, 1))
    y = (offset_px[..., 1:] - lean / fx * offset_px[..., :1]) / (fy - lean / fx * skew)
    x = (offset_px[..., :1] - skew * y) / fx
    return torch.cat([x, y, torch.ones_like(x)], dim=-1)


def turn_to_ray(ray: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation R from the frame of a ray to camera space: R (0, 0, 1) is along the ray.

    It is the least rotation that does so: a crop in the plane of the picture has no roll about the ray. ray: of any
    length, before the camera (z > 0), where that rotation is unique.
    """
    x, y, z = (ray / torch.linalg.vector_norm(ray, dim=-1, keepdim=True)).unbind(-1)
    share = 1 / (1 + z)
    rows = [1 - x * x * share, -x * y * share, x, -x * y * share, 1 - y * y * share, y, -x, -y, z]
    return torch.stack(rows, dim=-1).reshape(*ray.shape[:-1], 3, 3)
