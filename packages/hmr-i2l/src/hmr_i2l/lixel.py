"""Lixel heat maps: three one-dimensional heat maps for each point, one along each axis, and their expectations."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmr_core.nn.backbones.backbone import FeatureMap, scaled
from hmr_i2l.config import HeadConfig


def doublings(features: FeatureMap) -> int:
    """How often the heat map's plane is twice as high and wide as the last stage's map."""
    return scaled(features, 4)


class LixelHead(nn.Module):
    """The last stage's feature map to the coordinates of points, in heat-map cells (x, y, z).

    features: that map; a ResNet's is 1/8 as high and wide as the heat map, which takes three transposed convolutions.
    init_std: of their initial weights; the 1D convolutions keep torch's own initialisation, as the published ones do.
    """

    def __init__(self, features: FeatureMap, points: int, config: HeadConfig, *, init_std: float) -> None:
        super().__init__()
        self.depth = config.depth
        width = config.channels
        layers: list[nn.Module] = []
        inputs = features.channels
        for _ in range(doublings(features)):
            layers += [
                nn.ConvTranspose2d(inputs, width, 4, 2, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            inputs = width
        self.deconv = nn.Sequential(*layers)
        self.conv_x = nn.Sequential(nn.Conv1d(inputs, points, 1))
        self.conv_y = nn.Sequential(nn.Conv1d(inputs, points, 1))
        self.conv_z_1 = nn.Sequential(
            nn.Conv1d(features.channels, width * config.depth, 1),
            nn.BatchNorm1d(width * config.depth),
            nn.ReLU(inplace=True),
        )
        self.conv_z_2 = nn.Sequential(nn.Conv1d(width, points, 1))
        for module in self.deconv:
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=init_std)

    def forward(self, features: Float[Tensor, "batch inputs h w"]) -> Float[Tensor, "batch points 3"]:
        """Heat-map cells, float32 at least; 0 is the middle of the first cell."""
        plane = self.deconv(features)
        along_z = self.conv_z_1(features.mean((2, 3))[..., None]).unflatten(1, (-1, self.depth))[..., 0]
        logits = (self.conv_x(plane.mean(2)), self.conv_y(plane.mean(3)), self.conv_z_2(along_z))
        return torch.stack([soft_argmax(line) for line in logits], dim=-1)


def soft_argmax(logits: Float[Tensor, "batch points cells"]) -> Float[Tensor, "batch points"]:
    """The expectation of the cell's index under the soft-max of the logits, computed in float32 at least.

    Source: Moon and Lee, ECCV 2020, section 4.
    """
    heat = torch.softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    return (heat * torch.arange(logits.shape[-1], dtype=heat.dtype, device=heat.device)).sum(-1)
