"""What a model that sees nothing would score: every sample gets the training subset's mean UVD pose."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from numpy import ndarray
from torch import Tensor

from hmr_core.data.augment import identity
from hmr_core.data.crops import Crops, joints_to_boxes, points_to_pixels
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.sides import mirror_left
from hmr_core.data.targets import read_hands
from hmr_core.geometry.camera import from_uvd, pixels_to_uvd
from hmr_core.geometry.crop import transform_px

_CHUNK = 4096


def mean_pose_uvd(dataset: ImageDataset, rows: Int64[ndarray, " n"]) -> Float[Tensor, "21 3"]:
    """The mean of the joints' UVD over the given rows, none of them augmented; HmrError when joints are damaged."""
    dataset.pack.verify_arrays("joints", "intrinsics")  # the rows are others than those that are evaluated
    total = torch.zeros(21, 3, dtype=torch.float64)
    for start in range(0, len(rows), _CHUNK):
        joints, intrinsics = _annotations(dataset, rows[start : start + _CHUNK])
        crops_px = transform_px(_crops(dataset, joints, intrinsics).affine, points_to_pixels(joints, intrinsics))
        total += pixels_to_uvd(crops_px, joints[..., 2], joints[:, dataset.root_joint], dataset.image_size).sum(0)
    return total / len(rows)


def baseline_joints(
    dataset: ImageDataset, rows: Int64[ndarray, " n"], mean_uvd: Float[Tensor, "21 3"]
) -> Float32[ndarray, "n 21 3"]:
    """Metres, camera space of the images: the mean pose in each sample's crop, at its given root depth."""
    parts = []
    for start in range(0, len(rows), _CHUNK):
        joints, intrinsics = _annotations(dataset, rows[start : start + _CHUNK])
        uvd, root = mean_uvd.double().expand(len(joints), -1, -1), joints[:, dataset.root_joint]
        camera = _crops(dataset, joints, intrinsics).intrinsics
        placed = {"joints": from_uvd(uvd, root, camera, dataset.image_size).float()}
        parts.append(mirror_left(dataset.pack, rows[start : start + _CHUNK], placed)["joints"].numpy())
    return np.concatenate(parts)


def _annotations(
    dataset: ImageDataset, rows: Int64[ndarray, " n"]
) -> tuple[Float64[Tensor, "n 21 3"], Float64[Tensor, "n 3 3"]]:
    """Joints (metres, camera space) and intrinsics of the given rows."""
    hands = read_hands(dataset.pack, rows)
    return hands.joints, hands.intrinsics


def _crops(dataset: ImageDataset, joints: Float64[Tensor, "n 21 3"], intrinsics: Float64[Tensor, "n 3 3"]) -> Crops:
    return dataset.crops(joints_to_boxes(joints, intrinsics), intrinsics, identity(len(joints)))
