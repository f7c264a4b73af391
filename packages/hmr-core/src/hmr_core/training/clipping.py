"""The norms of gradients, and clipping by them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmr_core.plugins.recipes import TrainConfig


def gradient_norms(model: nn.Module) -> dict[str, Tensor]:
    """The L2 norm of each parameter tensor's gradient, by name; those without a gradient are left out."""
    gradients = _gradients(model)
    # All at once: on a GPU a handful of kernels, where one for each tensor would take longer to start than to run.
    return dict(zip(gradients, torch._foreach_norm(list(gradients.values())), strict=True))


def clip(model: nn.Module, norms: Mapping[str, float], config: TrainConfig) -> None:
    """Scale the gradients as the recipe says, if it does. norms: of the gradients as they are; finite ones."""
    if config.clip_norm is not None:
        clip_each(model, norms, config.clip_norm)
    if config.clip_global_norm is not None:
        clip_together(model, norms, config.clip_global_norm)


def clip_each(model: nn.Module, norms: Mapping[str, float], max_norm: float) -> None:
    """Scale each parameter tensor's gradient to an L2 norm of at most max_norm, each by itself, as published.

    norms: of the gradients as they are, by the parameters' names; finite ones.
    """
    gradients = _gradients(model)
    factors = dict(zip(norms, _factors(torch.tensor(list(norms.values())), max_norm), strict=True))
    # What is small enough is left alone, and the rest is scaled at once: see gradient_norms.
    large = [name for name, factor in factors.items() if factor < 1]
    if large:
        torch._foreach_mul_([gradients[name] for name in large], [factors[name] for name in large])


def clip_together(model: nn.Module, norms: Mapping[str, float], max_norm: float) -> None:
    """Scale all gradients by one factor, so that their L2 norm as one vector is at most max_norm.

    The direction of the step stays as it is. norms: as for clip_each.
    """
    (factor,) = _factors(torch.linalg.vector_norm(torch.tensor(list(norms.values())))[None], max_norm)
    if factor < 1:
        torch._foreach_mul_(list(_gradients(model).values()), factor)


def _gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def _factors(norms: Float[Tensor, " n"], max_norm: float) -> list[float]:
    """What gradients of these norms are multiplied by, in float32 as they are, so that it is PyTorch's to the bit."""
    factors: list[float] = (max_norm / (norms + 1e-6)).clamp(max=1).tolist()
    return factors
