"""Joints and bones drawn over an image."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from hmr_core.hand.joints import BONES

FINGER_COLORS = ((230, 80, 60), (240, 170, 40), (90, 190, 70), (60, 150, 230), (170, 100, 220))
"""RGB of thumb, index, middle, ring and little finger."""

WRIST_COLOR = (245, 245, 245)
_SHIFT = 4  # cv2 draws at sixteenths of a pixel


def draw_skeleton(
    image: UInt8[ndarray, "height width 3"],
    joints_px: Float[ndarray, "21 2"],
    *,
    thickness: int = 2,
) -> None:
    """Draw 21 joints (pixels of the image, OpenPose order) and their bones, in place; each finger in its own colour.

    Joints that are nan are left out, with their bones. Points far outside the image are clipped to where OpenCV can
    draw them.
    """
    known = ~np.isnan(joints_px).any(axis=1)
    points = np.clip(np.nan_to_num(joints_px), -4096, 4096)
    fixed = np.round(points * (1 << _SHIFT)).astype(int)
    for parent, child in BONES:
        if not (known[parent] and known[child]):
            continue
        finger = FINGER_COLORS[(child - 1) // 4]
        cv2.line(image, tuple(fixed[parent]), tuple(fixed[child]), finger, thickness, cv2.LINE_AA, _SHIFT)
    for joint, point in enumerate(fixed):
        if not known[joint]:
            continue
        dot = FINGER_COLORS[(joint - 1) // 4] if joint else WRIST_COLOR
        cv2.circle(image, tuple(point), (thickness + 1) << _SHIFT, dot, -1, cv2.LINE_AA, _SHIFT)
