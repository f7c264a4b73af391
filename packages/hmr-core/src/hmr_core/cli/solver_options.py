"""Which of the options of `hmr eval` that concern the mesh go together, and with which model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hmr_core.cli.main import current_registry
from hmr_core.errors import UsageError
from hmr_core.plugins.solver_presets import check_weights
from hmr_core.shell import command_line

if TYPE_CHECKING:
    from hmr_core.plugins.specs import ModelSpec


def check_solver_options(
    spec: ModelSpec, *, solver: str | None, ckpt: Path | None, sets: tuple[str, ...], protocol: str, hand_layer: str
) -> None:
    """UsageError for a solver that is incomplete or not for this model, and for options that would change nothing.

    --hand-model goes with any model of images: whether it has a mesh of its own, whose pictures need the faces, is
    known only when it predicts.
    """
    from_joints = spec.consumes == "joints"
    if solver is not None:
        if from_joints:
            from hmr_core.inference.solving import mesh_already

            raise mesh_already(spec)
        check_weights(current_registry().solver(solver), ckpt)  # raises: misspelt, not installed, broken
        return
    given = (
        ("--solver-ckpt", ckpt is not None),
        ("--solver-set", bool(sets)),
        (command_line("--protocol", protocol), protocol != "published"),
        (command_line("--hand-layer", hand_layer), hand_layer != "own" and not spec.needs_hand),
    )
    if useless := ", ".join(name for name, there in given if there):
        remedy = (
            f'The model "{spec.name}" gives a mesh of its own, so that there is none to add: leave it out.'
            if from_joints
            else "If the model predicts joints alone, add --solver NAME; `hmr solvers` lists them."
        )
        raise UsageError(f"{useless}: of no use without a solver. {remedy}")
