"""Camera space (metres; x right, y down, z away), pixels, and UVD.

UVD are the coordinates in which models of images predict: u and v in 0..1 across the crop, and d the depth within a
range of 0.4 m around the root joint, 0.5 at the root. Lifting UVD to camera space needs the root's depth, which the
published protocol takes from the ground truth.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from hmr_core.geometry.rays import rays

DEPTH_RANGE_M = 0.4
"""Depth that d spans, centred on the root joint (golden file `uvd`)."""

PUBLISHED_DEPTH_EPSILON_M = 1e-6
"""What the published code adds to the depth before it divides, where it makes 2D annotations."""


def pixel_scaling(scale: float) -> Float64[ndarray, "3 3"]:
    """The map of a picture's pixels when the picture is scaled, as cv2.resize does it; it takes its intrinsics along.

    Pixel centres are at integers, and the picture's edges stay its edges: a pixel x becomes s x + (s - 1) / 2.
    """
    shift = (scale - 1) / 2
    return np.array([[scale, 0, shift], [0, scale, shift], [0, 0, 1]])


def project(
    points_m: Float[Tensor, "*batch n 3"], intrinsics: Float[Tensor, "*batch 3 3"], *, depth_epsilon_m: float = 0.0
) -> Float[Tensor, "*batch n 2"]:
    """Pixels of points in camera space. depth_epsilon_m is added to the depth before the division."""
    homogeneous = points_m @ intrinsics.mT
    return homogeneous[..., :2] / (homogeneous[..., 2:] + depth_epsilon_m)


def to_uvd(
    points_m: Float[Tensor, "*batch n 3"],
    root_m: Float[Tensor, "*batch 3"],
    intrinsics: Float[Tensor, "*batch 3 3"],
    image_size: int,
) -> Float[Tensor, "*batch n 3"]:
    """UVD in a square crop of image_size pixels whose camera has these intrinsics (golden file `uvd`)."""
    return pixels_to_uvd(project(points_m, intrinsics), points_m[..., 2], root_m, image_size)


def pixels_to_uvd(
    points_px: Float[Tensor, "*batch n 2"],
    depth_m: Float[Tensor, "*batch n"],
    root_m: Float[Tensor, "*batch 3"],
    image_size: int,
) -> Float[Tensor, "*batch n 3"]:
    """UVD of points whose pixels in the crop and depth in camera space are known."""
    d = (depth_m - root_m[..., 2:]) / DEPTH_RANGE_M + 0.5
    return torch.cat([points_px / image_size, d[..., None]], dim=-1)


def from_uvd(
    uvd: Float[Tensor, "*batch n 3"],
    root_m: Float[Tensor, "*batch 3"],
    intrinsics: Float[Tensor, "*batch 3 3"],
    image_size: int,
) -> Float[Tensor, "*batch n 3"]:
    """Camera space, in metres, of UVD in a crop: the inverse of to_uvd (golden file `uvd`).

    The matrix's last row is 0 0 1.
    """
    z = (uvd[..., 2:] - 0.5) * DEPTH_RANGE_M + root_m[..., None, 2:]
    return rays(uvd[..., :2] * image_size, intrinsics) * z
