"""The learning-rate schedule."""

from __future__ import annotations

import math

from hmr_core.plugins.recipes import TrainConfig


def learning_rate(config: TrainConfig, epoch: int, step: int, steps_per_epoch: int) -> float:
    """The rate of a step; epoch and step count from 1. A milestone m takes effect after m epochs."""
    if config.schedule == "cosine":
        return 0.5 * config.learning_rate * (1 + math.cos(math.pi * (step - 1) / (config.epochs * steps_per_epoch)))
    return config.learning_rate * config.gamma ** sum(epoch > milestone for milestone in config.milestones)
