"""I2L-MeshNet, stage lixel: the joints and the mesh of a hand from one image, by lixel heat maps.

Moon and Lee, I2L-MeshNet: Image-to-Lixel Prediction Network for Accurate 3D Human Pose and Mesh Estimation from a
Single RGB Image, ECCV 2020 (arXiv 2008.03713), as the OakInk-HMR benchmark applies it to hands. PoseNet finds the
joints; Pose2Feat lays Gaussian heat maps at them beside the image's early features; MeshNet finds the vertices.
Parameters have their released names. Deviations:

- Root and depth are the benchmark's: its UVD around joint 0, given, in place of the paper's RootNet and its camera.
- The middle finger's tip is vertex 444 of the mesh, the annotations' own, where the published code has 445 (the left
  hand's); `middle_tip` gives either, and a released file comes with 445.
- The normal and edge losses are over all faces, as the paper has them. The benchmark's code indexes the faces wrongly
  once they are batched, so that three faces' worth of points count.
- Edges shorter than a ten-thousandth of a cell have less of a direction (losses.SHORTEST_EDGE), where a bare
  normalisation's gradient has no bound.
- The heat maps are never built (gaussians.py); what comes out is the same.
- The second backbone has no stem. The published one has, and never uses it.
- Soft-argmax, the Gaussians and the losses are computed in float32 at least.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hmr_core.geometry.camera import to_uvd
from hmr_core.hand.joints import N_FACES, N_JOINTS, N_VERTS, TIP_VERTICES
from hmr_core.hand.model import HandModel
from hmr_core.hand.regressor import joint_regressor_21
from hmr_core.nn.model import Inputs, PoseModel, Prediction, Targets
from hmr_core.plugins.backbones import build_backbone, load_pretrained
from hmr_i2l.config import I2LConfig
from hmr_i2l.gaussians import Pose2Feat
from hmr_i2l.lixel import LixelHead, doublings
from hmr_i2l.losses import edge_loss, normal_loss, point_loss


class I2LMeshNet(PoseModel):
    """Image to UVD joints, of PoseNet, and UVD vertices, of MeshNet."""

    cells: Tensor
    joint_regressor: Tensor
    faces: Tensor

    def __init__(self, config: I2LConfig) -> None:
        super().__init__()
        self.config = config
        std = config.init_std
        self.pose_backbone = build_backbone(config.backbone)
        stem, features = self.pose_backbone.stem_map, self.pose_backbone.maps[-1]
        plane = config.image_size // features.stride * 2 ** doublings(features)
        self.pose_net = LixelHead(features, N_JOINTS, config.head, init_std=std)
        shrink = plane * stem.stride / config.image_size
        self.pose2feat = Pose2Feat(stem.channels, config.head.depth, config.sigma, init_std=std, shrink=shrink)
        self.mesh_backbone = build_backbone(config.backbone, has_stem=False)
        self.mesh_net = LixelHead(features, N_VERTS, config.head, init_std=std)
        # The heat map's size along x, y and z: what UVD are multiplied by.
        self.register_buffer("cells", torch.tensor([float(plane)] * 2 + [config.head.depth]), persistent=False)
        # The hand model's, from use_hand; a checkpoint must not hold them.
        self.register_buffer("joint_regressor", torch.zeros(N_JOINTS, N_VERTS), persistent=False)
        self.register_buffer("faces", torch.zeros(N_FACES, 3, dtype=torch.int64), persistent=False)
        self.has_hand = False

    def use_hand(self, hand: HandModel) -> None:
        """Take the hand's faces, and its joints' regressor with a row for each finger's tip."""
        self.faces.copy_(hand.faces)
        tips = (*TIP_VERTICES[:2], self.config.middle_tip, *TIP_VERTICES[3:])
        self.joint_regressor.copy_(joint_regressor_21(hand, tips))
        self.has_hand = True

    def forward(self, inputs: Inputs) -> Prediction:
        """Predict joints and vertices in UVD from inputs.image."""
        if inputs.image is None:
            raise ValueError("I2L-MeshNet consumes images; inputs.image is None")
        if not self.has_hand:
            raise ValueError("I2L-MeshNet needs the hand model: call use_hand before it predicts")
        early = self.pose_backbone.stem_features(inputs.image)
        joints = self.pose_net(self.pose_backbone.stage_features(early)[-1])
        verts = self.mesh_net(self.mesh_backbone.stage_features(self.pose2feat(early, joints.detach()))[-1])
        return Prediction(
            joints_uvd=joints / self.cells, verts_uvd=verts / self.cells, joint_regressor=self.joint_regressor
        )

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        """Of what is visible, in heat-map cells: `joint`, `mesh`, `mesh_joint` (the mesh's), `normal`, `edge`."""
        assert prediction.joints_uvd is not None
        assert prediction.verts_uvd is not None
        weights, cells = self.config.loss, self.cells
        true_joints, true_verts = (
            cells * to_uvd(points, targets.root, targets.intrinsics, self.config.image_size)
            for points in (targets.joints, targets.verts)
        )
        joints, verts = cells * prediction.joints_uvd, cells * prediction.verts_uvd
        seen, seen_verts = targets.joints_vis, targets.verts_vis
        return {
            "joint": weights.joint * point_loss(joints, true_joints, seen),
            "mesh": weights.mesh * point_loss(verts, true_verts, seen_verts),
            "mesh_joint": weights.mesh_joint * point_loss(self.joint_regressor @ verts, true_joints, seen),
            "normal": weights.normal * normal_loss(verts, true_verts, seen_verts, self.faces),
            "edge": weights.edge * edge_loss(verts, true_verts, seen_verts, self.faces),
        }

    def pretrain(self) -> None:
        """Load both backbones' weights (`backbone.weights`)."""
        load_pretrained(self.pose_backbone)
        load_pretrained(self.mesh_backbone)
