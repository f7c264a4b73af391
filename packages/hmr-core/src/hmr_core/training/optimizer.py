"""The optimizer: PyTorch's Adam or AdamW, fused.

PyTorch wraps an optimizer's methods so that torch.compile leaves them alone, and their first call imports the whole
compiler (torch._dynamo, sympy): some seconds, half of a short run. No optimizer is compiled here, so the methods are
taken as they are inside; what they compute is the same to the bit.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from hmr_core.plugins.recipes import TrainConfig

_load_state = inspect.unwrap(torch.optim.Optimizer.load_state_dict)


def _load_state_dict(self: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
    """Take a saved state, each tensor laid out in memory as its parameter.

    A file keeps tensors row by row. A fused step goes through a parameter and its state by their places in memory, so
    beside a channels_last parameter it would take one weight's moments for another's.
    """
    _load_state(self, state_dict)
    for parameter, values in self.state.items():
        for key, value in values.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


class Adam(torch.optim.Adam):
    """PyTorch's Adam (Kingma and Ba, 2015) without the wrappers of its methods."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = _load_state_dict
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class AdamW(torch.optim.AdamW):
    """PyTorch's AdamW (Loshchilov and Hutter, 2019) without the wrappers of its methods."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = _load_state_dict
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The recipe's optimizer of a model that is on its device already.

    Fused: one pass over each tensor, not one for each of Adam's operations, which on a CPU took a tenth of a small
    network's step.
    """
    kind: type[Adam] | type[AdamW] = AdamW if config.optimizer == "adamw" else Adam
    return kind(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
