"""IKNet's configuration."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from hmr_core.config import Section


class LossConfig(Section):
    """The weights of IKNet's losses."""

    rotation: float = Field(1, ge=0, description="on the entries of the rotation matrices")
    joint: float = Field(1, ge=0, description="on the joints, in units of bone 0-9")
    vertex: float = Field(1, ge=0, description="on the vertices, in units of bone 0-9")


class IKNetConfig(Section):
    """IKNet: fully connected layers from joints to quaternions."""

    widths: tuple[PositiveInt, ...] = Field(
        (256, 512, 1024, 1024, 512, 256), min_length=1, description="outputs of the hidden layers, in order"
    )
    loss: LossConfig = LossConfig()
