"""IKNet's network: inverse kinematics, from a hand's joints to the rotations of MANO's 16 joints.

Zhou et al., Monocular Real-time Hand Shape and Motion Capture using Multi-modal Data, CVPR 2020, in the form that
OakInk-HMR takes from HandTailor (Lv et al., BMVC 2021): joints alone go in, and no shape comes out. The names of the
layers are those of the released file.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hmr_core.hand.joints import MIDDLE_MCP
from hmr_core.hand.solver import measured_bone
from hmr_iknet.config import IKNetConfig


class IKNet(nn.Module):
    """Joints to unit quaternions."""

    def __init__(self, config: IKNetConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 63
        for hidden in config.widths:
            layers += [nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
            width = hidden
        self.invk_layers = nn.Sequential(*layers, nn.Linear(width, 64))

    def forward(self, joints: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "batch 16 4"]:
        """The rotations of MANO's 16 joints as unit quaternions, w first, relative to the flat hand.

        joints: OpenPose order, any unit and place: joint 9 and bone 0-9 are taken out.
        """
        quaternions: Tensor = self.invk_layers(normalise_joints(joints).flatten(1)).reshape(-1, 16, 4)
        return F.normalize(quaternions, dim=-1, eps=1e-12)


def normalise_joints(joints: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "batch 21 3"]:
    """The joints relative to joint 9, in units of bone 0-9."""
    return (joints - joints[:, MIDDLE_MCP : MIDDLE_MCP + 1]) / measured_bone(joints)[:, None, None]


def rotation_vectors(quaternions: Float[Tensor, "batch 16 4"]) -> Float[Tensor, "batch 16 3"]:
    """The axis-angle vectors of unit quaternions, w first, of angle at most pi, as the published code takes them.

    2 atan2(|v|, w) v / |v|, both arguments negated when w < 0, and 2 v when v is 0. Source: the golden file iknet.
    """
    w, v = quaternions[..., :1], quaternions[..., 1:]
    length = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    sign = torch.where(w < 0, -1.0, 1.0).to(w.dtype)
    angle = 2 * torch.atan2(sign * length, sign * w)
    return torch.where(length > 0, angle / length, 2.0) * v
