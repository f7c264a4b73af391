"""RLE: the joints of a hand by regression, with a flow that learns how the errors are distributed.

Li et al., Human Pose Regression with Residual Log-likelihood Estimation, ICCV 2021 (arXiv 2107.11291), as the
OakInk-HMR benchmark applies it to hands in three dimensions. Deviations from the paper, all of them the benchmark's:

- The coordinates' layer divides by the features' length, so that only their direction counts.
- The residual is (prediction - truth) / sigma; the paper has truth - prediction, its mirror image.
- The likelihood of a joint under the flow, one number, is counted for each of its three coordinates, and log sigma
  twice for each: once with the flow, once with the Laplace term. A flow that fits the residuals well then earns 3 log
  sigma a coordinate by a wider sigma, which costs 2: sigma drifts towards 1, its largest value, and the flow alone
  holds the errors' scale. The Laplace term's constant is a normal distribution's, 1 / sqrt(2 pi), and does not change
  what is learnt; nothing normalises the product of the two densities.
- Joints that cannot be seen count as the others do (`skip_invisible` leaves them out).
- In eval mode the depth of the root, joint 0, is subtracted from all joints, whose depth is then exactly relative to
  it; in training it is learnt like any other coordinate.
- In the flow, shift and log-scale have each other's activation (flow.py).

Our own: heads, flow and loss are never computed in less than float32; confidence is kept within 0..1, which sigma's
floor would exceed by 1e-7.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmr_core.nn.model import Inputs, PoseModel, Prediction, Targets
from hmr_core.plugins.backbones import build_backbone, load_pretrained
from hmr_rle.config import RLEConfig
from hmr_rle.flow import RealNVP

JOINTS = 21
ROOT = 0


class DirectionLinear(nn.Module):
    """A linear layer that sees only the direction of its input: W x / (|x| + 1e-7) + b."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = _small_linear(inputs, outputs)

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch outputs"]:
        """The layer's output."""
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        outputs: Tensor = (x @ self.linear.weight.T) / (length + 1e-7) + self.linear.bias
        return outputs


def _small_linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight, gain=0.01)
    return layer


class RLE(PoseModel):
    """Image to UVD joints and the spread (sigma) of each coordinate; `extras["sigma"]` is in UVD, 0..1."""

    def __init__(self, config: RLEConfig) -> None:
        super().__init__()
        self.config = config
        self.preact = build_backbone(config.backbone)
        channels = self.preact.maps[-1].channels
        self.fc_coord = DirectionLinear(channels, JOINTS * 3)
        self.fc_sigma = _small_linear(channels, JOINTS * 3)
        self.flow3d = RealNVP()

    def forward(self, inputs: Inputs) -> Prediction:
        """Predict UVD from inputs.image; the confidence of a joint is the mean of 1 - sigma over its coordinates."""
        if inputs.image is None:
            raise ValueError("RLE consumes images; inputs.image is None")
        features = self.preact(inputs.image)[-1]
        with torch.autocast(features.device.type, enabled=False):
            pooled = (features if features.dtype == torch.float64 else features.float()).mean((2, 3))
            uvd = self.fc_coord(pooled).view(-1, JOINTS, 3)
            sigma = torch.sigmoid(self.fc_sigma(pooled)).view(-1, JOINTS, 3) + self.config.sigma_floor
        if not self.training:
            depth = uvd[..., 2:] - uvd[:, ROOT, None, 2:] + 0.5
            uvd = torch.cat([uvd[..., :2], depth], dim=2)
        confidence = (1 - sigma).mean(2).clamp(0, 1)
        return Prediction(joints_uvd=uvd, confidence=confidence, extras={"sigma": sigma})

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        """Minus the log-likelihood, summed over joints and coordinates and averaged over the batch.

        `flow` is what the flow contributes and `laplace` the Laplace distribution that the flow refines; both are
        logarithms of densities, and so negative once the spread is small.
        """
        assert prediction.joints_uvd is not None
        sigma = prediction.extras["sigma"]
        error = prediction.joints_uvd - targets.joints_uvd
        if self.config.skip_invisible:
            weight = targets.joints_vis[..., None]
            error = torch.where(weight > 0, error, 0)  # so that the flow sees nothing of it
        else:
            weight = torch.ones_like(targets.joints_vis)[..., None]
        log_phi = self.flow3d.log_prob((error / sigma).view(-1, 3)).view(-1, JOINTS, 1)
        flow = torch.log(sigma) - log_phi
        amplitude = 1 / math.sqrt(2 * math.pi)
        laplace = torch.log(sigma / amplitude) + error.abs() / (math.sqrt(2) * sigma + 1e-7)
        weight = weight / len(error)
        return {"flow": (flow * weight).sum(), "laplace": (laplace * weight).sum()}

    def pretrain(self) -> None:
        """Load the backbone's weights (`backbone.weights`)."""
        load_pretrained(self.preact)
