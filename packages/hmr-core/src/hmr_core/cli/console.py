"""What a terminal shows of a run that trains: a progress bar, and the run's lines above it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from hmr_core.cli.terminal import terminal, text_column
from hmr_core.plugins.events import Event, RunEnded, RunStarted, StepDone
from hmr_core.plugins.run import Run
from hmr_core.training.run_text import Lines, RunText


def display() -> Callable[[Run, Event], None]:
    """What shows a run on stderr: with a bar on a terminal, by plain lines elsewhere."""
    return Bar() if sys.stderr and sys.stderr.isatty() else Lines()


class Bar:
    """Shows a run's events with a progress bar."""

    def __init__(self) -> None:
        columns = (
            text_column("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            text_column("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=terminal(stderr=True))
        self._text: RunText | None = None
        self._epochs = 0

    def __call__(self, run: Run, event: Event) -> None:
        """Show an event."""
        if isinstance(event, RunStarted):
            self._text, self._epochs = RunText(run, event), event.epochs
            done, total = event.first_step - 1, event.epochs * event.steps_per_epoch
            self._task = self._bar.add_task("training", total=total, completed=done, rate="")
            self._bar.start()
        if self._text is None:
            return
        if isinstance(event, StepDone):
            self._text.count(event)
            self._bar.update(
                self._task,
                completed=event.step,
                description=f"epoch {event.epoch}/{self._epochs}  loss {event.losses['total']:.4f}",
                rate=f"{event.samples_per_second:.0f} samples/s",
            )
            return
        if isinstance(event, RunEnded):
            self._bar.stop()
        for line in self._text.lines(event):
            self._bar.console.print(line, soft_wrap=True)
