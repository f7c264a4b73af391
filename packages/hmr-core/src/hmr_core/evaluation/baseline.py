"""What a model that sees nothing would score: every sample gets the training subset's mean UVD pose."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from numpy import ndarray
from torch import Tensor

from hmr_core.data.augment import identity
from hmr_core.data.crops import Crops, points_to_pixels
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.sides import mirror_left
from hmr_core.data.targets import AnnotatedHands, read_hands
from hmr_core.geometry.camera import from_uvd, pixels_to_uvd
from hmr_core.geometry.crop import transform_px

_CHUNK = 4096


def mean_pose_uvd(dataset: ImageDataset, rows: Int64[ndarray, " n"]) -> Float[Tensor, "21 3"]:
    """The mean of each joint's UVD over those of the given rows in which it is known, none of them augmented.

    HmrError when annotations are damaged. A joint that is known nowhere is where the root joint is.
    """
    used = {"joints", "intrinsics", "side", "joints_valid", "box_px"} & {*dataset.pack.info.arrays}
    dataset.pack.verify_arrays(*sorted(used))  # the rows are others than those that are evaluated
    total, count = torch.zeros(21, 3, dtype=torch.float64), torch.zeros(21, 1, dtype=torch.float64)
    for start in range(0, len(rows), _CHUNK):
        hands = read_hands(dataset.pack, rows[start : start + _CHUNK])
        joints = hands.joints
        crops_px = transform_px(_crops(dataset, hands).affine, points_to_pixels(joints, hands.intrinsics))
        uvd = pixels_to_uvd(crops_px, joints[..., 2], joints[:, dataset.root_joint], dataset.image_size)
        known = hands.joints_valid[..., None]
        total, count = total + torch.where(known, uvd, 0).sum(0), count + known.sum(0)
    mean = total / count.clamp(min=1)
    return torch.where(count > 0, mean, mean[dataset.root_joint])


def baseline_joints(
    dataset: ImageDataset, rows: Int64[ndarray, " n"], mean_uvd: Float[Tensor, "21 3"]
) -> Float32[ndarray, "n 21 3"]:
    """Metres, camera space of the images: the mean pose in each sample's crop, at its given root depth."""
    parts = []
    for start in range(0, len(rows), _CHUNK):
        hands = read_hands(dataset.pack, rows[start : start + _CHUNK])
        joints = hands.joints
        uvd, root = mean_uvd.double().expand(len(joints), -1, -1), joints[:, dataset.root_joint]
        camera = _crops(dataset, hands).intrinsics
        placed = {"joints": from_uvd(uvd, root, camera, dataset.image_size).float()}
        parts.append(mirror_left(dataset.pack, rows[start : start + _CHUNK], placed)["joints"].numpy())
    return np.concatenate(parts)


def _crops(dataset: ImageDataset, hands: AnnotatedHands) -> Crops:
    return dataset.crops(hands.boxes(), hands.intrinsics, identity(len(hands.joints)))
