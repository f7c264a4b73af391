"""Cuts the regions of a picture out of it, turned upright, in the size that a network takes.

Each crop is taken from the window of the picture that it covers, so that its cost does not follow the picture's. Where
the crop has far fewer pixels than the window, the window is shrunk first: OpenCV's interpolation would look at some of
its pixels alone. MediaPipe's does; up to SPARSE the pixels are those that MediaPipe sees.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from numpy import ndarray
from torch import Tensor

from hmr_mediapipe.looks import tinted
from hmr_mediapipe.regions import Region

BLACK, EDGE = cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE
"""What is seen where a region reaches beyond the picture: black, or the pixels of its edge."""

SPARSE = 12.0
"""A window is shrunk when it is more than so many times as large as its crop..."""

DENSE = 2.0
"""... and is then about so many times as large."""


def crop_regions(
    image: UInt8[ndarray, "height width 3"], regions: Sequence[Region], size: int, beyond: int, *, tint: bool = False
) -> Float[Tensor, "n size size 3"]:
    """The crops of regions of a picture, RGB from 0 to 1.

    beyond: BLACK or EDGE. tint: whether crops, which are then of a picture without colour, are shown in shades of skin.
    """
    crops = np.empty((len(regions), size, size, 3), np.float32)
    for crop, region in zip(crops, regions, strict=True):
        shown = _crop(image, region, size, beyond)
        np.multiply(tinted(shown) if tint else shown, np.float32(1 / 255), out=crop)
    return torch.from_numpy(crops)


def _crop(
    image: UInt8[ndarray, "height width 3"], region: Region, size: int, beyond: int
) -> UInt8[ndarray, "size size 3"]:
    to_picture = region.to_picture(size)
    low, high = _window(to_picture, size, image.shape[1], image.shape[0])
    window, to_window = image[low[1] : high[1], low[0] : high[0]], to_picture.copy()
    to_window[:, 2] -= low
    if region.side / size > SPARSE:
        window, to_window = _shrunk(window, to_window, region.side / size / DENSE)
    return np.asarray(
        cv2.warpAffine(
            window, to_window, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=beyond
        ),
        np.uint8,
    )


def _window(to_picture: Float64[ndarray, "2 3"], size: int, width: int, height: int) -> tuple[ndarray, ndarray]:
    """The first column and row of the picture that a crop covers, and those behind the last; one pixel at least.

    A region that lies outside gets the picture's edge.
    """
    corners = np.array([[0, 0], [0, size], [size, 0], [size, size]]) @ to_picture[:, :2].T + to_picture[:, 2]
    last = np.array([width, height]) - 1
    low = np.clip(np.floor(corners.min(0)) - 1, 0, last).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 1, 0, last).astype(int)
    return low, high + 1


def _shrunk(
    window: UInt8[ndarray, "h w 3"], to_window: Float64[ndarray, "2 3"], times: float
) -> tuple[UInt8[ndarray, "height width 3"], Float64[ndarray, "2 3"]]:
    """A window made smaller by so many times, each pixel the mean of those it covers, and the map into it."""
    size = np.array([window.shape[1], window.shape[0]])
    smaller = np.maximum(1, np.round(size / times)).astype(int)
    scale = smaller / size
    mapped = to_window * scale[:, None]
    mapped[:, 2] += (scale - 1) / 2  # the picture's edges stay its edges
    shrunk = cv2.resize(window, smaller.tolist(), interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, np.uint8), mapped
