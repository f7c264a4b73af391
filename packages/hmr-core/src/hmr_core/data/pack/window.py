"""The window of a frame that any crop of a sample can touch."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from hmr_core.errors import HmrError

INTERPOLATION_PX = 2
"""Beyond the geometric reach: bilinear interpolation takes the next pixel, OpenCV rounds positions to 1/32 pixel."""


MIRRORED_PX = 1
"""Crops of a left hand are made of the mirrored frame, where the centre is truncated to the other side."""


def joints_box(
    joints: Float32[ndarray, "n_known 3"], intrinsics: Float32[ndarray, "3 3"]
) -> tuple[Float64[ndarray, "2"], float]:
    """The centre and the side, in pixels, of the square on the longer span of the projected joints around their
    truncated centre: the box of crops, as published.

    joints: those that are known, metres, camera space.
    Raises HmrError for joints behind the camera, or all in one place.
    """
    import torch  # here, so that mistakes of packing are told before it is imported

    from hmr_core.geometry.camera import PUBLISHED_DEPTH_EPSILON_M, project
    from hmr_core.geometry.crop import joint_box

    if not (joints[:, 2] > 0).all():
        raise HmrError("a joint lies behind the camera: its depth is not positive.")
    points = torch.from_numpy(joints).double()
    camera = torch.from_numpy(intrinsics).double()
    centre, span = joint_box(project(points, camera, depth_epsilon_m=PUBLISHED_DEPTH_EPSILON_M))
    if not (0 < float(span) < float("inf")):
        raise HmrError("its joints are all in one place, so there is no box to crop.")
    return centre.numpy(), float(span)


def annotated_box(box_px: Float32[ndarray, "4"]) -> tuple[Float64[ndarray, "2"], float]:
    """The same of an annotated box: the square on its longer side around its truncated centre."""
    x, y, width, height = box_px.astype(np.float64).tolist()
    return np.trunc([x + width / 2, y + height / 2]), max(width, height)


def crop_window(
    box: tuple[Float64[ndarray, "2"], float], frame_px: tuple[int, int], margin: float, *, mirrored: bool = False
) -> tuple[int, int, int, int]:
    """(x, y, width, height) in pixels of the part of the frame within margin times a square box (centre, side).

    A box that lies outside the frame still gets one pixel (of which its crops show nothing).
    mirrored: whether crops may be made of the mirrored frame, too.
    """
    centre, side = box
    reach = margin * side / 2 + INTERPOLATION_PX + MIRRORED_PX * mirrored
    size = np.array(frame_px)
    low = np.clip(np.floor(centre - reach), 0, size - 1).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, low + 1, size).astype(int)
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])
