"""The spec of I2L-MeshNet: all that hmr needs to know of it but how it is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hmr_core.plugins import ModelSpec, Released, recipe_files
from hmr_i2l.config import I2LConfig

if TYPE_CHECKING:
    from hmr_core.nn.model import PoseModel

PUBLISHED = {
    "sp0": {"mpjpe_mm": 9.24, "pck_auc_0_50mm": 0.818, "mpvpe_mm": 9.05, "pa_mpjpe_mm": 5.03, "pa_mpvpe_mm": 5.03},
    "sp1": {"mpjpe_mm": 12.92, "pck_auc_0_50mm": 0.745, "mpvpe_mm": 12.73, "pa_mpjpe_mm": 6.54, "pa_mpvpe_mm": 6.46},
    "sp2": {"mpjpe_mm": 9.29, "pck_auc_0_50mm": 0.818, "mpvpe_mm": 9.23, "pa_mpjpe_mm": 5.12, "pa_mpvpe_mm": 5.20},
}
"""OakInk-HMR's table, I2L-MeshNet."""

RELEASED = Released(
    file="I2L_MeshNet.pth.tar",
    overrides=("middle_tip=445",),
    ignored={
        "human_model_layer.": "the hand model's own arrays, which are taken from the hand model in use",
        "mesh_backbone.conv1.": "the second backbone's stem, which nothing uses",
        "mesh_backbone.bn1.": "the second backbone's stem, which nothing uses",
        "param_regressor.": "the parameter regressor, which the published recipe does not train",
    },
)


def i2l_spec(build: Callable[[Any], PoseModel]) -> ModelSpec:
    """The spec, with what makes the network of a config."""
    return ModelSpec(
        name="i2l",
        summary="I2L-MeshNet: lixel heat maps (image -> joints and mesh)",
        config=I2LConfig,
        recipes=recipe_files(__file__),
        root_joint=0,
        build=build,
        learns_from=("verts", "rotations", "betas"),
        needs_hand=True,
        paper="Moon and Lee, I2L-MeshNet, ECCV 2020, arXiv 2008.03713",
        released=RELEASED,
        published=PUBLISHED,
    )
