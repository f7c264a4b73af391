"""The training loop.

One process for now. Everything that a step depends on (its samples, their augmentation, the rate) is a function of the
recipe, the epoch and the step, so a resumed run, or later several processes that share a batch, take the same steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from hmr_core.data.batch import Batch
from hmr_core.data.loading import Loader, epoch_order, split_batches
from hmr_core.data.open_dataset import open_dataset
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.evaluation.scoring import score
from hmr_core.hand.layer import HandLayer
from hmr_core.inference.predict import annotated_roots, gather, predict
from hmr_core.nn.decode import pose_for_loss
from hmr_core.nn.model import PoseModel
from hmr_core.plugins.events import CheckpointSaved, EpochDone, Event, RunEnded, RunStarted, StepDone
from hmr_core.plugins.failures import failures_told
from hmr_core.plugins.recipes import Recipe, TrainConfig
from hmr_core.plugins.run import Run
from hmr_core.plugins.specs import ModelSpec
from hmr_core.training.divergence import Step, gradient_norms, refuse_non_finite, what_next
from hmr_core.training.optimizer import Adam
from hmr_core.training.run_folder import check_batch, resume_command
from hmr_core.training.run_log import drop_later_metrics
from hmr_core.weights.checkpoint_folders import checkpoint_folder, saved_checkpoints
from hmr_core.weights.checkpoint_record import record_validation
from hmr_core.weights.checkpoints import (
    NotFiniteError,
    epochs_done,
    load_checkpoint,
    load_optimizer,
    prune_checkpoints,
    save_checkpoint,
)

Notify = Callable[[Run, Event], None]


def train_model(
    run: Run,
    spec: ModelSpec,
    recipe: Recipe,
    pack: Pack,
    *,
    layer: HandLayer | None = None,
    device: torch.device,
    workers: int,
    notify: Notify,
) -> None:
    """Train a model from the run's last checkpoint, or from the start, to the recipe's last epoch.

    layer: the hand layer of the annotations' hand model, on the CPU, for a model that uses the hand.
    Raises HmrError when there is too little to train on, when the model fails, and on the first loss or gradient that
    is not finite (before the optimizer sees it).
    """
    config = recipe.train
    rows = pack.indices(run.split, config.subset)
    check_batch(run.split, config, len(rows))
    steps = len(rows) // config.batch_size
    to_train_on, to_validate_on = (
        open_dataset(spec, recipe, pack, layer=layer, training=training, verify=run.verify)
        for training in (True, False)
    )
    training = Loader(to_train_on, workers=workers, device=device)
    validation = training.beside(to_validate_on)
    # A copy: the data set's own stays on the CPU.
    posing = None if layer is None else deepcopy(layer).to(device)
    val_rows, notes = _validation_rows(pack, run.split, config)

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model, optimizer, done = _start(run, spec, recipe, layer, device)
        notify(
            run,
            RunStarted(
                first_epoch=done + 1,
                epochs=config.epochs,
                steps_per_epoch=steps,
                train_samples=len(rows),
                val_samples=len(val_rows),
                parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
                device=str(device),
                notes=notes,
            ),
        )
        started = time.monotonic()
        try:
            for epoch in range(done + 1, config.epochs + 1):
                torch.manual_seed(config.seed + epoch)  # for models with dropout: the same after a resume
                epoch_started = time.monotonic()
                order = epoch_order(rows, config.seed, epoch)
                batches = split_batches(order, config.batch_size, epoch=epoch, drop_last=True)
                loaded = training.load(batches)
                means = _run_epoch(
                    run, model, optimizer, loaded, spec.root_joint, posing, config, epoch, steps, device, notify
                )
                # The checkpoint first: what goes wrong in validation must not cost the epoch.
                path = _save(run, model, optimizer, epoch)
                done = epoch
                val = _validate(model, validation, val_rows, layer, config.batch_size)
                record_validation(path, val)
                prune_checkpoints(run.checkpoints)
                seconds = time.monotonic() - epoch_started
                notify(run, EpochDone(epoch=epoch, step=epoch * steps, losses=means, val=val, seconds=seconds))
                notify(run, CheckpointSaved(epoch=epoch, path=path))
        except BaseException as error:
            notify(run, RunEnded(epoch=done, seconds=time.monotonic() - started, reason=_how_it_ended(error)))
            raise
        notify(run, RunEnded(epoch=done, seconds=time.monotonic() - started, reason="finished"))


def _how_it_ended(error: BaseException) -> str:
    """In words; without the error's own text, which is printed next."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "stopped by an error" + ("" if isinstance(error, HmrError) else f" ({type(error).__name__})")


def _run_epoch(
    run: Run,
    model: PoseModel,
    optimizer: torch.optim.Optimizer,
    loaded: Iterator[Batch],
    root_joint: int,
    layer: HandLayer | None,
    config: TrainConfig,
    epoch: int,
    steps: int,
    device: torch.device,
    notify: Notify,
) -> dict[str, float]:
    """One pass over the loaded batches; the mean of each loss. layer: on the device, of a model that uses the hand."""
    sums: dict[str, float] = {}
    saved = _last_saved(run)
    model.train()
    step_started = time.monotonic()
    for step, batch in enumerate(loaded, start=(epoch - 1) * steps + 1):
        rate = learning_rate(config, epoch, step, steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with failures_told(
            f'the model "{run.model}"', f"at step {step} (epoch {epoch})", samples=len(batch.ids), device=str(device)
        ):
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                prediction = model(batch.inputs())
            prediction = pose_for_loss(prediction, batch.targets.root, root_joint=root_joint, layer=layer)
            losses = model.loss(prediction, batch.targets)
            terms = torch.stack(list(losses.values()))
            total = terms.sum()
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(total)
            norms = gradient_norms(model)
            # One wait for the device, not one for each term and gradient.
            measured = torch.cat([terms, total[None], *(norm[None] for norm in norms.values())]).tolist()
        values = dict(zip([*losses, "total"], measured, strict=False))
        at = Step(step=step, epoch=epoch, learning_rate=rate, ids=batch.ids, data=run.data[0].path, saved=saved)
        refuse_non_finite(values, dict(zip(norms, measured[len(values) :], strict=True)), model, at)
        if config.clip_norm is not None:
            clip_each(model, norms, config.clip_norm)
        optimizer.step()
        sums = {name: sums.get(name, 0.0) + value for name, value in values.items()}
        now = time.monotonic()
        speed = len(batch.ids) / (now - step_started)
        step_started = now
        notify(run, StepDone(epoch=epoch, step=step, losses=values, learning_rate=rate, samples_per_second=speed))
    return {name: value / steps for name, value in sums.items()}


def _save(run: Run, model: PoseModel, optimizer: torch.optim.Optimizer, epoch: int) -> Path:
    saved = _last_saved(run)
    path = checkpoint_folder(run.checkpoints, epoch)
    info = {**run.identity(), "epoch": epoch, "val": {}, "versions": dict(run.versions)}
    try:
        save_checkpoint(path, model, optimizer, info)
    except NotFiniteError as error:
        raise HmrError(f"{error} {what_next(saved)}") from error
    except HmrError as error:
        begun = f"goes on after {saved.name} by: {resume_command(run)}" if saved else "has to be started again."
        raise HmrError(f"{error} What epoch {epoch} learnt is lost; the run {begun}") from error
    return path


def _last_saved(run: Run) -> Path | None:
    return next(reversed(saved_checkpoints(run.checkpoints)), None)


def learning_rate(config: TrainConfig, epoch: int, step: int, steps_per_epoch: int) -> float:
    """The rate of a step; epoch and step count from 1. A milestone m takes effect after m epochs."""
    if config.schedule == "cosine":
        return 0.5 * config.learning_rate * (1 + math.cos(math.pi * (step - 1) / (config.epochs * steps_per_epoch)))
    return config.learning_rate * config.gamma ** sum(epoch > milestone for milestone in config.milestones)


def clip_each(model: PoseModel, norms: Mapping[str, Tensor], max_norm: float) -> None:
    """Scale each parameter tensor's gradient to an L2 norm of at most max_norm, each by itself, as published.

    norms: of the gradients as they are, by the parameters' names; finite ones.
    """
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            parameter.grad.mul_((max_norm / (norms[name] + 1e-6)).clamp(max=1))


def _start(
    run: Run, spec: ModelSpec, recipe: Recipe, layer: HandLayer | None, device: torch.device
) -> tuple[PoseModel, torch.optim.Optimizer, int]:
    """The model, its optimizer and the epochs already done: from the last checkpoint, or from the seed."""
    saved = _last_saved(run)
    checkpoint = None if saved is None else load_checkpoint(saved, spec)
    if checkpoint is not None:
        model, done = checkpoint.model, epochs_done(checkpoint)
    else:
        torch.manual_seed(recipe.train.seed)
        with failures_told(f'the model "{spec.name}"', "when it was made"):
            model, done = spec.build(recipe.model), 0
            model.pretrain()
    if layer is not None:
        model.use_hand(layer.model)
    drop_later_metrics(run, done)
    model.to(device)
    # Fused: one pass over each tensor, not one for each of Adam's operations, which on a CPU took a tenth of a small
    # network's step.
    optimizer = Adam(
        model.parameters(), lr=recipe.train.learning_rate, weight_decay=recipe.train.weight_decay, fused=True
    )
    if checkpoint is not None:
        load_optimizer(checkpoint, model, optimizer)
    return model, optimizer, done


def _validation_rows(pack: Pack, split: str, config: TrainConfig) -> tuple[Int64[ndarray, " n"], tuple[str, ...]]:
    """The rows to validate on, none where the pack has none, and what the user should know about them."""
    try:
        rows = pack.indices(split, "val")
    except HmrError as error:
        return np.zeros(0, dtype=np.int64), (f"no val figures: {error}",)
    if config.subset == "train+val":
        return rows, ("trains on train+val, as published: the val figures are of samples seen in training",)
    return rows, ()


def _validate(
    model: PoseModel,
    loader: Loader,
    rows: Int64[ndarray, " n"],
    layer: HandLayer | None,
    batch_size: int,
) -> dict[str, float | None]:
    if len(rows) == 0:
        return {}
    points = gather(predict(model, loader, rows, roots=annotated_roots, layer=layer, batch_size=batch_size))
    verts = None if points.verts is None else points.verts.numpy()
    return score(loader.dataset.pack, rows, points.joints.numpy(), verts).metrics
