"""What a backbone is told, and where its weights come from. It has a file of its own, so that specs need no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from hmr_core.config import Section

ALWAYS = ("name", "weights")
"""The options that every backbone has; which of the others it has, its spec says."""


class BackboneConfig(Section):
    """Which backbone, and its options. An option that the named backbone does not have is refused."""

    name: str = Field("resnet50", min_length=1, description="`hmr backbones` lists them")
    weights: str = Field("random", description='"random", a name that `hmr backbones NAME` lists (fetched), or a FILE')
    width: int | None = Field(None, gt=0, multiple_of=8, description="channels of the first stage; null is its own")
    freeze_batch_norm: Literal["none", "first", "all"] = Field(
        "none", description="first: the stem's and each stage's first block's, as published for Integral-Pose and RLE"
    )
    image_norm: Literal["own", "half"] = Field(
        "own", description="half: the image minus 0.5, as published; own: by the backbone's mean and deviation"
    )
    drop_path: float = Field(0, ge=0, lt=1, description="how often the last block is left out in training")
    class_token: bool = Field(True, description="whether a class token goes with the patches; ViTPose has none")


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """A file of weights that can be fetched.

    url: its name ends in a hyphen and the first digits of its SHA-256, as in `resnet50-19c8e357.pth`.
    """

    url: str
    licence: str

    @property
    def digits(self) -> str:
        """The first digits of the file's SHA-256."""
        return self.url.rpartition("-")[2].partition(".")[0]

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of RGB in 0..1 over ImageNet, as torchvision's and most of timm's weights were trained with."""
