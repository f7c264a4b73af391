"""IKNet's configuration."""

from __future__ import annotations

from pydantic import Field

from hmr_core.config import Section


class IKNetConfig(Section):
    """IKNet: fully connected layers from joints to quaternions."""

    widths: tuple[int, ...] = Field(
        (256, 512, 1024, 1024, 512, 256), min_length=1, description="outputs of the hidden layers, in order"
    )
