"""Where the time of training's steps goes, operator by operator: PyTorch's profiler over some of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hmr_core.errors import UsageError
from hmr_core.plugins.events import Event, RunEnded, RunStarted, StepDone
from hmr_core.plugins.run import Run
from hmr_core.training.watchers import Tell, tell_on_stderr
from hmr_core.wording import counted

if TYPE_CHECKING:
    import torch

FOLDER, OPERATORS = "profile", "operators.txt"
"""In a run's folder: where profiles are, and the table of the costliest operators."""

WARM_UP = 2
"""Steps before those that are recorded: the first ones allocate, choose algorithms and start workers."""

COSTLIEST = 10
"""Operators in the table."""

_SILENT = "6"
"""Kineto's level above all that it logs: by itself it writes lines on the screen where it starts and ends."""


class Profile:
    """Records some steps of a run, from the third on: a trace, and a table of the operators that cost most.

    steps: how many to record. tell: takes a line for the user. What comes between two steps, a checkpoint or
    validation, belongs to the later one.
    """

    def __init__(self, steps: int, tell: Tell = tell_on_stderr) -> None:
        if steps < 1:
            raise UsageError(f"a profile of {steps} steps: it takes one at least.")
        self._steps, self._tell = steps, tell
        self._profiler: torch.profiler.profile | None = None
        self._first_step = self._last_step = 0

    def __call__(self, run: Run, event: Event) -> None:
        """Begin with the run, count its steps, and end when enough of them were recorded, or with the run."""
        if isinstance(event, RunStarted):
            self._profiler = self._begin(run, event)
        elif self._profiler is None:
            return
        elif isinstance(event, StepDone):
            self._last_step = event.step
            self._profiler.step()
        elif isinstance(event, RunEnded):
            self._profiler.stop()
            self._profiler = None
            if self._last_step < self._first_step:
                self._tell(f"note: no profile: it begins after {counted(WARM_UP, 'step')}, and there were no more")

    def _begin(self, run: Run, started: RunStarted) -> torch.profiler.profile:
        from torch import profiler

        os.environ.setdefault("KINETO_LOG_LEVEL", _SILENT)
        on_gpu = started.device.startswith("cuda")
        made = profiler.profile(
            activities=[profiler.ProfilerActivity.CPU, *([profiler.ProfilerActivity.CUDA] if on_gpu else [])],
            schedule=profiler.schedule(wait=0, warmup=WARM_UP, active=self._steps, repeat=1),
            on_trace_ready=lambda recorded: self._write(run.folder / FOLDER, recorded, on_gpu=on_gpu),
            record_shapes=True,
        )
        self._first_step = started.first_step + WARM_UP
        made.start()
        return made

    def _write(self, folder: Path, recorded: torch.profiler.profile, *, on_gpu: bool) -> None:
        if self._last_step < self._first_step:
            return
        folder.mkdir(exist_ok=True)
        trace = folder / f"steps-{self._first_step}-{self._last_step}.json"
        recorded.export_chrome_trace(str(trace))
        cost = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        table = recorded.key_averages().table(sort_by=cost, row_limit=COSTLIEST)
        (folder / OPERATORS).write_text(table + "\n", encoding="utf-8")
        self._tell(
            f"profile of steps {self._first_step} to {self._last_step}: {trace} (chrome://tracing or ui.perfetto.dev "
            f"shows it); the costliest operators: {folder / OPERATORS}"
        )
