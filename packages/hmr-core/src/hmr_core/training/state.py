"""The state of a run that trains: all that its next step needs besides the recipe and the data.

The order of samples, their augmentation and what dropout draws are no part of it: they follow from the recipe's seed,
the epoch, the step and the sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from hmr_core.errors import HmrError
from hmr_core.hand.layer import HandLayer
from hmr_core.nn.model import PoseModel
from hmr_core.plugins.failures import failures_told
from hmr_core.plugins.recipes import Recipe
from hmr_core.plugins.run import Run
from hmr_core.plugins.specs import ModelSpec
from hmr_core.processes import Group
from hmr_core.training.divergence import what_next
from hmr_core.training.ema import begin_average, copy_state
from hmr_core.training.loss_scale import load_scaler, make_scaler, scaler_tensors
from hmr_core.training.optimizer import make_optimizer
from hmr_core.training.precision import lay_out
from hmr_core.training.run_folder import resume_command
from hmr_core.weights.checkpoint_folders import checkpoint_folder, newest_checkpoint
from hmr_core.weights.checkpoint_record import CheckpointRecord
from hmr_core.weights.checkpoints import (
    OWN_WEIGHTS,
    NotFiniteError,
    load_checkpoint,
    load_optimizer,
    save_checkpoint,
    trained_record,
)
from hmr_core.weights.starting_weights import start_from


@dataclass(kw_only=True)
class TrainingState:
    """A model, its optimizer, and how far they are.

    scaler: of the loss; off in any precision but float16. averaged: the average of the weights (see `ema`), which is
    what is validated and saved as the model; None without one.
    epoch, step: how many are done. loss_sums: each loss summed over the steps of the epoch that is not done yet or, at
    its end, of that epoch. val: at the end of an epoch, the metrics on val, once they were recorded.
    """

    model: PoseModel
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    averaged: dict[str, Tensor] | None
    steps_per_epoch: int
    epoch: int = 0
    step: int = 0
    loss_sums: dict[str, float] = field(default_factory=dict)
    val: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def in_epoch(self) -> int:
        """How many steps of the epoch that is not done yet are done."""
        return self.step - self.epoch * self.steps_per_epoch

    def statistics(self) -> list[Tensor]:
        """Batch norm's statistics and whatever else of the model is no parameter, and their average."""
        buffers = dict(self.model.named_buffers())
        return [*buffers.values(), *(tensor for name, tensor in (self.averaged or {}).items() if name in buffers)]


def agreed_checkpoint(run: Run, group: Group) -> Path | None:
    """The run's newest checkpoint, as the first process finds it; None where there is none.

    Another machine may see a shared folder late, or may have one of the same name with another run in it.
    """
    newest = newest_checkpoint(run.checkpoints) if group.first else None
    name = group.share(None if newest is None else newest.name)
    return None if name is None else run.checkpoints / name


def restore_or_begin(
    run: Run,
    spec: ModelSpec,
    recipe: Recipe,
    layer: HandLayer | None,
    device: torch.device,
    steps_per_epoch: int,
    group: Group,
) -> TrainingState:
    """The state in the run's newest checkpoint; where there is none, the first one, of the recipe's seed
    and of the weights that the run starts from.

    layer: the hand layer, on the CPU, of a model that uses the hand. group: the processes, which begin alike.
    """
    saved = agreed_checkpoint(run, group)
    checkpoint = None if saved is None else load_checkpoint(saved, spec)
    model = _first_model(run, spec, recipe) if checkpoint is None else checkpoint.model
    if layer is not None:
        model.use_hand(layer.model)
    model.to(device)
    lay_out(model, recipe.train)
    optimizer = make_optimizer(model, recipe.train)
    state = TrainingState(
        model=model,
        optimizer=optimizer,
        scaler=make_scaler(recipe.train, device),
        averaged=None if recipe.train.ema_decay is None else begin_average(model),
        steps_per_epoch=steps_per_epoch,
    )
    if checkpoint is None:
        return state
    record = trained_record(checkpoint)
    besides = load_optimizer(checkpoint, model, optimizer)
    load_scaler(state.scaler, besides)
    if state.averaged is not None:  # which is what the checkpoint's model is
        copy_state({name: besides[OWN_WEIGHTS + name] for name in state.averaged}, model)
    state.epoch, state.step = record.epoch or 0, record.step or 0
    state.loss_sums, state.val = dict(record.loss_sums), record.val
    return state


def _first_model(run: Run, spec: ModelSpec, recipe: Recipe) -> PoseModel:
    torch.manual_seed(recipe.train.seed)
    with failures_told(f'the model "{spec.name}"', "when it was made"):
        model = spec.build(recipe.model)
        if run.init is None:
            model.pretrain()
    if run.init is not None:
        start_from(model, run.init, spec)
    return model


def save(run: Run, state: TrainingState) -> Path:
    """Write the state as a checkpoint of the run.

    Raises HmrError, with what there is to go on from, where it holds numbers that are not finite or the disk is full.
    """
    before = newest_checkpoint(run.checkpoints)
    path = checkpoint_folder(run.checkpoints, state.epoch, state.step if state.in_epoch else None)
    record = CheckpointRecord(
        **run.identity(), epoch=state.epoch, step=state.step, loss_sums=state.loss_sums, versions=run.versions
    )
    try:
        save_checkpoint(
            path, state.model, state.optimizer, record, averaged=state.averaged, besides=scaler_tensors(state.scaler)
        )
    except NotFiniteError as error:
        raise HmrError(f"{error.message} {what_next(before)}") from error
    except HmrError as error:
        begun = f"goes on after {before.name} by: {resume_command(run)}" if before else "has to be started again."
        raise HmrError(f"{error.message} What was learnt since is lost; the run {begun}", *error.remedy) from error
    return path
