"""The squares of a picture in which networks look: turned with the hand, so that its fingers point up.

The rules that lead from a palm and from a hand's landmarks to its square are those of MediaPipe's graphs
(palm_detection_detection_to_roi and hand_landmark_landmarks_to_roi of the package mediapipe 0.10.21).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from hmr_core.hand.joints import WRIST

PALM_REGION, PALM_AHEAD = 2.6, 0.5
"""The region's side by the longer one of a palm's box, and by how much of the box's height its middle lies ahead."""

HAND_REGION, HAND_AHEAD = 2.0, 0.1
"""The same for the box around a hand's landmarks."""

BOXED = [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]
"""The landmarks whose box counts: the palm and the fingers' lower joints, which stay where they are when it moves."""

INDEX, MIDDLE, RING = 5, 9, 13
"""The knuckles that tell where a hand points."""


class Region(NamedTuple):
    """A turned square: the middle and the side in pixels of the picture, whose pixel centres are at integers, and the
    angle by which what stands upright in it is turned clockwise in the picture, in radians.
    """

    x: float
    y: float
    side: float
    angle: float

    def to_picture(self, size: int) -> Float64[ndarray, "2 3"]:
        """The affine map from the pixels of its crop of a size to those of the picture.

        As MediaPipe has it: the crop's corners are at 0 and size, though OpenCV's pixel centres are at integers.
        """
        scale = self.side / size
        c, s = scale * math.cos(self.angle), scale * math.sin(self.angle)
        half = size / 2
        return np.array([[c, -s, self.x - half * (c - s)], [s, c, self.y - half * (s + c)]])


def region_of_palm(box: Float64[ndarray, "4"], wrist: Float64[ndarray, "2"], knuckle: Float64[ndarray, "2"]) -> Region:
    """The region of the hand of a palm.

    box: the palm's middle, width and height. wrist, knuckle: the wrist and the middle finger's knuckle. All in pixels.
    """
    angle = _angle(knuckle - wrist)
    return _grown(box[:2], box[2:], angle, PALM_REGION, PALM_AHEAD)


def region_of_landmarks(points_px: Float64[ndarray, "21 2"]) -> Region:
    """The region of a hand whose landmarks are known, pixels, as of a video's last frame."""
    knuckles = ((points_px[INDEX] + points_px[RING]) / 2 + points_px[MIDDLE]) / 2
    angle = _angle(knuckles - points_px[WRIST])
    turn = _turn(angle)
    upright = points_px[BOXED] @ turn
    low, high = upright.min(0), upright.max(0)
    return _grown(turn @ ((low + high) / 2), high - low, angle, HAND_REGION, HAND_AHEAD)


def overlap(one: Region, other: Region) -> float:
    """The intersection over the union of two regions, as if neither were turned."""
    across = [
        max(0.0, min(a + one.side / 2, b + other.side / 2) - max(a - one.side / 2, b - other.side / 2))
        for a, b in ((one.x, other.x), (one.y, other.y))
    ]
    both = across[0] * across[1]
    return both / (one.side**2 + other.side**2 - both)


def _angle(up: Float64[ndarray, "2"]) -> float:
    """By how much a direction is turned clockwise from upwards."""
    return math.atan2(float(up[0]), -float(up[1]))


def _turn(angle: float) -> Float64[ndarray, "2 2"]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]])


def _grown(
    middle: Float64[ndarray, "2"], size: Float64[ndarray, "2"], angle: float, times: float, ahead: float
) -> Region:
    """A box that is turned by an angle, moved ahead and made a larger square."""
    x, y = middle + _turn(angle) @ np.array([0.0, -ahead * float(size[1])])
    return Region(float(x), float(y), times * max(1.0, float(size.max())), angle)
