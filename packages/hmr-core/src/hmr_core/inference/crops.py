"""The crops of hands in photos, as a model of images takes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from numpy import ndarray
from torch import Tensor

from hmr_core.data.augment import identity
from hmr_core.data.crops import Boxes, make_crops, warp
from hmr_core.geometry.camera import pixel_scaling
from hmr_core.inference.boxes import Square


class Look(NamedTuple):
    """A look at a hand: the picture, its camera, and the square around the hand's joints."""

    image: UInt8[ndarray, "height width 3"]
    intrinsics: Float64[ndarray, "3 3"]
    square: Square


def crop_looks(
    looks: Sequence[Look], *, bbox_expand: float, image_size: int
) -> tuple[UInt8[Tensor, "batch size size 3"], Float32[Tensor, "batch 3 3"]]:
    """The crops of hands and their cameras' intrinsics; bbox_expand, image_size: as the model was trained."""
    squares = torch.tensor([look.square for look in looks], dtype=torch.float64)
    crops = make_crops(
        Boxes(centre_px=squares[:, :2], side_px=squares[:, 2]),
        torch.from_numpy(np.stack([look.intrinsics for look in looks])),
        identity(len(looks)),
        bbox_expand=bbox_expand,
        image_size=image_size,
    )
    images = np.empty((len(looks), image_size, image_size, 3), dtype=np.uint8)
    for look, affine, image in zip(looks, crops.affine.numpy(), images, strict=True):
        _crop(look.image, affine, image)
    return torch.from_numpy(images), crops.intrinsics.float()


def _crop(image: UInt8[ndarray, "height width 3"], affine: Float64[ndarray, "3 3"], crop: ndarray) -> None:
    """Fill a crop under an affine map of pixels.

    A hand of a photo may be many times as large as the crop; then it is made smaller first, by the mean over squares of
    pixels, since bilinear interpolation alone would skip pixels.
    """
    size = len(crop)
    times = math.floor(1 / affine[0, 0])
    if times > 1:
        corners = np.linalg.inv(affine) @ np.array([[-1, size], [-1, size], [1, 1]])
        low, high = np.floor(corners[:2, 0]).astype(int), np.ceil(corners[:2, 1]).astype(int) + 1
        # In whole squares, and of these those alone that have something of the picture in them.
        shape = np.array(image.shape[1::-1])
        first, last = np.maximum(0, -low // times), -(-(np.minimum(high, shape) - low) // times)
        if (last <= first).any():
            crop[:] = 0
            return
        low, high = low + first * times, low + last * times
        image = cv2.resize(_window(image, low, high), None, fx=1 / times, fy=1 / times, interpolation=cv2.INTER_AREA)
        from_window = np.array([[1.0, 0, low[0]], [0, 1, low[1]], [0, 0, 1]])
        affine = affine @ from_window @ np.linalg.inv(pixel_scaling(1 / times))
    warp(image, affine[:2], np.ones(3), crop)


def _window(image: UInt8[ndarray, "height width 3"], low: ndarray, high: ndarray) -> UInt8[ndarray, "h w 3"]:
    """A part of a picture, from a corner (x, y) to another, this not included; black outside of the picture."""
    width, height = (high - low).tolist()
    window = np.zeros((height, width, 3), dtype=np.uint8)
    size = np.array(image.shape[1::-1])
    left, top = np.clip(low, 0, size)
    right, bottom = np.clip(high, 0, size)
    window[top - low[1] : bottom - low[1], left - low[0] : right - low[0]] = image[top:bottom, left:right]
    return window
