"""The training loop.

One process for now. Everything that a step depends on (its samples, their augmentation, the rate) is a function of the
recipe, the epoch and the step, so a resumed run, or later several processes that share a batch, take the same steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import torch

from hmr_core.data.loading import Loader, epoch_order, split_batches
from hmr_core.data.open_dataset import open_dataset
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.hand.layer import HandLayer
from hmr_core.plugins.events import CheckpointSaved, EpochDone, Event, RunEnded, RunStarted, StepDone
from hmr_core.plugins.recipes import Recipe
from hmr_core.plugins.run import Run
from hmr_core.plugins.specs import ModelSpec
from hmr_core.training.divergence import StepPlace
from hmr_core.training.run_folder import check_batch
from hmr_core.training.run_log import drop_later_metrics
from hmr_core.training.schedule import learning_rate
from hmr_core.training.state import restore_or_begin, save
from hmr_core.training.step import take_step
from hmr_core.training.validation import validate, validation_rows
from hmr_core.weights.checkpoint_record import record_validation
from hmr_core.weights.checkpoints import prune_checkpoints


def train_model(
    run: Run,
    spec: ModelSpec,
    recipe: Recipe,
    pack: Pack,
    *,
    layer: HandLayer | None = None,
    device: torch.device,
    workers: int,
    notify: Callable[[Run, Event], None],
) -> None:
    """Train a model from the run's newest checkpoint, or from the start, to the recipe's last epoch.

    layer: the hand layer of the annotations' hand model, on the CPU, for a model that uses the hand.
    Raises HmrError when there is too little to train on, when the model fails, and on the first loss or gradient that
    is not finite (before the optimizer sees it).
    """
    config = recipe.train
    rows = pack.indices(run.split, config.subset)
    check_batch(run.split, config, len(rows))
    steps = len(rows) // config.batch_size
    val_rows, notes = validation_rows(pack, run.split, config)
    augmented, plain = (
        open_dataset(spec, recipe, pack, layer=layer, training=training, verify=run.verify)
        for training in (True, False)
    )
    training = Loader(augmented, workers=workers, device=device)
    validation = training.beside(plain)
    hand = None if layer is None else deepcopy(layer).to(device)  # the data sets' own stays on the CPU

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        state = restore_or_begin(run, spec, recipe, layer, device)
        drop_later_metrics(run, state.epoch)
        notify(
            run,
            RunStarted(
                first_epoch=state.epoch + 1,
                epochs=config.epochs,
                steps_per_epoch=steps,
                train_samples=len(rows),
                val_samples=len(val_rows),
                parameters=sum(p.numel() for p in state.model.parameters() if p.requires_grad),
                device=str(device),
                notes=notes,
            ),
        )
        began = time.monotonic()
        reason = "finished"
        try:
            for epoch in range(state.epoch + 1, config.epochs + 1):
                torch.manual_seed(config.seed + epoch)  # for models with dropout: the same after a resume
                state.model.train()
                sums: dict[str, float] = {}
                epoch_began = step_began = time.monotonic()
                order = epoch_order(rows, config.seed, epoch)
                for batch in training.load(split_batches(order, config.batch_size, epoch=epoch, drop_last=True)):
                    step = state.step + 1
                    rate = learning_rate(config, epoch, step, steps)
                    at = StepPlace(step=step, epoch=epoch, learning_rate=rate, ids=batch.ids, pack=pack.path, run=run)
                    losses = take_step(state, batch, at, spec=spec, config=config, hand=hand, device=device)
                    sums = {name: sums.get(name, 0.0) + value for name, value in losses.items()}
                    now = time.monotonic()
                    speed, step_began = len(batch.ids) / (now - step_began), now
                    made = StepDone(epoch=epoch, step=step, losses=losses, learning_rate=rate, samples_per_second=speed)
                    notify(run, made)
                # The checkpoint first: what goes wrong in validation must not cost the epoch.
                finished = replace(state, epoch=epoch)
                path = save(run, finished)
                state = finished
                val = validate(state.model, validation, val_rows, layer=layer, batch_size=config.batch_size)
                record_validation(path, val)
                prune_checkpoints(run.checkpoints)
                means = {name: value / steps for name, value in sums.items()}
                seconds = time.monotonic() - epoch_began
                notify(run, EpochDone(epoch=epoch, step=state.step, losses=means, val=val, seconds=seconds))
                notify(run, CheckpointSaved(epoch=epoch, path=path))
        except BaseException as error:
            reason = _how_it_ended(error)
            raise
        finally:
            notify(run, RunEnded(epoch=state.epoch, seconds=time.monotonic() - began, reason=reason))


def _how_it_ended(error: BaseException) -> str:
    """How a run ended, in words, without the error's own text, which is printed next."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "stopped by an error" + ("" if isinstance(error, HmrError) else f" ({type(error).__name__})")
