"""A hand's number and side, written beside it."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TEXT, _RIM = (255, 255, 255), (20, 20, 24)
_SMALLEST, _SIDE_PX = 0.5, 1000.0
"""The font's size: one in a picture with this shorter side, and never smaller than can be read."""


def write_label(image: UInt8[ndarray, "height width 3"], text: str, box: tuple[float, float, float, float]) -> None:
    """Write ASCII text above a box (x, y, width, height; pixels) in place, within the picture as far as it fits."""
    height, width = image.shape[:2]
    size = max(_SMALLEST, min(height, width) / _SIDE_PX)
    stroke = max(1, round(2 * size))
    (text_width, text_height), below = cv2.getTextSize(text, _FONT, size, stroke)
    x, y = np.nan_to_num(box[:2])
    left = int(np.clip(x, stroke, max(stroke, width - text_width - stroke)))
    baseline = int(np.clip(y - below, text_height + stroke, max(text_height + stroke, height - below)))
    for colour, thickness in ((_RIM, 3 * stroke), (_TEXT, stroke)):
        cv2.putText(image, text, (left, baseline), _FONT, size, colour, thickness, cv2.LINE_AA)
