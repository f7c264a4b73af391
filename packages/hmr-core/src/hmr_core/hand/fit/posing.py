"""Fitted hands as meshes, so many at once that the cache holds them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.geometry.rotations import matrix_to_axis_angle
from hmr_core.hand.fit.least_squares import FittedHands
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.solver import HandFit

MESH_CHUNK = 256
"""Hands that are skinned at once: their vertices' matrices still fit the cache."""


def pose_in_chunks(
    layer: HandLayer, rotations: Float[Tensor, "batch 16 3"], betas: Float[Tensor, "batch 10"]
) -> tuple[Float[Tensor, "batch 21 3"], Float[Tensor, "batch 778 3"]]:
    """The joints and the mesh of many hands, as the layer poses them; metres."""
    chunks = zip(torch.split(rotations, MESH_CHUNK), torch.split(betas, MESH_CHUNK), strict=True)
    posed = [layer(*chunk) for chunk in chunks]
    return torch.cat([p.joints for p in posed]), torch.cat([p.verts for p in posed])


def to_hand_fit(layer: HandLayer, hands: FittedHands) -> HandFit:
    """Fitted hands with their joints and meshes, placed by the wrist; metres, on the layer's device."""
    rotations, betas = matrix_to_axis_angle(hands.local.permute(3, 0, 1, 2)), hands.betas.T.contiguous()
    joints, verts = pose_in_chunks(layer, rotations, betas)
    shift = hands.place.T[:, None] - joints[:, :1]  # the wrist is joint 0
    return HandFit(rotations=rotations, betas=betas, joints=joints + shift, verts=verts + shift)
