"""The feature pyramid: maps of a backbone to one map, fine and deep at once.

Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017: a 1x1 convolution brings each map to the same
channels, coarse ones are enlarged and added to finer ones, and a 3x3 convolution smooths the sum. Deviation: the finest
map alone comes out.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hmr_core.nn.backbones.backbone import FeatureMap

GOAL = 8
"""The stride that is aimed at: pixels of the image for one cell of what comes out."""


class Neck(nn.Module):
    """Maps of a backbone to one with `channels` channels, at 1/8 of the resolution or a little off.

    Of a backbone's maps those at 1/8 and coarser are used; where the finest is coarser than that, the sum is enlarged.
    out: the map that comes out.
    """

    def __init__(self, maps: Sequence[FeatureMap], channels: int) -> None:
        super().__init__()
        finest = max((m.stride for m in maps if m.stride <= GOAL * 2**0.5), default=min(m.stride for m in maps))
        self.used = [index for index, m in enumerate(maps) if m.stride >= finest]
        self.laterals = nn.ModuleList(nn.Conv2d(maps[index].channels, channels, 1) for index in self.used)
        self.scale = max(round(finest / GOAL), 1)
        self.smooth = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        self.out = FeatureMap(channels, finest // self.scale)

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "batch channels h w"]:
        """Compute the map; maps: all of the backbone's, from fine to coarse."""
        sides = [lateral(maps[index]) for index, lateral in zip(self.used, self.laterals, strict=True)]
        total = sides[-1]
        for side in reversed(sides[:-1]):
            total = side + F.interpolate(total, size=side.shape[2:], mode="nearest")
        if self.scale > 1:
            total = F.interpolate(total, scale_factor=self.scale, mode="bilinear", align_corners=False)
        out: Tensor = self.smooth(total)
        return out
