"""The learning-rate schedule.

With a warm-up of W steps, step s <= W has the rate that the schedule has at its start, times s / W. The cosine then
falls over the steps that remain: step W + 1 is its first, of the full rate. Milestones are counted from the run's
start, as without a warm-up.
"""

from __future__ import annotations

import math

from hmr_core.plugins.recipes import TrainConfig
from hmr_core.wording import counted


def learning_rate(config: TrainConfig, epoch: int, step: int, steps_per_epoch: int) -> float:
    """The rate of a step; epoch and step count from 1. A milestone m takes effect after m epochs."""
    warmup = config.warmup_steps
    share = 1.0 if step >= warmup else step / warmup
    if config.schedule == "multistep":
        return share * config.learning_rate * config.gamma ** sum(epoch > milestone for milestone in config.milestones)
    if step <= warmup:
        return share * config.learning_rate
    low, total = config.final_learning_rate, config.epochs * steps_per_epoch - warmup
    return low + 0.5 * (config.learning_rate - low) * (1 + math.cos(math.pi * (step - warmup - 1) / total))


def warmup_note(config: TrainConfig, steps: int) -> str | None:
    """What the user should know of a warm-up that the run is too short for. steps: of the whole run."""
    if config.warmup_steps <= steps:
        return None
    return (
        f"train.warmup_steps is {config.warmup_steps}, and the run has {counted(steps, 'step')}: the rate does not "
        "reach train.learning_rate"
    )
