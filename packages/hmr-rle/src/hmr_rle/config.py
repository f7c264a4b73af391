"""RLE's configuration."""

from __future__ import annotations

from pydantic import Field, model_validator

from hmr_core.config import ModelConfig
from hmr_core.nn.resnet_config import ResNetConfig


class RLEConfig(ModelConfig):
    """RLE: a ResNet backbone, coordinates and their spread by one linear layer each, a flow in the loss."""

    backbone: ResNetConfig = ResNetConfig()
    sigma_floor: float = Field(1e-7, gt=0, lt=1, description="added to every sigma; the likelihood divides by sigma")
    skip_invisible: bool = Field(False, description="keep invisible joints out of flow and loss; published: all count")

    @model_validator(mode="after")
    def _divisible(self) -> RLEConfig:
        if self.image_size % 32:
            raise ValueError(f"image_size must be a multiple of 32 (the backbone's stride), not {self.image_size}")
        return self
