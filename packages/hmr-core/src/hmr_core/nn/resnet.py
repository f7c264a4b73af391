"""The ResNet backbone.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016. Parameter names are torchvision's, so that ImageNet
files load; like torchvision's, a bottleneck has its stride on the 3x3 convolution. Deviations: no classifier, and batch
norm can be frozen in part, as the published benchmark does.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hmr_core.errors import HmrError, Option
from hmr_core.nn.files import file_format, read_safetensors, read_state_dict
from hmr_core.nn.resnet_config import ResNetConfig

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_IMAGENET = {
    18: "resnet18-5c106cde.pth",
    34: "resnet34-333f7ec4.pth",
    50: "resnet50-19c8e357.pth",
    101: "resnet101-5d3b4d8f.pth",
    152: "resnet152-b121ed2d.pth",
}
_IMAGENET_URL = "https://download.pytorch.org/models/"


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


class ResNet(nn.Module):
    """The backbone: image to the feature map of the last stage, at 1/32 of the resolution.

    channels: of that map. Initialised as in the paper (He normal, fan-out), with the global generator; load_pretrained
    replaces that. has_stem: whether it begins at the image; without one it has its four stages alone, for a model that
    goes on from a map of its own.
    """

    conv1: nn.Conv2d
    bn1: nn.Module
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, config: ResNetConfig, *, has_stem: bool = True) -> None:
        super().__init__()
        self.config = config
        self.has_stem = has_stem
        first = config.freeze_batch_norm in ("first", "all")
        rest = config.freeze_batch_norm == "all"
        block = BasicBlock if config.depth < 50 else Bottleneck
        width = config.width
        if has_stem:
            self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
            self.bn1 = _norm(width, first)
        inputs = width
        for stage, count in enumerate(_BLOCKS[config.depth]):
            planes = width * 2**stage
            blocks: list[nn.Module] = []
            for i in range(count):
                stride = 2 if i == 0 and stage > 0 else 1
                blocks.append(block(inputs, planes, stride, first if i == 0 else rest))
                inputs = planes * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.channels = inputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """Compute the last stage's feature map."""
        return self.stages(self.stem(image))

    def stem(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch stem h4 w4"]:
        """Compute the map after the max-pool, at 1/4 of the resolution, with config.width channels."""
        x = F.relu(self.bn1(self.conv1(image)), inplace=True)
        return F.max_pool2d(x, 3, 2, 1)

    def stages(self, x: Float[Tensor, "batch stem h4 w4"]) -> Float[Tensor, "batch channels h w"]:
        """Compute the last stage's feature map from a map such as the stem gives."""
        features: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return features

    def load_pretrained(self) -> None:
        """Load what the config names: nothing for "random", ImageNet weights by torch.hub, or a torchvision file.

        Raises HmrError when the file cannot be had, fails its hash, or does not fit.
        """
        weights = self.config.weights
        if weights == "random":
            return
        state = _fetch_imagenet(self.config) if weights == "imagenet" else _read_weights(Path(weights))
        own = self.state_dict()
        # The classifier is not ours, nor may the stem be, and a frozen batch norm does not count its batches.
        left_out = ("fc.",) if self.has_stem else ("fc.", "conv1.", "bn1.")
        state = {k: v for k, v in state.items() if not k.startswith(left_out) and (k in own or "num_batches" not in k)}
        _check_fit(own, state, weights)
        if bad := next((k for k, v in state.items() if v.is_floating_point() and not bool(v.isfinite().all())), None):
            raise HmrError(
                f"backbone.weights={weights} holds numbers that are not finite, first in {bad}: it is damaged. Get it "
                "again."
            )
        self.load_state_dict({**own, **state})


def _fetch_imagenet(config: ResNetConfig) -> dict[str, Tensor]:
    if config.width != 64:
        raise HmrError(f"there are no ImageNet weights for a backbone of width {config.width}, only for 64.")
    name = _IMAGENET[config.depth]
    try:
        return torch.hub.load_state_dict_from_url(
            _IMAGENET_URL + name, map_location="cpu", check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise HmrError(
            f"the ImageNet backbone {_IMAGENET_URL}{name} could not be fetched: {error}.",
            "Put the file somewhere and pass ",
            Option("set", "backbone.weights=FILE"),
            ", or train from scratch with ",
            Option("set", "backbone.weights=random"),
            ".",
        ) from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    valid = f'Valid for backbone.weights: "random", "imagenet", or a file of torchvision\'s, such as {_IMAGENET[50]}.'
    if not path.is_file():
        raise HmrError(f"backbone.weights={path}: {'not a regular file' if path.exists() else 'no such file'}. {valid}")
    if file_format(path) == "safetensors":
        return read_safetensors(path)
    return read_state_dict(path, (valid,))


def _check_fit(own: dict[str, Tensor], state: dict[str, Tensor], source: str) -> None:
    missing = sorted(k for k in own if k not in state and "num_batches" not in k)
    unknown = sorted(k for k in state if k not in own)
    wrong = sorted(k for k in state if k in own and own[k].shape != state[k].shape)
    for problem, keys in (("lacks", missing), ("has the unknown", unknown), ("has another shape of", wrong)):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise HmrError(
                f"backbone.weights={source} does not fit this backbone: it {problem} {keys[0]}{more}. "
                f"Is backbone.depth the file's?"
            )
    if bad := [k for k, v in state.items() if not bool(v.isfinite().all())]:
        raise HmrError(f"backbone.weights={source} holds numbers that are not finite, first in {bad[0]}. Get it again.")
