"""From annotations to what a model is held against: the crops of a batch and its ground truth, all samples at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from torch import Tensor

from hmr_core.data.augment import Augmentation
from hmr_core.data.pack.reader import Pack
from hmr_core.geometry.camera import PUBLISHED_DEPTH_EPSILON_M, pixels_to_uvd, project
from hmr_core.geometry.crop import crop_affine, crop_intrinsics, joint_box, rotation_about_z, transform_px
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


@dataclass(frozen=True, kw_only=True)
class CropGeometry:
    """The crops of a batch: joints, box centre and side in frame pixels, the map from frame to crop, its camera."""

    joints_px: Float64[Tensor, "batch 21 2"]
    centre_px: Float64[Tensor, "batch 2"]
    side_px: Float64[Tensor, " batch"]
    affine: Float64[Tensor, "batch 3 3"]
    intrinsics: Float64[Tensor, "batch 3 3"]
    rotation: Float64[Tensor, "batch 3 3"]


def crop_hands(
    joints: Float64[Tensor, "batch 21 3"],
    intrinsics: Float64[Tensor, "batch 3 3"],
    augmentation: Augmentation,
    *,
    bbox_expand: float,
    image_size: int,
) -> CropGeometry:
    """The crops of a batch from its joints (metres, camera space) and cameras."""
    angle = torch.from_numpy(augmentation.angle)
    joints_px = project(joints, intrinsics, depth_epsilon_m=PUBLISHED_DEPTH_EPSILON_M)
    centre, span = joint_box(joints_px)
    side = span * bbox_expand * torch.from_numpy(augmentation.scale)
    return CropGeometry(
        joints_px=joints_px,
        centre_px=centre,
        side_px=side,
        affine=crop_affine(centre, side, angle, image_size),
        intrinsics=crop_intrinsics(centre, side, angle, intrinsics, image_size),
        rotation=rotation_about_z(angle),
    )


def make_targets(hands: AnnotatedHands, crop: CropGeometry, *, root_joint: int, image_size: int) -> Targets:
    """The ground truth of a batch in its crops, every point visible."""
    root = hands.joints[:, root_joint]
    verts_px = project(hands.verts, hands.intrinsics, depth_epsilon_m=PUBLISHED_DEPTH_EPSILON_M)
    joints_uvd = pixels_to_uvd(transform_px(crop.affine, crop.joints_px), hands.joints[..., 2], root, image_size)
    verts_uvd = pixels_to_uvd(transform_px(crop.affine, verts_px), hands.verts[..., 2], root, image_size)
    wrist = matrix_to_axis_angle(crop.rotation @ axis_angle_to_matrix(hands.rotations[:, 0]))
    return Targets(
        joints_uvd=joints_uvd.float(),
        joints_vis=torch.ones(joints_uvd.shape[:2]),
        verts_uvd=verts_uvd.float(),
        verts_vis=torch.ones(verts_uvd.shape[:2]),
        joints=(hands.joints @ crop.rotation.mT).float(),
        verts=(hands.verts @ crop.rotation.mT).float(),
        rotations=torch.cat([wrist[:, None], hands.rotations[:, 1:]], dim=1).float(),
        betas=hands.betas.float(),
        root=(crop.rotation @ root[..., None]).squeeze(-1).float(),
        intrinsics=crop.intrinsics.float(),
    )


def visibility(
    targets: Targets, crop: CropGeometry, frame_px: Float[Tensor, "batch 2"]
) -> tuple[Float[Tensor, "batch 21"], Float[Tensor, "batch 778"]]:
    """Which joints and vertices of a training sample count, as published: those inside the crop, and none of a sample
    that has too few inside the frame or the crop.
    """
    joints, verts = _inside(targets.joints_uvd), _inside(targets.verts_uvd)
    in_frame = ((crop.joints_px >= 0) & (crop.joints_px < frame_px[:, None])).all(-1).float()
    return joints * _enough(in_frame) * _enough(joints), verts * _enough(verts)


def _inside(uvd: Tensor) -> Tensor:
    return ((uvd[..., :2] >= 0) & (uvd[..., :2] < 1)).all(-1).float()


def _enough(visible: Tensor) -> Tensor:
    """1 for samples of which at least VISIBLE_SHARE of the points are visible, else 0."""
    return (visible.mean(-1, keepdim=True) >= VISIBLE_SHARE).float()
