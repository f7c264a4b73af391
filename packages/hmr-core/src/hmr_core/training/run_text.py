"""What a run says of itself, in lines: as train.log has them, and as a screen shows them."""

from __future__ import annotations

import re
import sys
import time
from datetime import timedelta

from hmr_core.plugins.events import EpochDone, Event, RunEnded, RunStarted, StepDone
from hmr_core.plugins.run import Run
from hmr_core.training.run_folder import resume_command
from hmr_core.weights.checkpoint_folders import newest_checkpoint
from hmr_core.wording import counted

EVERY_S = 15.0
"""Seconds between two lines of progress."""


class RunText:
    """The lines of a run's events, from its start on."""

    def __init__(self, run: Run, started: RunStarted) -> None:
        self._run, self._started = run, started
        self._first = started.first_step - 1
        self._total = started.epochs * started.steps_per_epoch
        self._began = self._spoke = time.monotonic()

    def lines(self, event: Event) -> list[str]:
        """What to say of an event; of steps something every EVERY_S seconds alone."""
        if isinstance(event, RunStarted):
            return self._start(event)
        if isinstance(event, StepDone):
            return self._step(event)
        if isinstance(event, EpochDone):
            metrics = ", ".join(f"{name} {value:.3f}" for name, value in event.val.items() if value is not None)
            place = f"epoch {event.epoch}/{self._started.epochs}"
            loss = f"loss {event.losses['total']:.4f}"
            return [f"{place}: {loss}; val {metrics or 'none'}; {event.seconds:.0f} s"]
        if isinstance(event, RunEnded):
            return self._end(event)
        return []

    def _start(self, event: RunStarted) -> list[str]:
        run, hand = self._run, self._run.hand_model
        return [
            f"{run.model}, {run.split}, recipe {run.recipe_name}: "
            f"{counted(event.train_samples, 'sample')} to train on, {event.val_samples} to validate on, "
            f"{event.parameters / 1e6:.2f} M parameters, {counted(event.epochs, 'epoch')} of "
            f"{counted(event.steps_per_epoch, 'step')}, on {event.device}",
            *(f"data: {pack.path}" for pack in run.data),
            *([] if hand is None else [f"hand model: {hand.path or 'the synthetic hand of hmr itself'}"]),
            *(f"note: {note}" for note in event.notes),
            *([] if event.first_step == 1 else [self._resumed(event)]),
        ]

    @staticmethod
    def _resumed(event: RunStarted) -> str:
        epochs, steps = divmod(event.first_step - 1, event.steps_per_epoch)
        return f"resumed after epoch {epochs}" + (f" and {counted(steps, 'step')} of the next" if steps else "")

    def _step(self, event: StepDone) -> list[str]:
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
        ended = f"{event.reason} after epoch {event.epoch}, {timedelta(seconds=round(event.seconds))}"
        saved = newest_checkpoint(self._run.checkpoints)
        if not event.reason.startswith("interrupted") or saved is None:
            return [ended]
        return [ended, f"to go on after {saved.name}: {resume_command(self._run)}"]


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
