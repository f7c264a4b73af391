"""What hmr finds through this package's entry point."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hmr_core.plugins import ModelSpec, Released, SolverSpec, hookimpl, recipe_files

if TYPE_CHECKING:
    import torch

    from hmr_core.hand.layer import HandLayer
    from hmr_iknet.config import IKNetConfig
    from hmr_iknet.model import IKNet
    from hmr_iknet.solver import IKNetSolver
    from hmr_iknet.solver_config import IKNetSolverConfig


def build(config: IKNetConfig) -> IKNet:
    """The network, randomly initialised."""
    from hmr_iknet.model import IKNet

    return IKNet(config)


def build_solver(
    config: IKNetSolverConfig, layer: HandLayer, checkpoint: Path | None, device: torch.device
) -> IKNetSolver:
    """The solver with the weights of a checkpoint of ours or a released file."""
    assert checkpoint is not None, "iknet needs weights"
    from hmr_iknet.solver import build_solver

    return build_solver(config, layer, checkpoint, device, hmr_models()[0])


@hookimpl
def hmr_models() -> list[ModelSpec]:
    """IKNet."""
    from hmr_iknet.config import IKNetConfig

    return [
        ModelSpec(
            name="iknet",
            summary="IKNet: inverse kinematics by fully connected layers (joints -> rotations)",
            config=IKNetConfig,
            recipes=recipe_files(__file__),
            root_joint=9,
            build=build,
            consumes="joints",
            learns_from=("verts", "rotations", "betas"),
            needs_hand=True,
            released=Released(file="iknet.pt"),
            paper="Zhou et al., Monocular Real-time Hand Shape and Motion Capture, CVPR 2020, arXiv 2003.09572",
        )
    ]


@hookimpl
def hmr_solvers() -> list[SolverSpec]:
    """IKNet and a fit behind it."""
    from hmr_iknet.solver_config import IKNetSolverConfig

    return [
        SolverSpec(
            name="iknet",
            summary="IKNet and a fit behind it (joints -> rotations and shape -> mesh)",
            config=IKNetSolverConfig,
            build=build_solver,
            needs_weights=True,
            protocols={"published": {"fit": "published"}, "best": {"fit": "lm"}},
        )
    ]
