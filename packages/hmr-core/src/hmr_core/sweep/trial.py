"""One trial of a sweep: a training run that is begun or gone on with, and what its study is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.plugins.events import EpochDone, Event, RunStarted
from hmr_core.plugins.recipes import load_recipe
from hmr_core.plugins.registry import Registry
from hmr_core.plugins.run import Run
from hmr_core.staging import is_full_disk
from hmr_core.sweep.definition import Sweep
from hmr_core.sweep.space import texts
from hmr_core.sweep.trials import State, best_of
from hmr_core.training.asked_data import AskedPack
from hmr_core.training.request import TrainingRequest
from hmr_core.training.resume import go_on
from hmr_core.training.run_metrics import measured_epochs
from hmr_core.training.session import start
from hmr_core.training.watchers import Observer, StopRun, Tell
from hmr_core.weights.checkpoint_folders import run_checkpoints

if TYPE_CHECKING:
    from hmr_core.sweep.study import TakenTrial

MOST_STARTS = 3
"""How often a trial is begun from the same place: one that ends its process each time would hold up the sweep."""


@dataclass(frozen=True, kw_only=True)
class TrialRunner:
    """Trains the trials of a sweep, one after the other. data, device, workers, command: as in TrainingRequest."""

    sweep: Sweep
    data: tuple[AskedPack, ...]
    registry: Registry
    tell: Tell
    device: str | None
    workers: int | None
    command: str

    def run(self, trial: TakenTrial, folder: Path, observers: Sequence[Observer], *, proven: bool) -> State:
        """Train a trial to its end, or on from where it was cut off, and tell its study; say how it ended.

        proven: whether this process has trained another one, so that data and device are not to blame for an error.
        Raises HmrError for what is no fault of the trial, which then is as it was.
        """
        try:
            load_recipe(self.registry.model(self.sweep.model), self.sweep.recipe, texts(self.sweep, trial.values))
        except UsageError as error:  # of values that do not go together
            trial.fail(str(error))
            return "failed"
        saved = run_checkpoints(folder)
        if trial.begin(saved[-1].name if saved else "") > MOST_STARTS:
            trial.fail(
                f"it was begun {MOST_STARTS} times {f'after {saved[-1].name}' if saved else 'from its start'} and came "
                "no further: something ends its process, such as the memory that it needs"
            )
            return "failed"
        watch = _Watch(self.sweep, trial)
        try:
            run = self._train(trial, folder, [*observers, watch])
        except StopRun:
            if watch.lacking:
                raise self._no_metric() from None
            trial.prune()
            return "pruned"
        except KeyboardInterrupt:
            with suppress(HmrError):  # of a storage that does not answer
                trial.take_back_begin()
            raise
        except HmrError as error:
            if is_full_disk(error) or not (proven or watch.started):
                raise
            trial.fail(str(error))
            return "failed"
        figures = _figures(run, self.sweep.metric) | watch.figures
        for epoch, figure in figures.items():  # the study may not have heard of each
            trial.report(epoch, figure)
        _, best = best_of(self.sweep, figures)
        if best is None:
            trial.fail(f"it ended without {self.sweep.metric} on val")
            return "failed"
        trial.finish(best)
        return "finished"

    def _no_metric(self) -> HmrError:
        return HmrError(
            f"{self.sweep.model} has no {self.sweep.metric} on val, by which its trials would be compared.",
            "Choose another metric, and another folder with ",
            Option("out"),
            ".",
        )

    def _train(self, trial: TakenTrial, folder: Path, observers: Sequence[Observer]) -> Run:
        sweep = self.sweep
        if run_checkpoints(folder):
            return go_on(
                folder, self.registry, observers, self.tell, model=sweep.model, data=[one.path for one in self.data],
                hand_model=sweep.hand_model, device=self.device, workers=self.workers, command=self.command,
            )  # fmt: skip
        request = TrainingRequest(
            model=sweep.model,
            split=sweep.split,
            recipe=sweep.recipe,
            overrides=texts(sweep, trial.values),
            data=self.data,
            hand_model=sweep.hand_model,
            device=self.device,
            workers=self.workers,
            out=folder,
            command=self.command,
        )
        return start(request, self.registry, observers, self.tell)


class _Watch:
    """Tells a study of a trial's figures, and stops the trial where they are not worth going on."""

    def __init__(self, sweep: Sweep, trial: TakenTrial) -> None:
        self._sweep, self._trial = sweep, trial
        self._epochs = 0
        self.started = self.lacking = False
        self.figures: dict[int, float] = {}

    def __call__(self, run: Run, event: Event) -> None:
        """Hear of an event."""
        if isinstance(event, RunStarted):
            self.started, self._epochs = True, event.epochs
        elif isinstance(event, EpochDone):
            figure = event.val.get(self._sweep.metric)
            if figure is None:
                self.lacking = True
                raise StopRun("left: no such metric")
            self._trial.report(event.epoch, figure)
            self.figures[event.epoch] = figure
            if event.epoch < self._epochs and self._trial.should_be_pruned():
                raise StopRun("pruned")


def _figures(run: Run, metric: str) -> dict[int, float]:
    """The figures on val that a run wrote down, by epoch."""
    figures = {line["epoch"]: line["val"].get(metric) for line in measured_epochs(run)}
    return {epoch: float(figure) for epoch, figure in figures.items() if figure is not None}
