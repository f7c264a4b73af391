"""Pictures that the contracts of detectors and predictors are checked on: any picture may come."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

PICTURES = ((160, 120), (1, 1), (8, 3), (3, 700))
"""Width and height of pictures, in pixels."""


def picture(size: tuple[int, int]) -> UInt8[ndarray, "height width 3"]:
    """A picture of noise, RGB, of a width and height; the same for a size."""
    width, height = size
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
