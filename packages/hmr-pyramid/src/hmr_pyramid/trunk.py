"""A small trunk of depthwise convolutions, which stops at 1/16 of the resolution: a backbone for small crops.

Blocks as ConvNeXt's (Liu et al., A ConvNet for the 2020s, CVPR 2022), with batch norm for layer norm and 5x5 for 7x7,
so that it learns from scratch in minutes on a CPU. At 1/32 of a crop of 96 pixels a map would have nine cells.
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hmr_core.nn.backbones.backbone import Backbone, FeatureMap
from hmr_core.nn.backbones.config import BackboneConfig
from hmr_core.nn.backbones.drop_path import DropPath, drop_rates

DEPTHS = (1, 2, 4)
WIDTH = 32
"""Channels of the first stage; each stage has twice as many as the one before."""

STRIDE = 16
_EXPANSION = 4


class Block(nn.Module):
    """A depthwise 5x5 convolution, two 1x1 convolutions with a ReLU between, and a shortcut."""

    def __init__(self, channels: int, drop: float) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.fc1 = nn.Conv2d(channels, _EXPANSION * channels, 1)
        self.fc2 = nn.Conv2d(_EXPANSION * channels, channels, 1)
        self.drop_path = DropPath(drop)

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h w"]:
        """The block's output."""
        y = F.relu(self.fc1(self.norm(self.conv_dw(x))), inplace=True)
        out: Tensor = x + self.drop_path(self.fc2(y))
        return out


def _patches(inputs: int, outputs: int, side: int) -> nn.Sequential:
    """Patches of side x side cells to one each."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, side, side, bias=False), nn.BatchNorm2d(outputs))


class Trunk(Backbone):
    """The maps of three stages, at 1/4, 1/8 and 1/16 of the resolution. Initialised as torch does."""

    def __init__(self, config: BackboneConfig, *, has_stem: bool = True) -> None:
        super().__init__(config, has_stem=has_stem)
        width = WIDTH if config.width is None else config.width
        channels = [width * 2**stage for stage in range(len(DEPTHS))]
        drops = iter(drop_rates(config.drop_path, sum(DEPTHS)))
        if has_stem:
            self.stem = _patches(3, width, 4)
        stages = []
        for stage, count in enumerate(DEPTHS):
            before = [] if stage == 0 else [_patches(channels[stage - 1], channels[stage], 2)]
            stages.append(nn.Sequential(*before, *(Block(channels[stage], next(drops)) for _ in range(count))))
        self.stages = nn.Sequential(*stages)
        self.maps = tuple(FeatureMap(c, 4 * 2**stage) for stage, c in enumerate(channels))
        self.stem_map = FeatureMap(width, 4)

    def embed(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch stem h4 w4"]:
        """Compute the map of the patches of 4x4 pixels."""
        x: Tensor = self.stem(image)
        return x

    def stage_features(self, x: Float[Tensor, "batch stem h4 w4"]) -> list[Tensor]:
        """Compute the three stages' maps."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Leave out the stem where there is none."""
        return {name: value for name, value in state.items() if self.has_stem or not name.startswith("stem.")}
