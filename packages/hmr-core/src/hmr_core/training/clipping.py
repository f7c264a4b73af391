"""The norms of gradients, and clipping by them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def gradient_norms(model: nn.Module) -> dict[str, Tensor]:
    """The L2 norm of each parameter tensor's gradient, by name; those without a gradient are left out."""
    return {
        name: torch.linalg.vector_norm(parameter.grad)
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def clip_each(model: nn.Module, norms: Mapping[str, Tensor], max_norm: float) -> None:
    """Scale each parameter tensor's gradient to an L2 norm of at most max_norm, each by itself, as published.

    norms: of the gradients as they are, by the parameters' names; finite ones.
    """
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            parameter.grad.mul_((max_norm / (norms[name] + 1e-6)).clamp(max=1))
