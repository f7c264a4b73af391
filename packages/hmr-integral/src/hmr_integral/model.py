"""Integral-Pose: the joints of a hand by soft-argmax over 3D heat maps.

Sun et al., Integral Human Pose Regression, ECCV 2018 (arXiv 1711.08229), as the OakInk-HMR benchmark applies it to
hands. Deviations from the paper, all of them the benchmark's: two transposed convolutions rather than three (a 28 x 28
map for 224 pixels); heat maps normalised by a sigmoid divided by its sum rather than by a soft-max (`head.norm` gives
either); smooth L1 on UVD, times 100, rather than L1 (with beta 1 it is a squared error in practice, UVD being within
0..1; a small `loss_beta` makes it L1). Our own: nothing after the last convolution is computed in less than float32.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hmr_core.nn.backbones.backbone import FeatureMap, scaled
from hmr_core.nn.model import Inputs, PoseModel, Prediction, Targets
from hmr_core.nn.soft_argmax import normalise_volume, soft_argmax_3d
from hmr_core.plugins.backbones import build_backbone, load_pretrained
from hmr_integral.config import HeadConfig, IntegralConfig

JOINTS = 21


class HeatMapHead(nn.Module):
    """Features to heat-map logits at about 1/8 of the resolution, `head.depth` channels for each joint.

    A ResNet's features are at 1/32, which takes two transposed convolutions.
    """

    def __init__(self, features: FeatureMap, config: HeadConfig) -> None:
        super().__init__()
        self.depth = config.depth
        width = config.channels
        layers: list[nn.Module] = []
        inputs = features.channels
        for _ in range(scaled(features, 8)):
            layers += [
                nn.ConvTranspose2d(inputs, width, 4, 2, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            inputs = width
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(inputs, JOINTS * config.depth, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Float[Tensor, "batch inputs h w"]) -> Float[Tensor, "batch 21 depth h2 w2"]:
        """The logits; channel = joint * depth + cell along the depth."""
        logits: Tensor = self.final_layer(self.deconv_layers(features))
        batch, _, height, width = logits.shape
        return logits.view(batch, JOINTS, self.depth, height, width)


class IntegralPose(PoseModel):
    """Image to UVD joints and a confidence, the heat map's peak, for each."""

    def __init__(self, config: IntegralConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        self.pose_head = HeatMapHead(self.backbone.maps[-1], config.head)

    def forward(self, inputs: Inputs) -> Prediction:
        """Predict UVD from inputs.image."""
        if inputs.image is None:
            raise ValueError("Integral-Pose consumes images; inputs.image is None")
        heat, confidence = normalise_volume(self.pose_head(self.backbone(inputs.image)[-1]), self.config.head.norm)
        return Prediction(joints_uvd=soft_argmax_3d(heat), confidence=confidence)

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        """`uvd`: smooth L1 of the visible joints' UVD, averaged over all values, times `loss_weight`."""
        assert prediction.joints_uvd is not None
        visible = targets.joints_vis[..., None]
        predicted, truth = prediction.joints_uvd * visible, targets.joints_uvd * visible
        error = F.smooth_l1_loss(predicted, truth, beta=self.config.loss_beta)
        return {"uvd": self.config.loss_weight * error}

    def pretrain(self) -> None:
        """Load the backbone's weights (`backbone.weights`)."""
        load_pretrained(self.backbone)
