"""What happens in a training run, as `hmr_on_event` is told it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """Training begins, or goes on after a resume, with step `first_step` of the run, in epoch `first_epoch`.

    The first of all are 1. processes: how many share the work. arithmetic: how they compute, in words.
    """

    first_epoch: int
    first_step: int
    epochs: int
    steps_per_epoch: int
    train_samples: int
    val_samples: int
    parameters: int
    device: str
    processes: int
    arithmetic: str
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """One step of the optimizer. step counts from 1 over the whole run; losses are the model's terms and `total`.

    gradient_norm: the L2 norm of all gradients together, before clipping; None where some overflowed in float16, so
    that the weights were left as they are. samples_per_second: of all processes together. data_wait: the share of the
    step's time in which it waited for its batch, 0 to 1. device_memory_mb: the most that a GPU held so far, in 10^6
    bytes; None on other devices.
    """

    epoch: int
    step: int
    losses: Mapping[str, float]
    learning_rate: float
    gradient_norm: float | None
    samples_per_second: float
    data_wait: float
    device_memory_mb: float | None


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
    """A checkpoint is on disk, whole. epoch, step: how many are done."""

    epoch: int
    step: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class RunEnded:
    """A run ended. epoch: the last that was done.

    reason: a text that begins with "finished" ("finished early" where train.patience ended it), "interrupted" or
    "stopped by an error", or what the observer said that stopped it ("pruned").
    """

    epoch: int
    seconds: float
    reason: str


Event = RunStarted | StepDone | EpochDone | CheckpointSaved | RunEnded
