"""What hmr finds through this package's entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmr_core.plugins import ModelSpec, Released, hookimpl, recipe_files

if TYPE_CHECKING:
    from hmr_rle.config import RLEConfig
    from hmr_rle.model import RLE

PUBLISHED = {
    "sp0": {"mpjpe_mm": 9.45, "pck_auc_0_50mm": 0.815, "mpvpe_mm": 9.92, "pa_mpjpe_mm": 5.14, "pa_mpvpe_mm": 5.63},
    "sp1": {"mpjpe_mm": 13.22, "pck_auc_0_50mm": 0.739, "mpvpe_mm": 13.34, "pa_mpjpe_mm": 6.60, "pa_mpvpe_mm": 6.79},
    "sp2": {"mpjpe_mm": 9.76, "pck_auc_0_50mm": 0.810, "mpvpe_mm": 10.21, "pa_mpjpe_mm": 5.31, "pa_mpvpe_mm": 5.76},
}
"""OakInk-HMR's table, RLE + IKNet."""


def build(config: RLEConfig) -> RLE:
    """The network, randomly initialised."""
    from hmr_rle.model import RLE

    return RLE(config)


@hookimpl
def hmr_models() -> list[ModelSpec]:
    """RLE."""
    from hmr_rle.config import RLEConfig

    return [
        ModelSpec(
            name="rle",
            summary="RLE: regression with residual log-likelihood, a flow in the loss (image -> joints)",
            config=RLEConfig,
            recipes=recipe_files(__file__),
            root_joint=0,
            build=build,
            paper="Li et al., Human Pose Regression with Residual Log-likelihood Estimation, ICCV 2021, "
            "arXiv 2107.11291",
            released=Released(file="RegressFlow3D.pth.tar"),
            published=PUBLISHED,
        )
    ]
