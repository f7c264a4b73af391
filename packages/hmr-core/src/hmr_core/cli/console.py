"""What a run says while it trains: a progress bar on a terminal, plain lines elsewhere, and always train.log."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from hmr_core.plugins.events import CheckpointSaved, EpochDone, Event, RunEnded, RunStarted, StepDone
from hmr_core.staging import append_text
from hmr_core.wording import counted

if TYPE_CHECKING:
    from rich.progress import Progress

    from hmr_core.plugins.run import Run

PLAIN_EVERY_S = 15.0
"""Seconds between two progress lines where there is no terminal."""


def watch(run: Run, event: Event) -> None:
    """Show an event of a run, and log it."""
    if isinstance(event, RunStarted):
        run.scratch["console"] = _Display(run, event)
    display = run.scratch.get("console")
    if isinstance(display, _Display):
        display.show(event)


class _Display:
    """One run's output, from its start to its end."""

    def __init__(self, run: Run, started: RunStarted) -> None:
        self._run = run
        self._total = started.epochs * started.steps_per_epoch
        self._done = (started.first_epoch - 1) * started.steps_per_epoch
        self._first = self._done
        self._epochs = started.epochs
        self._began = self._spoke = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            from hmr_core.cli.terminal import terminal, text_column

            self._bar = Bar(
                text_column("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                text_column("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=terminal(stderr=True),
            )
            self._task = self._bar.add_task("training", total=self._total, completed=self._done, rate="")
            self._bar.start()

    def show(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._log_start()
            self._say(
                f"{self._run.model}, {self._run.split}, recipe {self._run.recipe_name}: "
                f"{counted(event.train_samples, 'sample')} to train on, {event.val_samples} to validate on, "
                f"{event.parameters / 1e6:.2f} M parameters, {counted(event.epochs, 'epoch')} of "
                f"{counted(event.steps_per_epoch, 'step')}, on {event.device}"
            )
            self._say(f"data: {self._run.data}")
            if self._run.hand_model is not None:
                self._say(f"hand model: {self._run.hand_model['path'] or 'the synthetic hand of hmr itself'}")
            for note in event.notes:
                self._say(f"note: {note}")
            if event.first_epoch > 1:
                self._say(f"resumed after epoch {event.first_epoch - 1}")
        elif isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, EpochDone):
            figures = ", ".join(f"{name} {value:.3f}" for name, value in event.val.items() if value is not None)
            self._say(
                f"epoch {event.epoch}/{self._epochs}: loss {event.losses['total']:.4f}; val {figures or 'none'}; "
                f"{event.seconds:.0f} s"
            )
        elif isinstance(event, CheckpointSaved):
            self._log(f"checkpoint {event.path}")
        elif isinstance(event, RunEnded):
            if self._bar is not None:
                self._bar.stop()
            self._say(f"{event.reason} after epoch {event.epoch}, {timedelta(seconds=round(event.seconds))}")

    def _log_start(self) -> None:
        started = self._run.started
        self._log(f"command: {started['command']}")
        commits = [f"{what} at commit {commit}" for what, commit in started["commits"].items() if commit]
        self._log(", ".join([f"in {started['folder']} on {started['host']}", *commits]))

    def _step(self, event: StepDone) -> None:
        self._done = event.step
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=event.step,
                description=f"epoch {event.epoch}/{self._epochs}  loss {event.losses['total']:.4f}",
                rate=f"{event.samples_per_second:.0f} samples/s",
            )
        elif (now := time.monotonic()) - self._spoke >= PLAIN_EVERY_S:
            self._spoke = now
            pace = (now - self._began) / (self._done - self._first)
            left = timedelta(seconds=round(pace * (self._total - self._done)))
            self._say(
                f"step {event.step}/{self._total} (epoch {event.epoch}/{self._epochs}): "
                f"loss {event.losses['total']:.4f}, {event.samples_per_second:.0f} samples/s, {left} left"
            )

    def _say(self, text: str) -> None:
        self._log(text)  # first: whatever the terminal does, it is in the log
        if self._bar is not None:
            self._bar.console.print(text, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _log(self, text: str) -> None:
        text = text.encode("utf-8", "surrogateescape").decode(
            "utf-8", "backslashreplace"
        )  # paths are bytes of any kind
        append_text(self._run.log, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
