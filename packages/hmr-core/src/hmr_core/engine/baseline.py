"""What a model that sees nothing would score: every sample gets the training subset's mean UVD pose."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from hmr_core.data.augment import identity
from hmr_core.data.dataset import HandDataset
from hmr_core.geometry.camera import from_uvd
from hmr_core.nn.model import Targets

_CHUNK = 4096


def mean_pose_uvd(dataset: HandDataset, rows: Int64[ndarray, " n"]) -> Float[Tensor, "21 3"]:
    """The mean of the joints' UVD over the given rows, none of them augmented."""
    total = torch.zeros(21, 3, dtype=torch.float64)
    for start in range(0, len(rows), _CHUNK):
        total += _targets(dataset, rows[start : start + _CHUNK]).joints_uvd.double().sum(0)
    return total / len(rows)


def baseline_joints(dataset: HandDataset, rows: Int64[ndarray, " n"], mean_uvd: Float[Tensor, "21 3"]) -> ndarray:
    """(n, 21, 3) float32, metres, camera space: the mean pose in each sample's crop, at its given root depth."""
    parts = []
    for start in range(0, len(rows), _CHUNK):
        targets = _targets(dataset, rows[start : start + _CHUNK])
        uvd = mean_uvd.float().expand(len(targets.root), -1, -1)
        parts.append(from_uvd(uvd, targets.root, targets.intrinsics, dataset.image_size).numpy())
    return np.concatenate(parts)


def _targets(dataset: HandDataset, rows: Int64[ndarray, " n"]) -> Targets:
    annotations = {name: torch.from_numpy(dataset.pack.array(name, rows)) for name in ("joints", "verts", "intrinsics")}
    frame_px = dataset.pack.array("frame_px", rows)
    return dataset.targets(**annotations, augmentation=identity(len(rows)), frame_px=frame_px)[1]
