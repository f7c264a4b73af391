"""How far away a hand of a photo is: as far as it must be to have its size.

A model of images predicts where joints are in the picture, and their depth relative to the root joint. Each joint is
then at root depth * ray + offset, with its own ray (depth 1) and offset. Its bones are as long as the hand model's at
one root depth alone, but for errors; it is found by least squares over all bones. The idea is Iqbal et al., "Hand Pose
Estimation via Latent 2.5D Heatmap Regression" (ECCV 2018), who take one bone, whose equation is quadratic.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.geometry.camera import project
from hmr_core.hand.joints import BONES
from hmr_core.hand.layer import HandLayer

NEAREST_M, FARTHEST_M = 0.05, 100.0
"""Where hands are looked for. The nearest joint is no nearer than the first."""

REACH = (9, 10, 11, 12)
"""The bones, by the joints at their ends, whose lengths make a hand's size: from the wrist to the middle fingertip."""

_GRID, _STEPS = 256, 20
_PARENTS, _CHILDREN = [parent for parent, _ in BONES], [child for _, child in BONES]


def bone_lengths(layer: HandLayer, betas: Float[Tensor, "batch 10"]) -> Float[Tensor, "batch 20"]:
    """The lengths in metres of a hand's bones (as BONES lists them), of the flat hand of these shapes; float64."""
    with torch.no_grad():
        joints = layer.joints(torch.zeros(len(betas), 16, 3).to(betas), betas).double()
    return bones_of(joints)


def bones_of(joints: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "batch 20"]:
    """The lengths of the bones (as BONES lists them) between joints in OpenPose order."""
    lengths: Tensor = torch.linalg.vector_norm(joints[:, _CHILDREN] - joints[:, _PARENTS], dim=-1)
    return lengths


def hand_size(lengths: Float[Tensor, "batch 20"]) -> Float[Tensor, "batch"]:
    """A hand's size in metres, of its bones' lengths: from the wrist along the bones to the middle fingertip."""
    return lengths[:, [_CHILDREN.index(joint) for joint in REACH]].sum(1)


def depth_by_size(
    rays: Float[Tensor, "batch 21 3"], offsets: Float[Tensor, "batch 21 3"], lengths: Float[Tensor, "batch 20"]
) -> Float[Tensor, "batch"]:
    """The root's depth at which the bones of joints at `depth * rays + offsets` are closest to these lengths.

    Metres, camera space; closest in the sum of the squared differences. All joints are before the camera. Joints whose
    place in the picture says nothing of their depth (all on one ray, for instance) get some depth between NEAREST_M and
    FARTHEST_M.
    """
    rays, offsets, lengths = rays.double(), offsets.double(), lengths.double()
    ray_bones, offset_bones = rays[:, _CHILDREN] - rays[:, _PARENTS], offsets[:, _CHILDREN] - offsets[:, _PARENTS]
    nearest = (NEAREST_M - offsets[..., 2].amin(1)).clamp(min=NEAREST_M)

    def residuals(depth: Float[Tensor, "batch n"]) -> tuple[Tensor, Tensor]:
        """How much too long each bone is, and how that changes with the depth."""
        bones = depth[..., None, None] * ray_bones[:, None] + offset_bones[:, None]
        length = torch.linalg.vector_norm(bones, dim=-1)
        slope = (bones * ray_bones[:, None]).sum(-1) / length.clamp(min=1e-12)
        return length - lengths[:, None], slope

    # The sum of squares may have two minima. On a grid of depths the lower one is found, and then Gauss's and Newton's
    # steps lead to its bottom: Newton's own may not be one downwards.
    growth = torch.linspace(0, 1, _GRID, dtype=torch.float64)
    grid = nearest[:, None] * (FARTHEST_M / nearest[:, None]) ** growth
    best = residuals(grid)[0].square().sum(-1).argmin(1, keepdim=True)
    low, high = (grid.gather(1, (best + shift).clamp(0, _GRID - 1)) for shift in (-1, 1))
    depth = grid.gather(1, best)
    for _ in range(_STEPS):
        residual, slope = residuals(depth)
        step = (residual * slope).sum(-1) / slope.square().sum(-1).clamp(min=1e-12)
        depth = torch.minimum(torch.maximum(depth - step, low), high)
    return depth[:, 0]


def root_in_box(
    joints: Float[Tensor, "batch 21 3"],
    intrinsics: Float[Tensor, "batch 3 3"],
    *,
    middle_px: float,
    side_px: float,
    depth: float | None = None,
) -> Float[Tensor, "batch 3"]:
    """Where the root joint is of a hand of which nothing but its pose is known, and the box that it fills; float64.

    joints: relative to the root joint, metres. The root is put where the longer side of the projected joints' box is
    side_px, and its middle at (middle_px, middle_px), in a crop of a camera with these intrinsics; or, where its depth
    is given, only its middle there.
    """
    joints, intrinsics = joints.double(), intrinsics.double()
    nearest = NEAREST_M - joints[..., 2].amin(1)
    target = torch.full((len(joints), 2), middle_px, dtype=torch.float64)
    start = torch.full((len(joints),), 1.0 if depth is None else depth, dtype=torch.float64)
    root = torch.stack([torch.zeros_like(start), torch.zeros_like(start), start.clamp(min=nearest)], dim=1)
    for _ in range(_STEPS):
        pixels = project(joints + root[:, None], intrinsics)
        low, high = pixels.amin(1), pixels.amax(1)
        if depth is None:
            grown = (root[:, 2] * (high - low).amax(1) / side_px).clamp(max=FARTHEST_M)
            root = torch.cat([root[:, :2], torch.maximum(grown, nearest)[:, None]], dim=1)
        off = torch.cat([target - (low + high) / 2, torch.zeros_like(target[:, :1])], dim=1)
        moved = torch.linalg.solve(intrinsics, off[..., None])[..., 0] * root[:, 2:]
        root = root + torch.cat([moved[:, :2], torch.zeros_like(moved[:, :1])], dim=1)
    return root
