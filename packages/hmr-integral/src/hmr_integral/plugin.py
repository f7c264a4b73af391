"""What hmr finds through this package's entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmr_core.plugins import ModelSpec, Released, hookimpl, recipe_files

if TYPE_CHECKING:
    from hmr_integral.config import IntegralConfig
    from hmr_integral.model import IntegralPose

PUBLISHED = {
    "sp0": {"mpjpe_mm": 8.14, "pck_auc_0_50mm": 0.838, "mpvpe_mm": 8.75, "pa_mpjpe_mm": 5.22, "pa_mpvpe_mm": 5.60},
    "sp1": {"mpjpe_mm": 10.88, "pck_auc_0_50mm": 0.784, "mpvpe_mm": 11.32, "pa_mpjpe_mm": 6.76, "pa_mpvpe_mm": 6.81},
    "sp2": {"mpjpe_mm": 8.22, "pck_auc_0_50mm": 0.837, "mpvpe_mm": 8.83, "pa_mpjpe_mm": 5.30, "pa_mpvpe_mm": 5.66},
}
"""OakInk-HMR's table, Integral-Pose + IKNet."""


def build(config: IntegralConfig) -> IntegralPose:
    """The network, randomly initialised."""
    from hmr_integral.model import IntegralPose

    return IntegralPose(config)


@hookimpl
def hmr_models() -> list[ModelSpec]:
    """Integral-Pose."""
    from hmr_integral.config import IntegralConfig

    return [
        ModelSpec(
            name="integral",
            summary="Integral-Pose: 3D heat maps and soft-argmax (image -> joints)",
            config=IntegralConfig,
            recipes=recipe_files(__file__),
            root_joint=9,
            build=build,
            paper="Sun et al., Integral Human Pose Regression, ECCV 2018, arXiv 1711.08229",
            released=Released(file="IntegralPose.pth.tar"),
            published=PUBLISHED,
        )
    ]
