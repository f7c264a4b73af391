"""Pyramid: joints with confidence, rotations, shape and so the mesh of a hand, from one forward pass.

A backbone's maps are brought to one map at 1/8 of the resolution (neck.py: Lin et al., Feature Pyramid Networks, CVPR
2017). One 1x1 convolution makes a heat map and a depth map of each joint; the heat map's soft-max says where the joint
is (Sun et al., Integral Human Pose Regression, ECCV 2018) and where its depth is read. Rotations and betas are made of
the joints, in the palm's own frame (pose.py), and the hand layer makes the mesh of them, so that mesh, joints and
rotations are of one hand. No paper has this model.

- Joints learn from their own loss alone: what makes rotations of them is given them without a gradient.
- A heat map's standard deviation learns to be the joint's error in the picture, which is then known without the truth.
- Every loss counts what the annotations have, so that data of joints alone train all parts.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.solver import measured_bone
from hmr_core.nn.known import known_l1
from hmr_core.nn.model import Inputs, PoseModel, Prediction, Targets
from hmr_core.plugins.backbones import build_backbone, load_pretrained
from hmr_pyramid.config import PyramidConfig
from hmr_pyramid.heads import JointHead
from hmr_pyramid.neck import Neck
from hmr_pyramid.pose import PoseHead, lift_by_size, palm_frame, sum_of_squares
from hmr_pyramid.refining import Refinement, TokenDecoder

ROOT = 9
HALF = 0.1
"""The standard deviation of a heat map, in crops, at which the confidence is a half."""

_SHORTEST_M = 1e-3
"""No bone 0-9 of a hand is shorter; one of joints that are not known may be."""


class Pyramid(PoseModel):
    """Image to UVD joints with confidence, rotations and betas.

    extras: "spread", the standard deviations of the heat maps in crops; "first_uvd", the joints before a second look.
    """

    squares: Tensor

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        self.neck = Neck(self.backbone.maps, config.channels)
        self.joint_head = JointHead(config.channels)
        self.refinement = (
            Refinement([*self.backbone.maps, self.neck.out], config.channels, config.refine) if config.refine else None
        )
        self.decoder = TokenDecoder(self.neck.out, config.tokens) if config.tokens else None
        self.pose_head = PoseHead(config.pose.widths, config.pose.noise)
        # The hand model's, from use_hand: the sum of its bones' squared lengths. A checkpoint must not hold it.
        self.register_buffer("squares", torch.ones(()), persistent=False)
        self.has_hand = False

    def use_hand(self, hand: HandModel) -> None:
        """Take the hand's size, and how its palm lies at rest."""
        layer = HandLayer(hand)
        rest = layer.joints(torch.zeros(1, 16, 3), torch.zeros(1, 10))
        self.squares.copy_(sum_of_squares(rest)[0])
        self.pose_head.rest_frame.copy_(palm_frame(rest)[0])
        self.has_hand = True

    def forward(self, inputs: Inputs) -> Prediction:
        """Predict from inputs.image and inputs.intrinsics; the heads are computed in float32 at least."""
        if inputs.image is None or inputs.intrinsics is None:
            raise ValueError("Pyramid consumes images and their cameras; inputs.image or inputs.intrinsics is None")
        if not self.has_hand:
            raise ValueError("Pyramid needs the hand model: call use_hand before it predicts")
        maps = self.backbone(inputs.image)
        features = self.neck(maps)
        first, spread = self.joint_head(features)
        uvd = first
        if self.decoder is not None:
            uvd = self.decoder(features, uvd).to(first.dtype)
        if self.refinement is not None:
            uvd = self.refinement([*maps, features], uvd).to(first.dtype)
        with torch.autocast(uvd.device.type, enabled=False):
            intrinsics = inputs.intrinsics.to(uvd.dtype)
            joints = lift_by_size(uvd.detach(), intrinsics, self.config.image_size, self.squares, ROOT)
            matrices, betas = self.pose_head(joints)
            rotations = matrix_to_axis_angle(matrices)
        return Prediction(
            joints_uvd=uvd,
            confidence=1 / (1 + (spread / HALF).square()),
            rotations=rotations,
            betas=betas,
            extras={"spread": spread} if uvd is first else {"spread": spread, "first_uvd": first},
        )

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        """Of what is visible: `uvd`, `first` (before a second look), `spread`. Of what is known: the posed hand's.

        `rotation`: of the entries of the rotation matrices. `shape`: of the betas. `joint`, `vertex`: of the posed
        hand's points around the root joint, in units of each true hand's bone 0-9; seen or not, since the parameters
        are of the whole hand.
        """
        assert prediction.joints_uvd is not None
        weights, extras = self.config.loss, prediction.extras
        terms = {"uvd": weights.uvd * self._smooth(prediction.joints_uvd, targets.joints_uvd, targets.joints_vis)}
        if "first_uvd" in extras:
            terms["first"] = weights.uvd * self._smooth(extras["first_uvd"], targets.joints_uvd, targets.joints_vis)
        first = extras.get("first_uvd", prediction.joints_uvd).detach()
        off = (first - targets.joints_uvd)[..., :2].norm(dim=-1)
        terms["spread"] = weights.spread * self._smooth(extras["spread"], off, targets.joints_vis)
        return terms | self._of_posed_hand(prediction, targets)

    def _smooth(
        self,
        predicted: Float[Tensor, "batch 21 *rest"],
        truth: Float[Tensor, "batch 21 *rest"],
        visible: Float[Tensor, "batch 21"],
    ) -> Float[Tensor, ""]:
        """Smooth L1 over all values, those of invisible joints as 0."""
        visible = visible if predicted.ndim == visible.ndim else visible[..., None]
        return F.smooth_l1_loss(predicted * visible, truth * visible, beta=self.config.loss_beta)

    def _of_posed_hand(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        assert prediction.rotations is not None
        assert prediction.betas is not None
        assert prediction.joints is not None
        assert prediction.verts is not None
        weights = self.config.loss
        matrices, true_matrices = (axis_angle_to_matrix(r) for r in (prediction.rotations, targets.rotations))
        bone = measured_bone(targets.joints).clamp(min=_SHORTEST_M)[:, None, None]
        joints, verts, true_joints, true_verts = (
            (points - targets.root[:, None]) / bone
            for points in (prediction.joints, prediction.verts, targets.joints, targets.verts)
        )
        return {
            "rotation": weights.rotation * known_l1(matrices, true_matrices, targets.pose_known),
            "shape": weights.shape * known_l1(prediction.betas, targets.betas, targets.pose_known),
            "joint": weights.joint * known_l1(joints, true_joints, targets.joints_known),
            "vertex": weights.vertex * known_l1(verts, true_verts, targets.verts_known),
        }

    def pretrain(self) -> None:
        """Load the backbone's weights (`backbone.weights`)."""
        load_pretrained(self.backbone)
