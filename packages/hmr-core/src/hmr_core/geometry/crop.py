"""The square crop around a hand: the box of its joints, the map from the frame to it, and the camera that it has.

As published (golden files `transform_*`): the crop rotates the frame about the box's centre, and the annotations are
rotated about the camera's z axis by the same angle. With equal focal lengths the two agree exactly. With unequal ones
the published construction, kept here, is off by a fraction of a pixel. With skew, which no published data has, it would
be off by many; there the camera is the exact one.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def joint_box(
    joints_px: Float[Tensor, "*batch joints 2"],
) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch"]]:
    """Centre (each coordinate truncated to a whole pixel) and longer side, in pixels, of the joints' bounding box."""
    low, high = joints_px.amin(-2), joints_px.amax(-2)
    return torch.trunc((low + high) / 2), (high - low).amax(-1)


def crop_affine(
    centre_px: Float[Tensor, "*batch 2"],
    side_px: Float[Tensor, "*batch"],
    angle: Float[Tensor, "*batch"],
    image_size: int,
) -> Float[Tensor, "*batch 3 3"]:
    """The map from frame pixels to crop pixels: rotate by angle (radians), scale, move the centre to the middle."""
    return _scale_to_crop(_rotate(centre_px, angle), side_px, image_size) @ _homogeneous(angle)


def crop_intrinsics(
    centre_px: Float[Tensor, "*batch 2"],
    side_px: Float[Tensor, "*batch"],
    angle: Float[Tensor, "*batch"],
    intrinsics: Float[Tensor, "*batch 3 3"],
    image_size: int,
) -> Float[Tensor, "*batch 3 3"]:
    """Intrinsics of the crop's camera, for points that were rotated about the camera's z axis by the same angle.

    The rotation is about the principal point there, so the box's centre is moved with it before scale and shift. For a
    camera with skew the matrix takes the points back and then to the crop; it has an entry below its diagonal.
    """
    principal = intrinsics[..., :2, 2]
    centre = _rotate(centre_px - principal, angle) + principal
    published = _scale_to_crop(centre, side_px, image_size) @ intrinsics
    skewed = intrinsics[..., 0, 1] != 0
    if not bool(skewed.any()):
        return published
    exact = crop_affine(centre_px, side_px, angle, image_size) @ intrinsics @ _homogeneous(-angle)
    return torch.where(skewed[..., None, None], exact, published)


def rotation_about_z(angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation of camera space about its z axis by an angle in radians."""
    return _homogeneous(angle)


def transform_px(
    affine: Float[Tensor, "*batch 3 3"], points_px: Float[Tensor, "*batch n 2"]
) -> Float[Tensor, "*batch n 2"]:
    """Points under an affine map of the plane."""
    return points_px @ affine[..., :2, :2].mT + affine[..., None, :2, 2]


def _rotate(vector: Float[Tensor, "*batch 2"], angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 2"]:
    c, s = torch.cos(angle), torch.sin(angle)
    x, y = vector[..., 0], vector[..., 1]
    return torch.stack([c * x - s * y, s * x + c * y], dim=-1)


def _homogeneous(angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
    c, s, zero, one = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([c, -s, zero, s, c, zero, zero, zero, one], dim=-1).reshape(*angle.shape, 3, 3)


def _scale_to_crop(
    centre_px: Float[Tensor, "*batch 2"], side_px: Float[Tensor, "*batch"], image_size: int
) -> Float[Tensor, "*batch 3 3"]:
    """Scale a square of side_px around the centre to image_size pixels, its centre to the middle of the crop."""
    scale, zero, one = image_size / side_px, torch.zeros_like(side_px), torch.ones_like(side_px)
    shift = image_size / 2 - scale[..., None] * centre_px
    entries = [scale, zero, shift[..., 0], zero, scale, shift[..., 1], zero, zero, one]
    return torch.stack(entries, dim=-1).reshape(*side_px.shape, 3, 3)
