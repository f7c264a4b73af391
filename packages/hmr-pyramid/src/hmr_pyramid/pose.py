"""From joints to rotations and betas: the hand is turned upright by its palm, and a small network does the rest.

The network sees joints in the palm's own frame and in units of the hand's size, so that neither where a hand is nor how
it is turned has to be learnt. How large the hand is in the picture says how far away it is, but for its true size; that
is taken for the hand model's. Rotations come as six numbers each (Zhou et al., On the Continuity of Rotation
Representations in Neural Networks, CVPR 2019).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmr_core.geometry.camera import DEPTH_RANGE_M
from hmr_core.geometry.rays import rays
from hmr_core.geometry.rotations import orthonormalise
from hmr_core.hand.joints import BONES, N_JOINTS

_PARENTS, _CHILDREN = [parent for parent, _ in BONES], [child for _, child in BONES]
WRIST, INDEX, MIDDLE, LITTLE = 0, 5, 9, 17
NEAREST_M, FARTHEST_M = 0.05, 100.0


def lift_by_size(
    uvd: Float[Tensor, "batch 21 3"],
    intrinsics: Float[Tensor, "batch 3 3"],
    image_size: int,
    squares: Float[Tensor, ""],
    root_joint: int,
) -> Float[Tensor, "batch 21 3"]:
    """The joints in camera space, metres, of a hand whose bones' squared lengths sum up to `squares`.

    With joint j at depth * ray + offset, that sum is quadratic in the root's depth. A sum that no depth gives is met as
    nearly as can be.
    """
    directions = rays(uvd[..., :2] * image_size, intrinsics)
    depths = (uvd[..., 2:] - uvd[:, root_joint : root_joint + 1, 2:]) * DEPTH_RANGE_M
    offsets = directions * depths
    a = directions[:, _CHILDREN] - directions[:, _PARENTS]
    b = offsets[:, _CHILDREN] - offsets[:, _PARENTS]
    aa, ab, bb = (a * a).sum((1, 2)).clamp(min=1e-8), (a * b).sum((1, 2)), (b * b).sum((1, 2))
    root = (-ab + (ab * ab - aa * (bb - squares)).clamp(min=1e-12).sqrt()) / aa
    return directions * (root.clamp(NEAREST_M, FARTHEST_M)[:, None, None] + depths)


def sum_of_squares(joints: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "batch"]:
    """The sum of the bones' squared lengths."""
    return (joints[:, _CHILDREN] - joints[:, _PARENTS]).square().sum((1, 2))


def palm_frame(joints: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "batch 3 3"]:
    """The palm's axes as columns: along the middle finger's metacarpal, towards the index's side, and their cross."""
    along = joints[:, MIDDLE] - joints[:, WRIST]
    across = joints[:, INDEX] - joints[:, LITTLE]
    return orthonormalise(torch.stack([along, across], dim=-1))


def upright(joints: Float[Tensor, "batch 21 3"]) -> tuple[Float[Tensor, "batch 21 3"], Float[Tensor, "batch 3 3"]]:
    """The joints around the wrist in the palm's frame, in units of the root of the mean squared bone; and the frame."""
    frame = palm_frame(joints)
    size = (sum_of_squares(joints) / len(BONES)).sqrt().clamp(min=1e-6)
    return (joints - joints[:, :1]) @ frame / size[:, None, None], frame


class PoseHead(nn.Module):
    """Joints to the rotation matrices of MANO's 16 joints and to betas."""

    rest_frame: Tensor

    def __init__(self, widths: tuple[int, ...], noise: float = 0) -> None:
        super().__init__()
        self.noise = noise
        layers: list[nn.Module] = []
        inputs = N_JOINTS * 3
        for width in widths:
            layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
            inputs = width
        self.layers = nn.Sequential(*layers)
        self.turns = nn.Linear(inputs, 16 * 6)
        self.shape = nn.Linear(inputs, 10)
        for layer in (self.turns, self.shape):
            nn.init.normal_(layer.weight, std=0.001)
            nn.init.zeros_(layer.bias)
        # The hand model's palm at rest, from use_hand; a checkpoint must not hold it.
        self.register_buffer("rest_frame", torch.eye(3), persistent=False)

    def forward(
        self, joints: Float[Tensor, "batch 21 3"]
    ) -> tuple[Float[Tensor, "batch 16 3 3"], Float[Tensor, "batch 10"]]:
        """joints: of any size, anywhere. The matrices, the wrist's in the joints' space, and the betas."""
        seen, frame = upright(joints)
        if self.training and self.noise:
            seen = seen + self.noise * torch.randn_like(seen)
        features = self.layers(seen.flatten(1))
        columns = self.turns(features).view(-1, 16, 3, 2) + torch.eye(3, 2, dtype=seen.dtype, device=seen.device)
        turns = orthonormalise(columns)
        wrist = frame @ turns[:, 0] @ self.rest_frame.mT
        return torch.cat([wrist[:, None], turns[:, 1:]], dim=1), self.shape(features)
