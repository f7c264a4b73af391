"""The window of a frame that any crop of a sample can touch."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from hmr_core.errors import HmrError

INTERPOLATION_PX = 2
"""Beyond the geometric reach: bilinear interpolation takes the next pixel, OpenCV rounds positions to 1/32 pixel."""


MIRRORED_PX = 1
"""Crops of a left hand are made of the mirrored frame, where the centre is truncated to the other side."""


def crop_window(
    joints: Float32[ndarray, "n_known 3"],
    intrinsics: Float32[ndarray, "3 3"],
    frame_px: tuple[int, int],
    margin: float,
    *,
    mirrored: bool = False,
) -> tuple[int, int, int, int]:
    """(x, y, width, height) in pixels of the part of the frame within margin times the joints' box.

    The box is that of the crop: the square on the longer span of the projected joints around their truncated centre. A
    box that lies outside the frame still gets one pixel (of which its crops show nothing).
    joints: those that are known, metres, camera space. mirrored: whether crops may be made of the mirrored frame, too.
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
    reach = margin * float(span) / 2 + INTERPOLATION_PX + MIRRORED_PX * mirrored
    size = np.array(frame_px)
    low = np.clip(np.floor(centre.numpy() - reach), 0, size - 1).astype(int)
    high = np.clip(np.ceil(centre.numpy() + reach) + 1, low + 1, size).astype(int)
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])
