"""`hmr.load`: a checkpoint, its model and what it works with, as a predictor.

What the arguments and the files alone show is looked at first, without torch, so that a mistake is told at once.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hmr_core.devices import check_device_name, choose_device
from hmr_core.errors import Option, UsageError
from hmr_core.files import as_path
from hmr_core.hand.arrays import named_hand_file
from hmr_core.inference.request import check_consumes_images
from hmr_core.plugins.registry import Registry, discover
from hmr_core.plugins.solver_presets import check_weights
from hmr_core.weights.checkpoint_record import check_model, read_record
from hmr_core.weights.find_weights import CKPT, find_weights, without_choice
from hmr_core.weights.model_of import model_of

if TYPE_CHECKING:
    from hmr_core.inference.predictor import Predictor

SOLVER = "lm"
"""What makes the mesh of a model that predicts joints alone, unless another solver is wanted."""


def load(
    ckpt: Path | str,
    *,
    model: str | None = None,
    hand_model: Path | str | None = None,
    solver: str | None = SOLVER,
    solver_ckpt: Path | str | None = None,
    device: str | None = None,
    registry: Registry | None = None,
) -> Predictor:
    """The predictor of a run, a checkpoint, or a released file of weights.

    ckpt: its path. model: its name, needed where the file itself does not tell it. hand_model: a file; by default
    $HMR_HAND_MODEL's, then the synthetic hand. solver, solver_ckpt: what makes a mesh where the model predicts joints
    alone, and its weights if it needs any; None for no mesh there. device: cpu, cuda, cuda:N or mps; by default the
    best there is. registry: the plugins; by default the installed ones.
    Raises UsageError for a model of joints and for names that do not exist, HmrError for files that cannot be used.
    """
    registry, path = registry or discover(), Path(ckpt)
    hand_file, solver_weights = as_path(hand_model), as_path(solver_ckpt)
    spec = registry.model(model or model_of(path))
    check_consumes_images(spec)
    solver_spec = None if solver is None else registry.solver(solver)
    if solver_spec is not None:
        check_weights(solver_spec, solver_weights)
    elif solver_weights is not None:
        raise UsageError("weights of a solver are of no use without one.", "Leave ", Option("solver_ckpt"), " out.")
    check_device_name(device)
    weights = find_weights(path)
    if without_choice(path).is_dir():  # to look into a file takes torch
        check_model(path, read_record(weights), spec.name, CKPT)
    if solver_weights is not None:
        find_weights(solver_weights, option=Option("solver_ckpt"))
    named_hand_file(hand_file)

    from hmr_core.hand.back_ends import make_layer
    from hmr_core.hand.mirror import mirrored
    from hmr_core.hand.source import find_hand_model
    from hmr_core.inference.predictor import SIDE, Predictor
    from hmr_core.inference.solving import load_solver
    from hmr_core.weights.checkpoints import load_checkpoint

    chosen = choose_device(device)
    hand = find_hand_model(hand_file)
    layer = make_layer(hand.model if hand.model.side == SIDE else mirrored(hand.model))
    checkpoint = load_checkpoint(path, spec)
    if spec.needs_hand:
        checkpoint.model.use_hand(layer.model)
    loaded = None
    if solver_spec is not None:
        loaded = load_solver(
            solver_spec,
            layer,
            solver_weights,
            protocol="best" if "best" in solver_spec.protocols else "published",
            device=chosen,
        )
    return Predictor(
        spec=spec,
        checkpoint=replace(checkpoint, model=checkpoint.model.to(chosen).eval()),
        hand_model=hand,
        layer=layer,
        solver=loaded,
        device=chosen,
    )
