"""The backbone's configuration. It has a file of its own, so that plugins describe themselves without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hmr_core.config import Section


class ResNetConfig(Section):
    """The backbone's shape and where its first weights come from."""

    depth: Literal[18, 34, 50, 101, 152] = Field(50, description="number of layers")
    width: int = Field(64, gt=0, multiple_of=8, description="channels of the stem; 64 is the ResNet of the paper")
    freeze_batch_norm: Literal["none", "first", "all"] = Field(
        "none", description="first: the stem's and each stage's first block's, as published for Integral-Pose and RLE"
    )
    weights: str = Field("random", description='"random", "imagenet" (fetched), or a torchvision weights FILE')
