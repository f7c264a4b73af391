"""RLE's configuration."""

from __future__ import annotations

from pydantic import Field

from hmr_core.config import ModelConfig
from hmr_core.nn.backbones.config import BackboneConfig


class RLEConfig(ModelConfig):
    """RLE: a backbone, coordinates and their spread by one linear layer each, a flow in the loss."""

    backbone: BackboneConfig = BackboneConfig()
    sigma_floor: float = Field(1e-7, gt=0, lt=1, description="added to every sigma; the likelihood divides by sigma")
    skip_invisible: bool = Field(False, description="keep invisible joints out of flow and loss; published: all count")
