"""Where in a picture palms are looked for: the whole, the whole in a border, and overlapping parts of it."""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from hmr_mediapipe.regions import Region

TILES = (1 / 2, 1 / 4)
"""The sides of the tiles, by the picture's longer side..."""

STEP = 2 / 3
"""... and how far apart they are, by their own: a hand of a third of a tile is whole in one of them."""

LONGEST = 2.0
"""Of a longer picture, tiles are as if its longer side were so many times the shorter one."""

SMALLEST_PX = 96
"""Smaller tiles show nothing more."""

GREY_LEVELS, SAMPLES = 8, 64
"""A picture has no colour where its channels differ no more than this on 99 % of such a grid."""

SHADES = np.array([[0, 0, 0], [184, 120, 94], [255, 237, 217]], np.float64)
"""What becomes of black, of the middle grey and of white in a tinted picture: shades of skin."""


def whole(image: UInt8[ndarray, "height width 3"], border: float = 0.0) -> Region:
    """The square around a picture, with a border on each side by the picture's longer side."""
    height, width = image.shape[:2]
    return Region(width / 2, height / 2, (1 + 2 * border) * max(width, height), 0.0)


def tiles(image: UInt8[ndarray, "height width 3"]) -> list[Region]:
    """Overlapping squares that cover a picture, of several sizes."""
    height, width = image.shape[:2]
    longer = min(max(width, height), LONGEST * min(width, height))
    return [
        Region(x, y, side, 0.0)
        for side in (share * longer for share in TILES)
        if side >= SMALLEST_PX
        for y, x in product(_middles(height, side), _middles(width, side))
    ]


def is_grey(image: UInt8[ndarray, "height width 3"]) -> bool:
    """Whether a picture has no colour."""
    rows, columns = (np.linspace(0, length - 1, SAMPLES).astype(int) for length in image.shape[:2])
    differences = np.ptp(image[rows[:, None], columns], axis=-1)
    return bool(np.quantile(differences, 0.99) <= GREY_LEVELS)


def tinted(image: UInt8[ndarray, "*picture 3"]) -> UInt8[ndarray, "*picture 3"]:
    """A picture without colour in shades of skin."""
    shown: ndarray = _tints()[image[..., 1]]
    return shown


@cache
def _tints() -> UInt8[ndarray, "256 3"]:
    """What becomes of each grey level."""
    levels = np.arange(256)
    return (
        np.stack([np.interp(levels, [0, 127.5, 255], column) for column in SHADES.T], axis=1).round().astype(np.uint8)
    )


def _middles(length: float, side: float) -> list[float]:
    """The middles of tiles along one side of a picture."""
    if length <= side:
        return [length / 2]
    many = math.ceil((length - side) / (STEP * side)) + 1
    return [float(middle) for middle in np.linspace(side / 2, length - side / 2, many)]
