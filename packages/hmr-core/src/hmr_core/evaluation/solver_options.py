"""Which of the options that concern the mesh go together, and with which model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hmr_core.errors import Option, UsageError
from hmr_core.evaluation.protocols import solver_protocol
from hmr_core.hand.layer_names import OWN
from hmr_core.plugins.solver_presets import check_weights, mesh_already
from hmr_core.plugins.specs import ModelSpec, SolverSpec


def check_solver_options(
    spec: ModelSpec,
    solver: SolverSpec | None,
    *,
    ckpt: Path | None,
    sets: Sequence[str],
    protocol: str,
    hand_layer: str,
) -> None:
    """UsageError for a solver that is incomplete or not for this model, and for options that would change nothing.

    A hand model goes with any model of images: whether it has a mesh of its own, whose pictures need the faces, is
    known only when it predicts.
    """
    from_joints = spec.consumes == "joints"
    if solver is not None:
        if from_joints:
            raise mesh_already(spec)
        check_weights(solver, ckpt)
        return
    given = (
        (Option("solver_ckpt"), ckpt is not None),
        (Option("solver_set"), bool(sets)),
        (Option("protocol", protocol), solver_protocol(protocol) != "published"),
        (Option("hand_layer", hand_layer), hand_layer != OWN and not spec.needs_hand),
    )
    useless = [option for option, there in given if there]
    if not useless:
        return
    named: list[str | Option] = []
    for option in useless:
        named += [", ", option]
    remedy: list[str | Option]
    if from_joints:
        remedy = [f': the model "{spec.name}" gives a mesh of its own, so that there is none to add.']
    else:
        remedy = [". If the model predicts joints alone, add ", Option("solver"), "; `hmr solvers` lists them."]
    raise UsageError("there are options of a solver, and no solver.", "Leave out ", *named[1:], *remedy)
