"""The ConvNeXt backbone.

Liu et al., A ConvNet for the 2020s, CVPR 2022 (arXiv 2201.03545). Parameter names are timm's; torchvision's files and
the authors' are read, too. Deviations: no classifier and nothing after the last stage; a block is computed with its
channels first throughout, its layer norms over the channels of each place, which gives the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmr_core.nn.backbones.backbone import Backbone, FeatureMap
from hmr_core.nn.backbones.config import BackboneConfig
from hmr_core.nn.backbones.drop_path import DropPath, drop_rates
from hmr_core.nn.backbones.mlp import Mlp

DEPTHS = {"convnext_nano": (2, 2, 8, 2), "convnext_tiny": (3, 3, 9, 3)}
WIDTHS = {"convnext_nano": 80, "convnext_tiny": 96}
"""Blocks of each stage, and channels of the first; each stage has twice as many as the one before."""

_EPS = 1e-6
_SCALE = 1e-6
"""Of a fresh block's branch, as in the paper: a fresh network is near the identity."""


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels at each place of a map."""

    def forward(self, input: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h w"]:
        """The normalised map."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A depthwise 7x7 convolution, a layer norm and an Mlp, scaled by channel, and a shortcut."""

    def __init__(self, channels: int, drop: float) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=_EPS)
        self.mlp = Mlp(channels)
        self.gamma = nn.Parameter(torch.full((channels,), _SCALE))
        self.drop_path = DropPath(drop)

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h w"]:
        """The block's output."""
        y = self.conv_dw(x).permute(0, 2, 3, 1)
        y = (self.gamma * self.mlp(self.norm(y))).permute(0, 3, 1, 2)
        out: Tensor = x + self.drop_path(y)
        return out


class Stage(nn.Module):
    """A downsampling by 2, but for the first stage, and blocks."""

    def __init__(self, inputs: int, channels: int, drops: list[float]) -> None:
        super().__init__()
        self.downsample = (
            nn.Identity()
            if inputs == channels
            else nn.Sequential(ChannelNorm(inputs, eps=_EPS), nn.Conv2d(inputs, channels, 2, 2))
        )
        self.blocks = nn.Sequential(*(Block(channels, drop) for drop in drops))

    def forward(self, x: Float[Tensor, "batch inputs h w"]) -> Float[Tensor, "batch channels h2 w2"]:
        """The stage's map."""
        y: Tensor = self.blocks(self.downsample(x))
        return y


class ConvNeXt(Backbone):
    """The ConvNeXt of `config.name`: the maps of its four stages, at 1/4 to 1/32 of the resolution.

    Initialised as in the paper (normal, deviation 0.02, cut off at two deviations), with the global generator.
    """

    def __init__(self, config: BackboneConfig, *, has_stem: bool = True) -> None:
        super().__init__(config, has_stem=has_stem)
        width = WIDTHS[config.name] if config.width is None else config.width
        depths = DEPTHS[config.name]
        drops = drop_rates(config.drop_path, sum(depths))
        if has_stem:
            self.stem = nn.Sequential(nn.Conv2d(3, width, 4, 4), ChannelNorm(width, eps=_EPS))
        channels = [width * 2**stage for stage in range(len(depths))]
        stages = []
        for stage, count in enumerate(depths):
            done = sum(depths[:stage])
            stages.append(Stage(channels[max(stage - 1, 0)], channels[stage], drops[done : done + count]))
        self.stages = nn.Sequential(*stages)
        self.maps = tuple(FeatureMap(c, 4 * 2**stage) for stage, c in enumerate(channels))
        self.stem_map = FeatureMap(width, 4)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def embed(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch stem h4 w4"]:
        """Compute the map of the patches of 4x4 pixels."""
        x: Tensor = self.stem(image)
        return x

    def stage_features(self, x: Float[Tensor, "batch stem h4 w4"]) -> list[Tensor]:
        """Compute the four stages' maps."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bring timm's, torchvision's and the authors' names to timm's, without norms and classifier behind the stages.

        timm's nano has convolutions of one place for linear layers.
        """
        named = {_timm_name(name): value for name, value in state.items()}
        left_out = ("head.", "norm.", "norm_pre.") if self.has_stem else ("head.", "norm.", "norm_pre.", "stem.")
        kept = {name: value for name, value in named.items() if not name.startswith(left_out)}
        return {name: _of_own_shape(name, value) for name, value in kept.items()}


def _of_own_shape(name: str, value: Tensor) -> Tensor:
    """A tensor without the axes of length 1 that others give linear layers and scales."""
    if ".mlp." in name and value.ndim == 4:
        return value.flatten(1)
    return value.flatten() if name.endswith(".gamma") else value


_TORCHVISION_BLOCK = {"0": "conv_dw", "2": "norm", "3": "mlp.fc1", "5": "mlp.fc2"}
_AUTHORS_BLOCK = {"dwconv": "conv_dw", "norm": "norm", "pwconv1": "mlp.fc1", "pwconv2": "mlp.fc2"}


def _timm_name(name: str) -> str:
    """timm's name of a tensor that torchvision or the authors call `name`; others stay as they are."""
    if match := re.fullmatch(r"features\.(\d+)\.(\d+)\.block\.(\d+)\.(\w+)", name):
        layer = _TORCHVISION_BLOCK.get(match[3], match[3])
        return f"stages.{int(match[1]) // 2}.blocks.{match[2]}.{layer}.{match[4]}"
    if match := re.fullmatch(r"features\.(\d+)\.(\d+)\.layer_scale", name):
        return f"stages.{int(match[1]) // 2}.blocks.{match[2]}.gamma"
    if match := re.fullmatch(r"(?:features|downsample_layers)\.0\.(\d)\.(\w+)", name):
        return f"stem.{match[1]}.{match[2]}"
    if match := re.fullmatch(r"features\.(\d+)\.(\d)\.(\w+)", name):
        return f"stages.{int(match[1]) // 2}.downsample.{match[2]}.{match[3]}"
    if match := re.fullmatch(r"downsample_layers\.(\d)\.(\d)\.(\w+)", name):
        return f"stages.{match[1]}.downsample.{match[2]}.{match[3]}"
    if match := re.fullmatch(r"stages\.(\d)\.(\d+)\.(\w+)(\.\w+)?", name):
        return f"stages.{match[1]}.blocks.{match[2]}.{_AUTHORS_BLOCK.get(match[3], match[3])}{match[4] or ''}"
    return f"head.{name}" if name.startswith("classifier.") else name
