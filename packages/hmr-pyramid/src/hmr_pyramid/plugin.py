"""What hmr finds through this package's entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmr_core.plugins import BackboneSpec, ModelSpec, hookimpl, recipe_files

if TYPE_CHECKING:
    from hmr_core.nn.backbones.backbone import Backbone
    from hmr_core.nn.backbones.config import BackboneConfig
    from hmr_pyramid.config import PyramidConfig
    from hmr_pyramid.model import Pyramid


def build(config: PyramidConfig) -> Pyramid:
    """The network, randomly initialised."""
    from hmr_pyramid.model import Pyramid

    return Pyramid(config)


def build_trunk(config: BackboneConfig, has_stem: bool) -> Backbone:
    """The trunk, randomly initialised."""
    from hmr_pyramid.trunk import Trunk

    return Trunk(config, has_stem=has_stem)


@hookimpl
def hmr_models() -> list[ModelSpec]:
    """Pyramid."""
    from hmr_pyramid.config import PyramidConfig

    return [
        ModelSpec(
            name="pyramid",
            summary="Pyramid: heat and depth maps, rotations and shape (image -> joints and mesh)",
            config=PyramidConfig,
            recipes=recipe_files(__file__),
            root_joint=9,
            build=build,
            needs_hand=True,
        )
    ]


@hookimpl
def hmr_backbones() -> list[BackboneSpec]:
    """The trunk."""
    return [
        BackboneSpec(
            name="trunk",
            summary="depthwise convolutions, from scratch in minutes: maps at 1/4 to 1/16",
            build=build_trunk,
            stride=16,
            options=("width", "drop_path"),
        )
    ]
