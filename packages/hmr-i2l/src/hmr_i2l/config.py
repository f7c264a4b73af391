"""I2L-MeshNet's configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from hmr_core.config import ModelConfig, OnlyWith, Section
from hmr_core.hand.joints import N_VERTS, TIP_VERTICES
from hmr_core.nn.backbones.config import BackboneConfig


class HeadConfig(Section):
    """The lixel heads; their map is about image_size / 4 high and wide, so 64 for 256."""

    channels: int = Field(256, gt=0, description="channels of the transposed convolutions")
    depth: int = Field(64, gt=1, description="cells of the lixel heat maps along the depth")


class LossConfig(Section):
    """The weights of the losses of stage lixel, which are in heat-map cells."""

    joint: float = Field(1, ge=0, description="on PoseNet's joints")
    mesh: float = Field(1, ge=0, description="on the vertices")
    mesh_joint: float = Field(1, ge=0, description="on the joints that the regressor makes of the vertices")
    normal: float = Field(0.1, ge=0, description="on edges along the true normals of their faces")
    edge: float = Field(1, ge=0, description="on the lengths of the faces' edges")


class ParamLossConfig(Section):
    """The weights of the losses of stage param."""

    rotation: float = Field(1, ge=0, description="on the entries of the rotation matrices")
    shape: float = Field(0.1, ge=0, description="on the betas")
    joint: float = Field(1, ge=0, description="on the joints around the root joint, in units of the true bone 0-9")
    vertex: float = Field(1, ge=0, description="on the vertices around the root joint, in the same units")


class I2LConfig(ModelConfig):
    """I2L-MeshNet: two backbones, lixel heat maps of joints and vertices; or, behind them, MANO's parameters."""

    # What stage param takes from its lixel stage is loaded and frozen.
    only_with = (
        OnlyWith("loss", "stage", ("lixel",)),
        OnlyWith("init_std", "stage", ("lixel",)),
        OnlyWith("backbone.weights", "stage", ("lixel",)),
        OnlyWith("lixel_weights", "stage", ("param",)),
        OnlyWith("param_loss", "stage", ("param",)),
    )

    backbone: BackboneConfig = BackboneConfig()
    head: HeadConfig = HeadConfig()
    sigma: float = Field(2.5, gt=0, description="of the Gaussians at the joints, in heat-map cells")
    init_std: float = Field(
        0.001,
        gt=0,
        description="of the initial weights of 2D convolutions outside the backbones; larger from scratch",
    )
    middle_tip: int = Field(
        TIP_VERTICES[2], ge=0, lt=N_VERTS, description="the middle finger's tip in the mesh; 445 in released files"
    )
    stage: Literal["lixel", "param"] = Field(
        "lixel", description="lixel: joints and mesh; param: MANO's parameters from the frozen lixel stage's joints"
    )
    lixel_weights: str | None = Field(
        None, description="a run, checkpoint or released file of stage lixel, which stage param starts from"
    )
    loss: LossConfig = LossConfig()
    param_loss: ParamLossConfig = ParamLossConfig()

    @model_validator(mode="after")
    def _consistent(self) -> I2LConfig:
        if self.stage == "param" and self.lixel_weights is None:
            raise ValueError(
                "stage=param needs the stage lixel that it builds on: set lixel_weights=FILE, a run, a checkpoint or "
                "a released file"
            )
        return self
