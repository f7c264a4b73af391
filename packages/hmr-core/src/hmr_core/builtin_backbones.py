"""Core's own backbones as specs, and where their weights are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmr_core.nn.backbones.config import WeightsSource
from hmr_core.plugins.specs import BackboneSpec

if TYPE_CHECKING:
    from hmr_core.nn.backbones.backbone import Backbone
    from hmr_core.nn.backbones.config import BackboneConfig

_TORCHVISION = "https://download.pytorch.org/models/"
_DEIT = "https://dl.fbaipublicfiles.com/deit/"

_RESNETS = {
    "resnet18": "resnet18-5c106cde.pth",
    "resnet34": "resnet34-333f7ec4.pth",
    "resnet50": "resnet50-19c8e357.pth",
    "resnet101": "resnet101-5d3b4d8f.pth",
    "resnet152": "resnet152-b121ed2d.pth",
}
"""The files of ImageNet that the published benchmark's torchvision had (version 1 of its weights)."""

_CONVNEXTS = {"convnext_nano": "", "convnext_tiny": "convnext_tiny-983f1562.pth"}
_VITS = {
    "vit_small": "deit_small_patch16_224-cd65a155.pth",
    "vit_base": "deit_base_patch16_224-b5f2ef4d.pth",
    "vit_small_14": "",
    "vit_base_14": "",
}


def core_backbones() -> list[BackboneSpec]:
    """ResNets, ConvNeXts and vision transformers."""
    resnets = [
        BackboneSpec(
            name=name,
            summary=f"ResNet of {name.removeprefix('resnet')} layers: maps at 1/4 to 1/32",
            build=_build_resnet,
            stride=32,
            options=("width", "freeze_batch_norm", "image_norm"),
            weights=_imagenet(_TORCHVISION, file, "BSD-3-Clause"),
            paper="He et al., Deep Residual Learning for Image Recognition, CVPR 2016, arXiv 1512.03385",
        )
        for name, file in _RESNETS.items()
    ]
    convnexts = [
        BackboneSpec(
            name=name,
            summary=f"ConvNeXt, {name.removeprefix('convnext_')}: maps at 1/4 to 1/32",
            build=_build_convnext,
            stride=32,
            options=("width", "drop_path"),
            weights=_imagenet(_TORCHVISION, file, "BSD-3-Clause"),
            paper="Liu et al., A ConvNet for the 2020s, CVPR 2022, arXiv 2201.03545",
        )
        for name, file in _CONVNEXTS.items()
    ]
    vits = [
        BackboneSpec(
            name=name,
            summary=f"vision transformer, {name.split('_')[1]}: one map at 1/{_patch(name)}",
            build=_build_vit,
            stride=_patch(name),
            options=("width", "drop_path", "class_token"),
            weights=_imagenet(_DEIT, file, "Apache-2.0"),
            paper="Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, arXiv 2010.11929",
        )
        for name, file in _VITS.items()
    ]
    return [*resnets, *convnexts, *vits]


def _imagenet(folder: str, file: str, licence: str) -> dict[str, WeightsSource]:
    return {"imagenet": WeightsSource(url=f"{folder}{file}", licence=licence)} if file else {}


def _patch(name: str) -> int:
    return 14 if name.endswith("_14") else 16


def _build_resnet(config: BackboneConfig, has_stem: bool) -> Backbone:
    from hmr_core.nn.backbones.resnet import ResNet

    return ResNet(config, has_stem=has_stem)


def _build_convnext(config: BackboneConfig, has_stem: bool) -> Backbone:
    from hmr_core.nn.backbones.convnext import ConvNeXt

    return ConvNeXt(config, has_stem=has_stem)


def _build_vit(config: BackboneConfig, has_stem: bool) -> Backbone:
    from hmr_core.nn.backbones.vit import ViT

    return ViT(config, has_stem=has_stem)
