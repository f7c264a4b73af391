"""The training loop.

Everything that a step depends on (its samples, their augmentation, what the model draws, the rate) is a function of the
recipe, the epoch, the step and the process, so a resumed run takes the same steps, and several processes share a batch.
Each of them has the same state between two steps; the first one alone writes it down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import torch

from hmr_core.data.batch import Batch
from hmr_core.data.loading import Loader, split_keys
from hmr_core.data.mixed_dataset import MixedDataset
from hmr_core.data.open_dataset import open_dataset
from hmr_core.errors import HmrError
from hmr_core.hand.layer import HandLayer
from hmr_core.interrupts import Stopped, StopRequest, stop_requests
from hmr_core.plugins.events import CheckpointSaved, EpochDone, Event, RunEnded, RunStarted, StepDone
from hmr_core.plugins.recipes import Recipe
from hmr_core.plugins.run import CONFIG, OVERFIT, Run
from hmr_core.plugins.specs import ModelSpec
from hmr_core.processes import Group
from hmr_core.training.divergence import StepPlace
from hmr_core.training.ema import average_note, swapped_in
from hmr_core.training.every import Every, parse_every
from hmr_core.training.freezing import Freezing, freezing_note
from hmr_core.training.losses import Losses, SharedLosses
from hmr_core.training.precision import arithmetic_text, step_arithmetic
from hmr_core.training.run_metrics import drop_later_metrics, is_reported
from hmr_core.training.schedule import learning_rate, warmup_note
from hmr_core.training.sources import TrainingData
from hmr_core.training.state import TrainingState, restore_or_begin, save
from hmr_core.training.step import take_step
from hmr_core.training.stopping import check_patience, patience_note, stopped_early
from hmr_core.training.validation import Validated, validate
from hmr_core.training.watchers import StopRun
from hmr_core.weights.checkpoint_folders import checkpoint_folder
from hmr_core.weights.checkpoint_record import record_validation
from hmr_core.weights.checkpoints import prune_checkpoints
from hmr_core.weights.run_record import write_run

Notify = Callable[[Run, Event], None]

_SAVE, _STOP = 1, 1000
"""What processes agree on before a step: to save first; to save and stop, the signal's number added."""


def train_model(
    run: Run,
    spec: ModelSpec,
    recipe: Recipe,
    data: TrainingData,
    *,
    group: Group,
    layer: HandLayer | None = None,
    device: torch.device,
    workers: int,
    notify: Notify,
    notes: Sequence[str] = (),
) -> None:
    """Train a model from the run's newest checkpoint, or from the start, to the recipe's last epoch.

    group: the processes that share the work. layer: the hand layer of the annotations' hand model, on the CPU, for a
    model that uses the hand. workers: of each process. notify: is told of events, in the first process alone.
    notes: what is to be told when it starts.
    Raises HmrError when there is too little to train on, when the model fails, and on the first loss or gradient that
    is not finite (before the optimizer sees it); Stopped after a signal, with a checkpoint written.
    """
    config = recipe.train
    check_patience(config, data.val_samples)
    more = (
        warmup_note(config, config.epochs * data.steps_per_epoch),
        freezing_note(config),
        average_note(config),
        patience_note(config),
    )
    notes = (*notes, *data.notes, *(note for note in more if note is not None))
    augmented, plain = (
        [
            open_dataset(spec, recipe, source.pack, layer=layer, training=training, verify=run.verify)
            for source in data.sources
        ]
        for training in (OVERFIT not in run.limits, False)
    )
    alone = augmented[0] if len(augmented) == 1 else MixedDataset(augmented)
    training = Loader(alone, workers=workers, device=device)
    validation = [
        Validated(name=source.name, loader=training.beside(dataset), rows=source.val_rows)
        for source, dataset in zip(data.sources, plain, strict=True)
    ]
    hand = None if layer is None else deepcopy(layer).to(device)  # the data sets' own stays on the CPU
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), stop_requests() as stop:
        state = restore_or_begin(run, spec, recipe, layer, device, data.steps_per_epoch, group)
        loop = _Loop(
            run=run,
            spec=spec,
            recipe=recipe,
            group=group,
            device=device,
            layer=layer,
            data=data,
            training=training,
            validation=validation,
            losses=SharedLosses(Losses(state.model, spec, config, hand), group, sync_batch_norm=config.sync_batch_norm),
            freezing=Freezing(state.model, config),
            state=state,
            stop=stop,
            every=parse_every(run.checkpoint_every),
            notify=notify if group.first else _nobody,
        )
        loop.to_the_end(notes)


def _nobody(run: Run, event: Event) -> None:
    """Tell nobody."""


@dataclass(kw_only=True)
class _Loop:
    """What a run trains, on what, and how far it is."""

    run: Run
    spec: ModelSpec
    recipe: Recipe
    group: Group
    device: torch.device
    layer: HandLayer | None
    data: TrainingData
    training: Loader
    validation: Sequence[Validated]
    losses: SharedLosses
    freezing: Freezing
    state: TrainingState
    stop: StopRequest
    every: Every
    notify: Notify
    saved_at: float = field(default_factory=time.monotonic)

    def to_the_end(self, notes: tuple[str, ...]) -> None:
        """Train from the state to the last epoch, and tell of it."""
        state, epochs = self.state, self.recipe.train.epochs
        if self.group.first:
            drop_later_metrics(self.run, state.epoch, state.step)
        self.notify(self.run, self._started(notes))
        began, reason = time.monotonic(), "finished"
        try:
            # A run may have been killed after the checkpoint of an epoch, before its figures were written.
            if state.step and not state.in_epoch and not self._is_reported():
                self._finish_epoch(time.monotonic())
            while state.epoch < epochs and (early := self._stopped_early()) is None:
                epoch_began = time.monotonic()
                self._train_epoch()
                self._finish_epoch(epoch_began)
            if state.epoch < epochs:
                reason = f"finished early ({early})"
        except BaseException as error:
            reason = _how_it_ended(error)
            raise
        finally:
            self.notify(self.run, RunEnded(epoch=state.epoch, seconds=time.monotonic() - began, reason=reason))

    def _started(self, notes: tuple[str, ...]) -> RunStarted:
        state = self.state
        return RunStarted(
            first_epoch=state.epoch + 1,
            first_step=state.step + 1,
            epochs=self.recipe.train.epochs,
            steps_per_epoch=state.steps_per_epoch,
            train_samples=self.data.samples,
            val_samples=self.data.val_samples,
            parameters=sum(p.numel() for p in state.model.parameters() if p.requires_grad),
            device=str(self.device),
            processes=self.group.count,
            arithmetic=arithmetic_text(self.recipe.train, self.group.count),
            notes=notes,
        )

    def _train_epoch(self) -> None:
        """Take what is left of an epoch's steps, and save what was learnt."""
        state, config, epoch = self.state, self.recipe.train, self.state.epoch + 1
        if not state.in_epoch:
            state.loss_sums = {}
        state.val = {}
        state.model.train()
        if self.freezing.begin_epoch(epoch):
            self.losses.share()
        steps = split_keys(
            self.data.keys(config.seed, epoch),
            config.batch_size,
            rank=self.group.rank,
            count=self.group.count,
            parts=config.grad_accum,
        )
        batches = self.training.load([part for step in steps[state.in_epoch :] for part in step])
        step_began = time.monotonic()
        for step in range(state.step + 1, epoch * state.steps_per_epoch + 1):
            own, waited = self._next(batches, step)
            rate = learning_rate(config, epoch, step, state.steps_per_epoch)
            at = StepPlace(step=step, epoch=epoch, learning_rate=rate, run=self.run)
            with step_arithmetic(config):
                made = take_step(state, own, at, losses=self.losses, spec=self.spec, config=config, group=self.group)
            state.loss_sums = {name: state.loss_sums.get(name, 0.0) + value for name, value in made.losses.items()}
            now = time.monotonic()
            seconds, step_began = now - step_began, now
            done = StepDone(
                epoch=epoch,
                step=step,
                losses=made.losses,
                learning_rate=rate,
                gradient_norm=made.gradient_norm,
                samples_per_second=config.batch_size / seconds,
                data_wait=waited / seconds,
                device_memory_mb=_most_memory_mb(self.device),
            )
            self.notify(self.run, done)
        self._save(replace(state, epoch=epoch))
        state.epoch = epoch

    def _next(self, batches: Iterator[Batch], step: int) -> tuple[list[Batch], float]:
        """Load the process's parts of the next step and, when all have theirs, do what was asked for before it.

        Gives the parts, and for how many seconds they and those of the others were waited for.
        Until the step is taken all processes have the same state, which is not lost whatever goes wrong.
        """
        began = time.monotonic()
        try:
            parts = list(islice(batches, self.recipe.train.grad_accum))
            self.group.come(step)
            asked = self._asked()
            waited = time.monotonic() - began
        except Exception as error:
            with suppress(Exception):  # the first error is the one to tell
                self._save_in_epoch()
            if self.stop.number:
                # It may have ended a loading worker, too; or it came because another process failed.
                raise self.group.told() or Stopped(self.stop.number, told=True) from error
            raise
        self._heed(asked)
        return parts, waited

    def _asked(self) -> int:
        """What the processes agree on before a step: to save, to save and stop, or neither."""
        due = self.every.due(self.state.step, time.monotonic() - self.saved_at)
        asked = _STOP + self.stop.number if self.stop.number else _SAVE if due and self.group.first else 0
        return self.group.most(asked)

    def _heed(self, agreed: int) -> None:
        """Save if that is due, and stop if a signal has asked any of the processes to."""
        if agreed:
            self._save_in_epoch()
        if agreed > _STOP:
            raise Stopped(agreed - _STOP, told=True)

    def _save_in_epoch(self) -> None:
        """Save the state in the middle of an epoch; at its ends there is a checkpoint already, or nothing to save."""
        if self.state.in_epoch and not self._path.exists():
            self._save(self.state)
            if self.group.first:
                prune_checkpoints(self.run.checkpoints, self.run.keep_last)
                self._tell_of_checkpoint()

    def _save(self, state: TrainingState) -> None:
        if self.group.first:
            if not (self.run.folder / CONFIG).exists():  # the folder was removed, or moved away
                write_run(self.run)
            save(self.run, state)
        self.saved_at = time.monotonic()

    def _finish_epoch(self, began: float) -> None:
        """Validate what an epoch learnt, after it was saved: what goes wrong here must not cost the epoch."""
        state, config = self.state, self.recipe.train
        if number := self.group.most(self.stop.number):
            raise Stopped(number, told=True)
        self.group.copy_first(state.statistics())  # each process has those of its own samples of the last step
        with swapped_in(state.averaged, state.model):
            val = state.val or validate(
                self.group,
                state.model,
                self.validation,
                layer=self.layer,
                batch_size=config.batch_size,
                on_batch=self._leave_alone,
            )
        state.val = val
        if self.group.first:
            record_validation(self._path, val)
            prune_checkpoints(self.run.checkpoints, self.run.keep_last)
        means = {name: value / state.steps_per_epoch for name, value in state.loss_sums.items()}
        seconds = time.monotonic() - began
        self._tell_all(EpochDone(epoch=state.epoch, step=state.step, losses=means, val=val, seconds=seconds))
        self._tell_of_checkpoint()

    def _tell_all(self, event: Event) -> None:
        """Tell of an event at which an observer may stop the run: then it stops in all processes."""
        stop: StopRun | None = None
        try:
            self.notify(self.run, event)
        except StopRun as asked:
            stop = asked
        reason = self.group.share(None if stop is None else stop.reason)
        if reason is not None:
            raise stop or StopRun(reason)

    def _leave_alone(self, _: int) -> None:
        """Stop in the middle of validation, which a resumed run does anew; several processes see it to its end."""
        if self.stop.number and self.group.count == 1:
            raise Stopped(self.stop.number, told=True)

    def _is_reported(self) -> bool:
        """Whether the last epoch's figures are in the files that the first process writes."""
        return self.group.share(self.group.first and is_reported(self.run, self.state.epoch))

    def _stopped_early(self) -> str | None:
        """Why the run stops before its last epoch, by the same files; None if it goes on."""
        return self.group.share(stopped_early(self.run) if self.group.first else None)

    @property
    def _path(self) -> Path:
        """Where the checkpoint of the state is, or would be."""
        state = self.state
        return checkpoint_folder(self.run.checkpoints, state.epoch, state.step if state.in_epoch else None)

    def _tell_of_checkpoint(self) -> None:
        self.notify(self.run, CheckpointSaved(epoch=self.state.epoch, step=self.state.step, path=self._path))


def _most_memory_mb(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None


def _how_it_ended(error: BaseException) -> str:
    """How a run ended, in words, without the error's own text, which is printed next."""
    if isinstance(error, Stopped):
        return f"interrupted ({error})"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, StopRun):
        return error.reason
    return "stopped by an error" + ("" if isinstance(error, HmrError) else f" ({type(error).__name__})")
