"""What hmr finds through this package's entry point."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hmr_core.plugins import ModelSpec, hookimpl

if TYPE_CHECKING:
    from hmr_iknet.config import IKNetConfig
    from hmr_iknet.model import IKNet


def build(config: IKNetConfig) -> IKNet:
    """The network, randomly initialised."""
    from hmr_iknet.model import IKNet

    return IKNet(config)


@hookimpl
def hmr_models() -> list[ModelSpec]:
    """IKNet."""
    from hmr_iknet.config import IKNetConfig

    recipes = Path(__file__).parent / "recipes"
    return [
        ModelSpec(
            name="iknet",
            summary="IKNet: inverse kinematics by fully connected layers (joints -> rotations)",
            config=IKNetConfig,
            recipes={"published": recipes / "published.toml", "tiny": recipes / "tiny.toml"},
            root_joint=9,
            build=build,
            consumes="joints",
            paper="Zhou et al., Monocular Real-time Hand Shape and Motion Capture, CVPR 2020, arXiv 2003.09572",
        )
    ]
