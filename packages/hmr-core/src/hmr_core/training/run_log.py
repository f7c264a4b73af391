"""What a run writes down of itself: metrics.jsonl, what was measured, and train.log, what was said."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

from hmr_core.files import read_bytes
from hmr_core.plugins.events import CheckpointSaved, EpochDone, Event, RunStarted, StepDone
from hmr_core.plugins.run import Run
from hmr_core.staging import append_text
from hmr_core.training.run_text import RunText, how_it_ended

LOG_EVERY = 20
"""Steps between two whose metrics are written; the first of a run and the last of each epoch are written besides."""

_COMMAND = "command: "
"""How the first line of each process that trains a run begins."""


def is_written(step: int, steps_per_epoch: int) -> bool:
    """Whether a step's metrics are written, to whichever file."""
    return step == 1 or step % LOG_EVERY == 0 or step % steps_per_epoch == 0


class RunLog:
    """Writes a run's events into its folder."""

    def __init__(self) -> None:
        self._text: RunText | None = None
        self._steps_per_epoch = 1

    def __call__(self, run: Run, event: Event) -> None:
        """Write down an event. Raises HmrError when a file cannot be written."""
        if isinstance(event, RunStarted):
            self._text, self._steps_per_epoch = RunText(run, event), event.steps_per_epoch
        if isinstance(event, EpochDone):
            _measured(run, "epoch", event)
        elif isinstance(event, StepDone) and is_written(event.step, self._steps_per_epoch):
            _measured(run, "step", event)
        lines = _how_it_began(run) if isinstance(event, RunStarted) else []
        lines += self._text.lines(event) if self._text else []
        lines += [f"checkpoint {event.path}"] if isinstance(event, CheckpointSaved) else []
        for line in lines:
            log_line(run, line)


def log_line(run: Run, line: str) -> None:
    """Write a line into train.log, with the time; HmrError when it cannot be written."""
    text = line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")  # paths are any bytes
    append_text(run.log, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


def last_line(run: Run) -> str:
    """The last line of a run's log, with its time; empty where there is none."""
    return next(reversed(_lines(run)), "")


def last_ending(run: Run) -> str | None:
    """Why the last process that trained a run ended, as its log says; None where it ended without a word."""
    for line in reversed(_lines(run)):
        said = line[len("2026-01-01 00:00:00 ") :]
        if said.startswith(_COMMAND):
            return None
        if (reason := how_it_ended(said)) is not None:
            return reason
    return None


def _lines(run: Run) -> list[str]:
    return read_bytes(run.log).decode("utf-8", "replace").splitlines() if run.log.exists() else []


def _how_it_began(run: Run) -> list[str]:
    started = run.started
    commits = [f"{what} at commit {commit}" for what, commit in started["commits"].items() if commit]
    return [
        f"{_COMMAND}{started['command']}",
        ", ".join([f"in {started['folder']} on {started['host']}", *commits]),
    ]


def _measured(run: Run, kind: str, event: StepDone | EpochDone) -> None:
    append_text(run.metrics, json.dumps({"kind": kind, **_rounded(asdict(event))}) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
