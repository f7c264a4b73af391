"""From annotations to what a model is held against: the ground truth of a batch, all samples at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray
from torch import Tensor

from hmr_core.data.crops import Boxes, Crops, joints_to_boxes, points_to_pixels
from hmr_core.data.pack.format import ARRAYS
from hmr_core.data.pack.reader import Pack
from hmr_core.data.sides import mirror_left
from hmr_core.geometry.camera import pixels_to_uvd
from hmr_core.geometry.crop import transform_px
from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hmr_core.hand.joints import MIDDLE_MCP, WRIST
from hmr_core.nn.model import Targets

VISIBLE_SHARE = 0.3
"""A training sample with a smaller share of its points inside the frame, or the crop, has none that count."""

LEARNT = ("verts", "rotations", "betas")
"""The annotations beside joints that a model may learn from."""


@dataclass(frozen=True, kw_only=True)
class AnnotatedHands:
    """Annotated hands: metres and axis-angle, camera space, float64; rotations are of MANO's 16 joints. All are right
    hands: left ones are in the mirrored view.

    Joints that are not known (joints_valid) are at the wrist, so that boxes are of the known ones. verts_valid: the
    samples whose verts are known, pose_valid: those whose rotations and betas are; the others' are 0, and where the
    data set has none at all, a model that learns from them is refused before it begins. box_px: annotated boxes (x, y,
    width, height) in the frame; None where the data set has none.
    """

    joints: Float64[Tensor, "batch 21 3"]
    joints_valid: Bool[Tensor, "batch 21"]
    verts_valid: Bool[Tensor, " batch"]
    pose_valid: Bool[Tensor, " batch"]
    verts: Float64[Tensor, "batch 778 3"]
    rotations: Float64[Tensor, "batch 16 3"]
    betas: Float64[Tensor, "batch 10"]
    intrinsics: Float64[Tensor, "batch 3 3"]
    box_px: Float64[Tensor, "batch 4"] | None = None

    def boxes(self) -> Boxes:
        """The boxes that crops are made of: the joints', or the annotated one where the middle knuckle is not known."""
        boxes = joints_to_boxes(self.joints, self.intrinsics)
        alone = ~self.joints_valid[:, MIDDLE_MCP]
        if self.box_px is None or not bool(alone.any()):
            return boxes
        corner, size = self.box_px[:, :2], self.box_px[:, 2:]
        return Boxes(
            centre_px=torch.where(alone[:, None], torch.trunc(corner + size / 2), boxes.centre_px),
            side_px=torch.where(alone, size.amax(1), boxes.side_px),
        )


def read_hands(pack: Pack, rows: Int64[ndarray, " n"]) -> AnnotatedHands:
    """The annotations of rows of a pack, left hands in the mirrored view."""
    names = ("joints", "verts", "rotations", "betas", "intrinsics", "box_px")
    there = [name for name in names if name in pack.info.arrays]
    given: dict[str, Tensor] = {name: torch.from_numpy(pack.array(name, rows)).double() for name in there}
    arrays = mirror_left(pack, rows, given)
    absent = {name: arrays["joints"].new_zeros(len(rows), *ARRAYS[name].shape) for name in LEARNT if name not in there}
    arrays |= absent
    known, meshed = torch.from_numpy(pack.joints_valid(rows)), torch.from_numpy(pack.verts_valid(rows))
    # What is not known is at the wrist: before the camera, so that losses that weigh it by 0 are numbers.
    wrist = arrays["joints"][:, WRIST, None]
    arrays["joints"] = torch.where(known[..., None], arrays["joints"], wrist)
    arrays["verts"] = torch.where(meshed[:, None, None], arrays["verts"], wrist)
    return AnnotatedHands(
        joints_valid=known, verts_valid=meshed, pose_valid=torch.from_numpy(pack.pose_valid(rows)), **arrays
    )


def make_targets(hands: AnnotatedHands, crops: Crops, *, root_joint: int, image_size: int) -> Targets:
    """The ground truth of a batch in its crops, every known point visible. image_size: the crops' side, in pixels."""
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
        joints_vis=hands.joints_valid.float(),
        verts_uvd=verts_uvd.float(),
        verts_vis=hands.verts_valid.float()[:, None].expand(verts_uvd.shape[:2]).contiguous(),
        joints=(hands.joints @ crops.rotation.mT).float(),
        verts=(hands.verts @ crops.rotation.mT).float(),
        rotations=torch.cat([wrist[:, None], hands.rotations[:, 1:]], dim=1).float(),
        betas=hands.betas.float(),
        joints_known=hands.joints_valid.float(),
        verts_known=hands.verts_valid.float(),
        pose_known=hands.pose_valid.float(),
        root=(crops.rotation @ root[..., None]).squeeze(-1).float(),
        intrinsics=crops.intrinsics.float(),
    )


def visibility(
    targets: Targets, hands: AnnotatedHands, frame_px: Float64[Tensor, "batch 2"]
) -> tuple[Float[Tensor, "batch 21"], Float[Tensor, "batch 778"]]:
    """Which joints and vertices of a training sample count, as published: those inside the crop, and none of a sample
    that has too few inside the frame or the crop. What is not known is nowhere. frame_px: width and height of the
    frames.
    """
    joints = _inside(targets.joints_uvd) * targets.joints_vis
    verts = _inside(targets.verts_uvd) * targets.verts_vis
    joints_px = points_to_pixels(hands.joints, hands.intrinsics)
    in_frame = ((joints_px >= 0) & (joints_px < frame_px[:, None])).all(-1).float() * targets.joints_vis
    return joints * _enough(in_frame) * _enough(joints), verts * _enough(verts)


def _inside(uvd: Tensor) -> Tensor:
    return ((uvd[..., :2] >= 0) & (uvd[..., :2] < 1)).all(-1).float()


def _enough(visible: Tensor) -> Tensor:
    """1 for samples of which at least VISIBLE_SHARE of the points are visible, else 0."""
    return (visible.mean(-1, keepdim=True) >= VISIBLE_SHARE).float()
