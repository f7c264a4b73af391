"""Integral-Pose's configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hmr_core.config import ModelConfig, Section
from hmr_core.nn.backbones.config import BackboneConfig


class HeadConfig(Section):
    """The deconvolution head; its map is about image_size / 8 high and wide, so 28 for 224."""

    channels: int = Field(256, gt=0, description="channels of the transposed convolutions")
    depth: int = Field(28, gt=0, description="cells of the heat map along the depth")
    norm: Literal["sigmoid", "softmax"] = Field("sigmoid", description="how a heat map becomes a distribution")


class IntegralConfig(ModelConfig):
    """Integral-Pose: a backbone, a deconvolution head, soft-argmax."""

    backbone: BackboneConfig = BackboneConfig()
    head: HeadConfig = HeadConfig()
    loss_weight: float = Field(100, gt=0, description="factor of the smooth-L1 loss on UVD")
    loss_beta: float = Field(1, gt=0, description="error below which smooth L1 is quadratic; small values make it L1")
