"""Pyramid's configuration."""

from __future__ import annotations

from pydantic import Field

from hmr_core.config import ModelConfig, Section
from hmr_core.nn.backbones.config import BackboneConfig


class PoseConfig(Section):
    """What makes rotations and a shape of the joints."""

    widths: tuple[int, ...] = Field((256, 256), description="of the hidden layers")
    noise: float = Field(0, ge=0, description="deviation of what is added to the joints in training, in mean bones")


class LossConfig(Section):
    """The weights of the losses."""

    uvd: float = Field(1, ge=0, description="on the joints' UVD")
    spread: float = Field(0.1, ge=0, description="on the heat maps' deviation, to be as large as the error")
    rotation: float = Field(1, ge=0, description="on the entries of the rotation matrices")
    shape: float = Field(0.1, ge=0, description="on the betas")
    joint: float = Field(1, ge=0, description="on the posed joints around the root joint, in true bones 0-9")
    vertex: float = Field(1, ge=0, description="on the posed vertices around the root joint, in true bones 0-9")


class PyramidConfig(ModelConfig):
    """Pyramid: a backbone, a feature pyramid, heat and depth maps of joints, rotations and shape of these joints."""

    backbone: BackboneConfig = BackboneConfig(name="trunk")
    channels: int = Field(128, gt=0, description="of the feature pyramid")
    refine: int = Field(0, ge=0, description="rounds of refinement: features of all maps where the joints are")
    tokens: int = Field(0, ge=0, description="layers of the decoder in which joints' tokens look at the map")
    loss_beta: float = Field(0.02, gt=0, description="error in UVD below which smooth L1 is quadratic")
    pose: PoseConfig = PoseConfig()
    loss: LossConfig = LossConfig()
