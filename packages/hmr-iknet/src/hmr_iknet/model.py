"""IKNet: inverse kinematics, from a hand's joints to the rotations of MANO's 16 joints.

Zhou et al., Monocular Real-time Hand Shape and Motion Capture using Multi-modal Data, CVPR 2020, in the form that
OakInk-HMR takes from HandTailor (Lv et al., BMVC 2021): joints alone go in, and no shape comes out (betas are zero; the
solver's fit finds them). The names of the layers are those of the released file. The published code never trains it, so
the loss is our own: see `IKNet.loss`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hmr_core.geometry.rotations import axis_angle_to_matrix, quaternion_to_axis_angle
from hmr_core.hand.joints import MIDDLE_MCP
from hmr_core.hand.solver import measured_bone
from hmr_core.nn.known import known_l1
from hmr_core.nn.model import Inputs, PoseModel, Prediction, Targets
from hmr_iknet.config import IKNetConfig


class IKNet(PoseModel):
    """Joints to rotations."""

    def __init__(self, config: IKNetConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        width = 63
        for hidden in config.widths:
            layers += [nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
            width = hidden
        self.invk_layers = nn.Sequential(*layers, nn.Linear(width, 64))

    def forward(self, inputs: Inputs) -> Prediction:
        """Predict axis-angle vectors of angle at most pi, and betas of zero, from inputs.joints."""
        if inputs.joints is None:
            raise ValueError("IKNet consumes joints; inputs.joints is None")
        # Half precision would cost a millimetre at the tips.
        with torch.autocast(inputs.joints.device.type, enabled=False):
            rotations = quaternion_to_axis_angle(self.quaternions(inputs.joints))
        return Prediction(rotations=rotations, betas=rotations.new_zeros(len(rotations), 10))

    def quaternions(self, joints: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "batch 16 4"]:
        """The rotations of MANO's 16 joints as unit quaternions, w first, relative to the flat hand.

        joints: OpenPose order, any unit and place: joint 9 and bone 0-9 are taken out.
        """
        quaternions: Tensor = self.invk_layers(normalise_joints(joints).flatten(1)).reshape(-1, 16, 4)
        return F.normalize(quaternions, dim=-1, eps=1e-12)

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        """Mean distances of what is predicted from what is there, on rotations, joints and vertices.

        `rotation`: of the entries of the rotation matrices, absolute. `joint`, `vertex`: of the points relative to
        joint 9 in units of each hand's own bone 0-9, absolute; both in the same frame, so that the wrist's rotation
        counts in all points. What the annotations lack counts for nothing.
        """
        assert prediction.rotations is not None
        assert prediction.joints is not None
        assert prediction.verts is not None
        weights = self.config.loss
        predicted, truth = (axis_angle_to_matrix(r) for r in (prediction.rotations, targets.rotations))
        joints, verts = _in_bones(prediction.joints, prediction.verts)
        true_joints, true_verts = _in_bones(targets.joints, targets.verts)
        return {
            "rotation": weights.rotation * known_l1(predicted, truth, targets.pose_known),
            "joint": weights.joint * known_l1(joints, true_joints, targets.joints_known),
            "vertex": weights.vertex * known_l1(verts, true_verts, targets.verts_known),
        }


def normalise_joints(joints: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "batch 21 3"]:
    """The joints relative to joint 9, in units of bone 0-9."""
    return (joints - joints[:, MIDDLE_MCP : MIDDLE_MCP + 1]) / measured_bone(joints)[:, None, None]


def _in_bones(
    joints: Float[Tensor, "batch 21 3"], verts: Float[Tensor, "batch 778 3"]
) -> tuple[Float[Tensor, "batch 21 3"], Float[Tensor, "batch 778 3"]]:
    """Points relative to joint 9, in units of bone 0-9."""
    origin, bone = joints[:, MIDDLE_MCP : MIDDLE_MCP + 1], measured_bone(joints)[:, None, None]
    return (joints - origin) / bone, (verts - origin) / bone
