"""From annotations to what a model is held against: the ground truth of a batch, all samples at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from torch import Tensor

from hmr_core.data.crops import Crops, points_to_pixels
from hmr_core.data.pack.reader import Pack
from hmr_core.geometry.camera import pixels_to_uvd
from hmr_core.geometry.crop import transform_px
from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hmr_core.nn.model import Targets

VISIBLE_SHARE = 0.3
"""A training sample with a smaller share of its points inside the frame, or the crop, has none that count."""


@dataclass(frozen=True, kw_only=True)
class AnnotatedHands:
    """Annotated hands: metres and axis-angle, camera space, float64; rotations are of MANO's 16 joints."""

    joints: Float64[Tensor, "batch 21 3"]
    verts: Float64[Tensor, "batch 778 3"]
    rotations: Float64[Tensor, "batch 16 3"]
    betas: Float64[Tensor, "batch 10"]
    intrinsics: Float64[Tensor, "batch 3 3"]


def read_hands(pack: Pack, rows: Int64[ndarray, " n"]) -> AnnotatedHands:
    """The annotations of rows of a pack."""
    names = ("joints", "verts", "rotations", "betas", "intrinsics")
    return AnnotatedHands(**{name: torch.from_numpy(pack.array(name, rows)).double() for name in names})


def make_targets(hands: AnnotatedHands, crops: Crops, *, root_joint: int, image_size: int) -> Targets:
    """The ground truth of a batch in its crops, every point visible. image_size: the crops' side in their pixels."""
    root = hands.joints[:, root_joint]
    joints_uvd, verts_uvd = (
        pixels_to_uvd(
            transform_px(crops.affine, points_to_pixels(points, hands.intrinsics)), points[..., 2], root, image_size
        )
        for points in (hands.joints, hands.verts)
    )
    wrist = matrix_to_axis_angle(crops.rotation @ axis_angle_to_matrix(hands.rotations[:, 0]))
    return Targets(
        joints_uvd=joints_uvd.float(),
        joints_vis=torch.ones(joints_uvd.shape[:2]),
        verts_uvd=verts_uvd.float(),
        verts_vis=torch.ones(verts_uvd.shape[:2]),
        joints=(hands.joints @ crops.rotation.mT).float(),
        verts=(hands.verts @ crops.rotation.mT).float(),
        rotations=torch.cat([wrist[:, None], hands.rotations[:, 1:]], dim=1).float(),
        betas=hands.betas.float(),
        root=(crops.rotation @ root[..., None]).squeeze(-1).float(),
        intrinsics=crops.intrinsics.float(),
    )


def visibility(
    targets: Targets, hands: AnnotatedHands, frame_px: Float64[Tensor, "batch 2"]
) -> tuple[Float[Tensor, "batch 21"], Float[Tensor, "batch 778"]]:
    """Which joints and vertices of a training sample count, as published: those inside the crop, and none of a sample
    that has too few inside the frame or the crop. frame_px: width and height of the frames.
    """
    joints, verts = _inside(targets.joints_uvd), _inside(targets.verts_uvd)
    joints_px = points_to_pixels(hands.joints, hands.intrinsics)
    in_frame = ((joints_px >= 0) & (joints_px < frame_px[:, None])).all(-1).float()
    return joints * _enough(in_frame) * _enough(joints), verts * _enough(verts)


def _inside(uvd: Tensor) -> Tensor:
    return ((uvd[..., :2] >= 0) & (uvd[..., :2] < 1)).all(-1).float()


def _enough(visible: Tensor) -> Tensor:
    """1 for samples of which at least VISIBLE_SHARE of the points are visible, else 0."""
    return (visible.mean(-1, keepdim=True) >= VISIBLE_SHARE).float()
