"""Heat and depth maps: a feature map to joints in UVD, each with a confidence."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmr_core.hand.joints import N_JOINTS


class JointHead(nn.Module):
    """One 1x1 convolution to 42 maps: for each joint a heat map and a depth map.

    The heat map's soft-max says where the joint is, by its expectation (Sun et al., Integral Human Pose Regression,
    ECCV 2018), and where the depth map is read.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.maps = nn.Conv2d(channels, 2 * N_JOINTS, 1)

    def forward(
        self, features: Float[Tensor, "batch channels h w"]
    ) -> tuple[Float[Tensor, "batch 21 3"], Float[Tensor, "batch 21"]]:
        """UVD, and the heat maps' standard deviations in crops, in float32 at least."""
        maps: Tensor = self.maps(features)
        with torch.autocast(maps.device.type, enabled=False):
            return read_maps(maps if maps.dtype == torch.float64 else maps.float())


def read_maps(maps: Float[Tensor, "batch 42 h w"]) -> tuple[Float[Tensor, "batch 21 3"], Float[Tensor, "batch 21"]]:
    """UVD of heat maps and the depth maps behind them, and the heat maps' standard deviations in crops."""
    height, width = maps.shape[2:]
    flat = maps.flatten(2)
    heat = torch.softmax(flat[:, :N_JOINTS], dim=2)
    depth = (heat * flat[:, N_JOINTS:]).sum(2) + 0.5
    u, v = (torch.arange(n, dtype=heat.dtype, device=heat.device).add(0.5) / n for n in (width, height))
    grid = torch.stack([u.repeat(height), v.repeat_interleave(width)], dim=1)
    mean = heat @ grid
    variance = (heat @ grid.square() - mean.square()).sum(2).clamp(min=0)
    # Its root has no gradient at 0.
    return torch.cat([mean, depth[..., None]], dim=2), (variance + 1e-10).sqrt()
