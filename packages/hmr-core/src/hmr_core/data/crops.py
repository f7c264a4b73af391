"""Crops of hands, made from boxes, whatever these came from: the map from frame to crop, its camera, its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float64, UInt8
from numpy import ndarray
from torch import Tensor

from hmr_core.config import ModelConfig, Section
from hmr_core.data.augment import Augmentation
from hmr_core.geometry.camera import PUBLISHED_DEPTH_EPSILON_M, project
from hmr_core.geometry.crop import crop_affine, crop_intrinsics, joint_box, rotation_about_z
from hmr_core.plugins.recipes import DataConfig

PUBLISHED_CROP = DataConfig()
"""The crop of the published benchmark."""

NOMINAL_SIZE = 1
"""The crop's side of a model of joints, in pixels: its targets have UVD of a crop, too, and no image is made."""


def crop_size(config: Section) -> int:
    """The side of the square crop, in pixels, of a model with this configuration."""
    return config.image_size if isinstance(config, ModelConfig) else NOMINAL_SIZE


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Square boxes of hands in pixels of their frames: as large as the joints' own, before a crop's expansion."""

    centre_px: Float64[Tensor, "batch 2"]
    side_px: Float64[Tensor, " batch"]


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Square crops of a batch.

    centre_px, side_px: in pixels of the frames. affine: the map from pixels of the frame to pixels of the crop.
    intrinsics: of the crop's camera, in the crop's pixels. rotation: from the frame's camera space to the crop's.
    """

    centre_px: Float64[Tensor, "batch 2"]
    side_px: Float64[Tensor, " batch"]
    affine: Float64[Tensor, "batch 3 3"]
    intrinsics: Float64[Tensor, "batch 3 3"]
    rotation: Float64[Tensor, "batch 3 3"]


def points_to_pixels(
    points: Float64[Tensor, "batch n 3"], intrinsics: Float64[Tensor, "batch 3 3"]
) -> Float64[Tensor, "batch n 2"]:
    """Pixels of annotated points (metres, camera space), as published: with a little more depth."""
    return project(points, intrinsics, depth_epsilon_m=PUBLISHED_DEPTH_EPSILON_M)


def joints_to_boxes(joints: Float64[Tensor, "batch 21 3"], intrinsics: Float64[Tensor, "batch 3 3"]) -> Boxes:
    """The boxes of annotated joints (metres, camera space), as published (golden files `transform_*`)."""
    centre, side = joint_box(points_to_pixels(joints, intrinsics))
    return Boxes(centre_px=centre, side_px=side)


def make_crops(
    boxes: Boxes,
    intrinsics: Float64[Tensor, "batch 3 3"],
    augmentation: Augmentation,
    *,
    bbox_expand: float,
    image_size: int,
) -> Crops:
    """The crops around boxes.

    intrinsics: of the frames' cameras, pixels. bbox_expand: the crop's side over the box's. image_size: the crop's
    side in its own pixels.
    """
    angle = torch.from_numpy(augmentation.angle)
    side = boxes.side_px * bbox_expand * torch.from_numpy(augmentation.scale)
    return Crops(
        centre_px=boxes.centre_px,
        side_px=side,
        affine=crop_affine(boxes.centre_px, side, angle, image_size),
        intrinsics=crop_intrinsics(boxes.centre_px, side, angle, intrinsics, image_size),
        rotation=rotation_about_z(angle),
    )


def warp(
    image: UInt8[ndarray, "height width 3"],
    affine: Float64[ndarray, "2 3"],
    color: Float64[ndarray, "3"],
    crop: UInt8[ndarray, "size size 3"],
) -> None:
    """Fill the crop under an affine map of pixels: bilinear, black outside; channels times their factors, truncated."""
    # OpenCV warps four channels in less than half the time that it takes for three.
    four = cv2.warpAffine(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), affine, crop.shape[:2], flags=cv2.INTER_LINEAR)
    cv2.cvtColor(four, cv2.COLOR_RGBA2RGB, dst=crop)
    if (color != 1).any():
        # Half a grey level less, as OpenCV rounds; a little more, so that whole numbers stay what they are.
        cv2.transform(crop, np.column_stack([np.diag(color), np.full(3, -0.5 + 1e-4)]).astype(np.float32), dst=crop)
