"""The ResNet: torchvision's names, sizes and strides, and batch norm that can be frozen."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hmr_core.nn.backbones.config import BackboneConfig
from hmr_core.nn.backbones.resnet import FrozenBatchNorm2d, ResNet


@pytest.mark.parametrize(
    ("name", "parameters"),
    # torchvision's own counts, less the classifier (512 or 2048 times 1000, and 1000).
    [("resnet18", 11_689_512 - 513_000), ("resnet34", 21_797_672 - 513_000), ("resnet50", 25_557_032 - 2_049_000),
     ("resnet101", 44_549_160 - 2_049_000), ("resnet152", 60_192_808 - 2_049_000)],
)  # fmt: skip
def test_backbones_have_torchvision_s_size_and_stride(name: str, parameters: int) -> None:
    with torch.device("meta"):
        backbone = ResNet(BackboneConfig(name=name))
        features = backbone(torch.empty(1, 3, 64, 96))
    assert sum(p.numel() for p in backbone.parameters()) == parameters
    assert features[-1].shape == (1, backbone.maps[-1].channels, 2, 3)


def test_convolutions_begin_with_the_spread_of_he_fan_out() -> None:
    backbone = ResNet(BackboneConfig(name="resnet18"))
    for convolution in (backbone.conv1, backbone.layer1[0].conv1, backbone.layer2[0].downsample[0]):
        outputs, _, height, width = convolution.weight.shape
        assert float(convolution.weight.detach().std()) == pytest.approx(
            (2 / (outputs * height * width)) ** 0.5, rel=0.05
        )


def test_batch_norm_freezes_as_asked() -> None:
    def frozen(mode: Any) -> list[str]:
        with torch.device("meta"):
            backbone = ResNet(BackboneConfig(name="resnet50", freeze_batch_norm=mode))
        return [name for name, module in backbone.named_modules() if isinstance(module, FrozenBatchNorm2d)]

    first = ["bn1"] + [
        f"layer{stage}.0.{name}" for stage in (1, 2, 3, 4) for name in ("bn1", "bn2", "bn3", "downsample.1")
    ]
    assert frozen("none") == []
    assert sorted(frozen("first")) == sorted(first)
    assert len(frozen("all")) == 53


def test_a_frozen_batch_norm_never_changes() -> None:
    norm = FrozenBatchNorm2d(4)
    norm.running_mean += 0.5
    norm.weight *= 2
    norm.train()
    image = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(norm(image), (image - 0.5) / (1 + 1e-5) ** 0.5 * 2)
    assert list(norm.parameters()) == []
    assert torch.equal(norm.running_mean, torch.full((4,), 0.5))
