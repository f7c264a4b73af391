"""What hmr finds through this package's entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmr_core.plugins import ModelSpec, hookimpl

if TYPE_CHECKING:
    from hmr_i2l.config import I2LConfig
    from hmr_i2l.model import I2LMeshNet


def build(config: I2LConfig) -> I2LMeshNet:
    """The network of the config's stage, randomly initialised."""
    from hmr_i2l.param import build

    return build(config)


@hookimpl
def hmr_models() -> list[ModelSpec]:
    """I2L-MeshNet."""
    from hmr_i2l.spec import i2l_spec

    return [i2l_spec(build)]
