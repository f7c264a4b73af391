"""One step of training: forward, loss, backward, and the optimizer if all of it is finite."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from hmr_core.data.batch import Batch
from hmr_core.plugins.failures import failures_told
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.plugins.specs import ModelSpec
from hmr_core.processes import Group
from hmr_core.training.clipping import clip, gradient_norms
from hmr_core.training.divergence import StepPlace, refuse_non_finite
from hmr_core.training.losses import SharedLosses
from hmr_core.training.state import TrainingState


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step measured over the whole batch.

    losses: the model's terms and their "total". gradient_norm: the L2 norm of all gradients together, before clipping.
    """

    losses: dict[str, float]
    gradient_norm: float


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed what a model draws in a step, such as dropout, by these alone: then nothing has to be saved of it."""
    (drawn,) = np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64).tolist()
    torch.manual_seed(drawn)


def take_step(
    state: TrainingState,
    parts: Sequence[Batch],
    at: StepPlace,
    *,
    losses: SharedLosses,
    spec: ModelSpec,
    config: TrainConfig,
    group: Group,
) -> StepResult:
    """Move the state by one step. The parts of this process and of all others are equally large; they make the batch.

    Raises HmrError when the model fails, and when a loss or a gradient is not finite, before the optimizer sees it.
    """
    model = state.model
    seed_step(config.seed, at.step, group.rank)
    state.optimizer.zero_grad(set_to_none=True)
    measured = torch.zeros(0)
    names: list[str] = []
    for number, part in enumerate(parts):
        device = str(part.targets.root.device)
        told = failures_told(f'the model "{spec.name}"', at.when, samples=len(part.ids), device=device)
        with told, nullcontext() if number == len(parts) - 1 else losses.kept_back():
            terms = losses(part)
            names = [*terms, "total"]
            values = torch.stack(list(terms.values()))
            total = values.sum()
            torch.autograd.backward(total / len(parts))
            values = torch.cat([values, total[None]]).detach() / len(parts)
            measured = values if number == 0 else measured + values
    norms = gradient_norms(model)
    # One wait for the device, not one for each term and gradient.
    numbers = torch.cat([group.mean(measured), *(norm[None] for norm in norms.values())]).tolist()
    step_losses = dict(zip(names, numbers, strict=False))
    refuse_non_finite(step_losses, dict(zip(norms, numbers[len(names) :], strict=True)), model, at)
    clip(model, norms, config)
    for param_group in state.optimizer.param_groups:
        param_group["lr"] = at.learning_rate
    state.optimizer.step()
    state.step += 1
    return StepResult(losses=step_losses, gradient_norm=float(np.linalg.norm(numbers[len(names) :])))
