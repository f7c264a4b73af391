"""The ResNet backbone.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016. Parameter names are torchvision's, so that ImageNet
files load; like torchvision's, a bottleneck has its stride on the 3x3 convolution. Deviations: no classifier, and batch
norm can be frozen in part, as the published benchmark does.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hmr_core.nn.backbones.backbone import Backbone, FeatureMap
from hmr_core.nn.backbones.config import BackboneConfig

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks of each stage, by the number of layers."""

WIDTH = 64
"""Channels of the stem in the paper."""


class FrozenBatchNorm2d(nn.Module):
    """Batch norm with fixed statistics and fixed affine terms, all of them buffers."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """x times weight / sqrt(var + eps), shifted."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def _norm(channels: int, frozen: bool) -> nn.Module:
    return FrozenBatchNorm2d(channels) if frozen else nn.BatchNorm2d(channels)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, frozen: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = _norm(planes, frozen)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = _norm(planes, frozen)
        self.downsample = _shortcut(inputs, planes * self.expansion, stride, frozen)

    def forward(self, x: Float[Tensor, "batch inputs h w"]) -> Float[Tensor, "batch outputs h2 w2"]:
        """The block's output."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions, and a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, frozen: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = _norm(planes, frozen)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = _norm(planes, frozen)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = _norm(planes * self.expansion, frozen)
        self.downsample = _shortcut(inputs, planes * self.expansion, stride, frozen)

    def forward(self, x: Float[Tensor, "batch inputs h w"]) -> Float[Tensor, "batch outputs h2 w2"]:
        """The block's output."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


def _shortcut(inputs: int, outputs: int, stride: int, frozen: bool) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), _norm(outputs, frozen))


class ResNet(Backbone):
    """The ResNet of `config.name` (resnet18 to resnet152): the maps of its four stages, at 1/4 to 1/32 of the size.

    Initialised as in the paper (He normal, fan-out), with the global generator.
    """

    conv1: nn.Conv2d
    bn1: nn.Module
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, config: BackboneConfig, *, has_stem: bool = True) -> None:
        super().__init__(config, has_stem=has_stem)
        depth = int(config.name.removeprefix("resnet"))
        first = config.freeze_batch_norm in ("first", "all")
        rest = config.freeze_batch_norm == "all"
        block = BasicBlock if depth < 50 else Bottleneck
        width = WIDTH if config.width is None else config.width
        if has_stem:
            self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
            self.bn1 = _norm(width, first)
        inputs = width
        maps = []
        for stage, count in enumerate(BLOCKS[depth]):
            planes = width * 2**stage
            blocks: list[nn.Module] = []
            for i in range(count):
                stride = 2 if i == 0 and stage > 0 else 1
                blocks.append(block(inputs, planes, stride, first if i == 0 else rest))
                inputs = planes * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            maps.append(FeatureMap(inputs, 4 * 2**stage))
        self.maps = tuple(maps)
        self.stem_map = FeatureMap(width, 4)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def embed(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch stem h4 w4"]:
        """Compute the map after the max-pool."""
        x = F.relu(self.bn1(self.conv1(image)), inplace=True)
        return F.max_pool2d(x, 3, 2, 1)

    def stage_features(self, x: Float[Tensor, "batch stem h4 w4"]) -> list[Tensor]:
        """Compute the four stages' maps."""
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Leave out the classifier, the stem where there is none, and a frozen batch norm's count of batches."""
        own = self.state_dict()
        left_out = ("fc.",) if self.has_stem else ("fc.", "conv1.", "bn1.")
        return {
            name: value
            for name, value in state.items()
            if not name.startswith(left_out) and (name in own or "num_batches" not in name)
        }
