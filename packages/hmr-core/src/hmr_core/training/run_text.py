"""What a run says of itself, in lines: as train.log has them, and as a screen shows them."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from datetime import timedelta

from hmr_core.errors import Option
from hmr_core.plugins.events import EpochDone, Event, RunEnded, RunStarted, StepDone
from hmr_core.plugins.run import Run
from hmr_core.training.pace import Pace
from hmr_core.training.run_figures import best_epoch, by_pack, epoch_figures, of_all
from hmr_core.training.run_folder import resume_command
from hmr_core.weights.checkpoint_folders import checkpoint_folder, newest_checkpoint
from hmr_core.wording import counted

EVERY_S = 15.0
"""Seconds between two lines of progress."""


WAITS = 0.3
"""Share of the steps' time in which they wait for data, from which on that is worth a note."""


TELLING = 20
"""Steps from which on their time says something of a run."""


class RunText:
    """The lines of a run's events, from its start on."""

    def __init__(self, run: Run, started: RunStarted) -> None:
        self._run, self._started = run, started
        self._first = started.first_step - 1
        self._total = started.epochs * started.steps_per_epoch
        self._began = self._spoke = time.monotonic()
        self._last_step, self._pace = self._first, Pace()

    def lines(self, event: Event) -> list[str]:
        """What to say of an event; of steps something every EVERY_S seconds alone."""
        if isinstance(event, RunStarted):
            return self._start(event)
        if isinstance(event, StepDone):
            return self._step(event)
        if isinstance(event, EpochDone):
            place = f"epoch {event.epoch}/{self._started.epochs}"
            loss = f"loss {event.losses['total']:.4f}"
            return [
                f"{place}: {loss}; val {_metrics(event.val) or 'none'}; {event.seconds:.0f} s",
                *(f"  {name}: {_metrics(of_pack)}" for name, of_pack in by_pack(event.val).items()),
            ]
        if isinstance(event, RunEnded):
            return self._end(event)
        return []

    def count(self, event: StepDone) -> None:
        """Take note of a step that nothing is to be said of."""
        self._last_step = event.step
        if event.step > self._first + 1:  # in the first step workers start, and much is done but once
            self._pace.add(event)

    def _start(self, event: RunStarted) -> list[str]:
        run, hand = self._run, self._run.hand_model
        return [
            f"{run.model}, {run.split}, recipe {run.recipe_name}: "
            f"{counted(event.train_samples, 'sample')} to train on, {event.val_samples} to validate on, "
            f"{event.parameters / 1e6:.2f} M parameters, {counted(event.epochs, 'epoch')} of "
            f"{counted(event.steps_per_epoch, 'step')}, on {event.device}",
            f"arithmetic: {event.arithmetic}",
            *(f"data: {pack.path}{pack.part}" for pack in run.data),
            *([] if hand is None else [f"hand model: {hand.path or 'the synthetic hand of hmr itself'}"]),
            *(f"note: {note}" for note in event.notes),
            *([] if event.first_step == 1 else [self._resumed(event)]),
        ]

    @staticmethod
    def _resumed(event: RunStarted) -> str:
        epochs, steps = divmod(event.first_step - 1, event.steps_per_epoch)
        return f"resumed after epoch {epochs}" + (f" and {counted(steps, 'step')} of the next" if steps else "")

    def _step(self, event: StepDone) -> list[str]:
        self.count(event)
        now = time.monotonic()
        if now - self._spoke < EVERY_S:
            return []
        self._spoke = now
        pace = (now - self._began) / (event.step - self._first)
        left = timedelta(seconds=round(pace * (self._total - event.step)))
        return [
            f"step {event.step}/{self._total} (epoch {event.epoch}/{self._started.epochs}): "
            f"loss {event.losses['total']:.4f}, {event.samples_per_second:.0f} samples/s, {left} left"
        ]

    def _end(self, event: RunEnded) -> list[str]:
        lines = [
            f"{event.reason} after epoch {event.epoch}, {timedelta(seconds=round(event.seconds))}",
            *self._summary(event),
        ]
        saved = newest_checkpoint(self._run.checkpoints)
        if event.reason.startswith("interrupted") and saved is not None:
            more = [Option("device", "cpu")] if self._started.device == "cpu" else []
            lines.append(f"to go on after {saved.name}: {resume_command(self._run, *more)}")
        return lines

    def _summary(self, event: RunEnded) -> list[str]:
        """What a run came to, attempts that were stopped before included, but for the speed."""
        if self._last_step == self._first:
            return []
        done = f"{event.epoch} of {counted(self._started.epochs, 'epoch')}, {self._last_step} of {self._total} steps"
        pace = self._pace
        if pace.steps:
            done += (
                f"; {pace.samples_per_second:.0f} samples/s, {pace.data_wait:.0%} of the steps' time waiting for data"
            )
        lines = [done]
        figures = epoch_figures(self._run)
        best = best_epoch(figures)
        if best is not None:
            kept = checkpoint_folder(self._run.checkpoints, best.epoch)
            where = f", {kept}" if kept.exists() else ""
            lines.append(f"best on val: mpjpe_mm {best.mpjpe_mm:.3f} after epoch {best.epoch}{where}")
        if figures and figures[-1].val:
            lines.append(f"last on val: {_metrics(figures[-1].val)} after epoch {figures[-1].epoch}")
        if pace.steps >= TELLING and round(pace.data_wait, 2) > WAITS:  # as the line above has it
            lines.append(
                "note: loading is what the steps wait for: give it more workers, as long as there are CPU cores for "
                "them; docs/watching.md says what else helps"
            )
        return lines


def _metrics(val: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in of_all(val).items() if value is not None)


def how_it_ended(line: str) -> str | None:
    """The reason in a line that says that a run ended; None for another line."""
    said = re.fullmatch(r"(.+) after epoch \d+, (?:\d+ days?, )?\d+:\d\d:\d\d", line)
    return said[1] if said else None


def say(line: str) -> None:
    """Print a line on stderr, if there is one: a process may have been started without."""
    if sys.stderr:
        print(line, file=sys.stderr, flush=True)


class Lines:
    """Prints the lines of a run's events on stderr."""

    def __init__(self) -> None:
        self._text: RunText | None = None

    def __call__(self, run: Run, event: Event) -> None:
        """Print the lines of an event."""
        if isinstance(event, RunStarted):
            self._text = RunText(run, event)
        for line in self._text.lines(event) if self._text else []:
            say(line)
