"""The average of the weights over the steps of a run (Polyak and Juditsky, 1992; exponential, as is usual now).

It is kept as the tensors of a state dict: the average of what is real (weights, batch norm's statistics), the model's
own of what counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hmr_core.plugins.recipes import TrainConfig


def average_note(config: TrainConfig) -> str | None:
    """What is validated and saved, in words, where it is an average; None where it is not."""
    if config.ema_decay is None:
        return None
    return f"a running average of the weights is validated and saved (train.ema_decay {config.ema_decay:g})"


def begin_average(model: nn.Module) -> dict[str, Tensor]:
    """The average before the first step: the model's state as it is, each tensor with memory of its own."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def decay_at(decay: float, step: int) -> float:
    """The share of the average that a step keeps; step counts from 1.

    At most (1 + step) / (10 + step), so that the first weights, which are random, are forgotten at once.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def average(averaged: Mapping[str, Tensor], model: nn.Module, decay: float) -> None:
    """Move the average, in place, towards the model's state: average = decay * average + (1 - decay) * weight.

    averaged: by the names of the model's state dict. What is no real number, such as batch norm's count, is copied.
    """
    state = model.state_dict()
    real = [name for name, tensor in averaged.items() if tensor.is_floating_point()]
    torch._foreach_lerp_([averaged[name] for name in real], [state[name] for name in real], 1 - decay)
    for name in averaged.keys() - real:
        averaged[name].copy_(state[name])


@contextmanager
def swapped_in(averaged: Mapping[str, Tensor] | None, model: nn.Module) -> Iterator[None]:
    """Let the model have the averaged state within the block, and its own again after it; None changes nothing."""
    if averaged is None:
        yield
        return
    own = begin_average(model)
    copy_state(averaged, model)
    try:
        yield
    finally:
        copy_state(own, model)


@torch.no_grad()
def copy_state(tensors: Mapping[str, Tensor], model: nn.Module) -> None:
    """Give a model the state that the tensors are, by the names of its state dict, in place."""
    for name, tensor in model.state_dict().items():
        tensor.copy_(tensors[name])
