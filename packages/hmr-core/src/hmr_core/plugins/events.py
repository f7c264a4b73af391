"""What happens in a training run, as `hmr_on_event` is told it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """Training begins, or goes on after a resume, with epoch `first_epoch` (the first of all is 1)."""

    first_epoch: int
    epochs: int
    steps_per_epoch: int
    train_samples: int
    val_samples: int
    parameters: int
    device: str
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """One step of the optimizer. step counts from 1 over the whole run; losses are the model's terms and `total`."""

    epoch: int
    step: int
    losses: Mapping[str, float]
    learning_rate: float
    samples_per_second: float


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """An epoch's mean losses and, where there is a val subset, its metrics (keys of a report's `metrics`)."""

    epoch: int
    step: int
    losses: Mapping[str, float]
    val: Mapping[str, float | None]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved:
    """A checkpoint is on disk, whole."""

    epoch: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class RunEnded:
    """A run ended. reason: "finished", "interrupted", or a text that begins with "stopped by an error"; epoch: the last
    that was done.
    """

    epoch: int
    seconds: float
    reason: str


Event = RunStarted | StepDone | EpochDone | CheckpointSaved | RunEnded
