"""I2L-MeshNet, stage param: MANO's rotations and betas from the joints of stage lixel.

Moon and Lee, ECCV 2020 (see model.py). It reads the joints of the lixel mesh, in heat-map cells; the rotations come as
six numbers each (Zhou et al., On the Continuity of Rotation Representations in Neural Networks, CVPR 2019). The
lixel stage is loaded and frozen: its weights, and its batch norms' statistics. The published recipe never trains this
stage and no released file's values of it were trained, so the losses are our own: see `I2LParam.loss`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmr_core.errors import HmrError, Option
from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, orthonormalise
from hmr_core.hand.joints import WRIST
from hmr_core.hand.solver import measured_bone
from hmr_core.nn.backbones.config import BackboneConfig
from hmr_core.nn.known import known_l1
from hmr_core.nn.model import Inputs, Prediction, Targets
from hmr_i2l.config import I2LConfig
from hmr_i2l.model import I2LMeshNet
from hmr_i2l.spec import i2l_spec


class ParamRegressor(nn.Module):
    """Joints to the rotation matrices of MANO's 16 joints and to betas."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((63, 1024), (1024, 512)):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]
        self.fc = nn.Sequential(*layers)
        self.fc_pose = nn.Sequential(nn.Linear(512, 16 * 6))
        self.fc_shape = nn.Sequential(nn.Linear(512, 10))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(
        self, joints: Float[Tensor, "batch 21 3"]
    ) -> tuple[Float[Tensor, "batch 16 3 3"], Float[Tensor, "batch 10"]]:
        """joints: in heat-map cells. The matrices and the betas."""
        features = self.fc(joints.flatten(1))
        return orthonormalise(self.fc_pose(features).view(-1, 16, 3, 2)), self.fc_shape(features)


class I2LParam(I2LMeshNet):
    """Image to rotations and betas, by way of the joints and the mesh of a frozen lixel stage."""

    def __init__(self, config: I2LConfig) -> None:
        super().__init__(config)
        self.requires_grad_(False)
        self.param_regressor = ParamRegressor()

    def train(self, mode: bool = True) -> I2LParam:
        """Change the parameter regressor's mode alone: the lixel stage is always in eval mode."""
        super().train(False)
        self.training = mode
        self.param_regressor.train(mode)
        return self

    def forward(self, inputs: Inputs) -> Prediction:
        """Predict what the lixel stage does, and rotations (axis-angle, angle at most pi) and betas of its joints."""
        with torch.no_grad():
            lixel = super().forward(inputs)
        assert lixel.verts_uvd is not None
        # Half precision would cost a millimetre at the tips.
        with torch.autocast(lixel.verts_uvd.device.type, enabled=False):
            joints = self.joint_regressor @ (lixel.verts_uvd * self.cells)
            matrices, betas = self.param_regressor(joints)
            rotations = matrix_to_axis_angle(matrices)
        return Prediction(
            joints_uvd=lixel.joints_uvd,
            verts_uvd=lixel.verts_uvd,
            joint_regressor=lixel.joint_regressor,
            rotations=rotations,
            betas=betas,
        )

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        """Mean absolute distances of what is predicted from what is there.

        `rotation`: of the entries of the rotation matrices. `shape`: of the betas. `joint`, `vertex`: of the posed
        hand's points relative to the root joint, in units of each true hand's bone 0-9; visible or not, since the
        parameters are of the whole hand. What the annotations lack counts for nothing.
        """
        assert prediction.rotations is not None
        assert prediction.betas is not None
        assert prediction.joints is not None
        assert prediction.verts is not None
        weights = self.config.param_loss
        matrices, true_matrices = (axis_angle_to_matrix(r) for r in (prediction.rotations, targets.rotations))
        bone = measured_bone(targets.joints)[:, None, None]
        root, true_root = (joints[:, WRIST : WRIST + 1] for joints in (prediction.joints, targets.joints))
        joints, verts = ((points - root) / bone for points in (prediction.joints, prediction.verts))
        true_joints, true_verts = ((points - true_root) / bone for points in (targets.joints, targets.verts))
        return {
            "rotation": weights.rotation * known_l1(matrices, true_matrices, targets.pose_known),
            "shape": weights.shape * known_l1(prediction.betas, targets.betas, targets.pose_known),
            "joint": weights.joint * known_l1(joints, true_joints, targets.joints_known),
            "vertex": weights.vertex * known_l1(verts, true_verts, targets.verts_known),
        }

    def pretrain(self) -> None:
        """Load the lixel stage (`lixel_weights`).

        Raises HmrError when there is no such file, when it is of stage param, or of another size than this config's.
        """
        from hmr_core.weights.checkpoints import load_checkpoint
        from hmr_core.weights.state_dict import load_weights

        path = self.config.lixel_weights
        assert path is not None
        checkpoint = load_checkpoint(Path(path), i2l_spec(build), option="lixel_weights")
        other = checkpoint.recipe.model
        assert isinstance(other, I2LConfig)
        if other.stage != "lixel":
            raise HmrError(
                f"lixel_weights={path} is of stage {other.stage}; stage param starts from one of stage lixel."
            )
        for key, (own, its) in _sizes(self.config, other).items():
            if own != its:
                raise HmrError(
                    f"lixel_weights={path} was trained with {key}={its}, and this recipe has {own}.",
                    "Give ",
                    Option("set", f"{key}={its}"),
                    ", or another file.",
                )
        state = checkpoint.model.state_dict()
        state |= {f"param_regressor.{name}": value for name, value in self.param_regressor.state_dict().items()}
        load_weights(self, state, source=path, model_name="i2l")


def build(config: I2LConfig) -> I2LMeshNet:
    """The network of the config's stage, randomly initialised."""
    return I2LParam(config) if config.stage == "param" else I2LMeshNet(config)


def _sizes(config: I2LConfig, other: I2LConfig) -> dict[str, tuple[object, object]]:
    """What two configs must agree on for the one's lixel stage to be the other's, by key.

    Not middle_tip: it says which vertex of a mesh is taken for a joint, and no weight depends on its number.
    """
    pairs: dict[str, tuple[object, object]] = {
        key: (getattr(config, key), getattr(other, key)) for key in ("image_size", "sigma")
    }
    backbone = tuple(key for key in BackboneConfig.model_fields if key not in ("weights", "drop_path"))
    for section, keys in (("head", ("channels", "depth")), ("backbone", backbone)):
        own, its = getattr(config, section), getattr(other, section)
        pairs |= {f"{section}.{key}": (getattr(own, key), getattr(its, key)) for key in keys}
    return pairs
