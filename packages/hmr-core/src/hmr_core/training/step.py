"""One step of training: forward, loss, backward, and the optimizer if all of it is finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from hmr_core.data.batch import Batch
from hmr_core.plugins.failures import failures_told
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.plugins.specs import ModelSpec
from hmr_core.processes import Group
from hmr_core.training.clipping import clip, gradient_norms
from hmr_core.training.divergence import StepNumbers, StepPlace, refuse_step
from hmr_core.training.ema import average, decay_at
from hmr_core.training.loss_scale import check_scale, has_overflowed
from hmr_core.training.losses import SharedLosses
from hmr_core.training.state import TrainingState


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step measured over the whole batch.

    losses: the model's terms and their "total". gradient_norm: the L2 norm of all gradients together, before clipping;
    None where some overflowed in float16, so that the weights were left as they are.
    """

    losses: dict[str, float]
    gradient_norm: float | None


def seed_step(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Seed what a model draws in a step, such as dropout, by these alone: then nothing has to be saved of it."""
    (drawn,) = np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64).tolist()
    if device.type == "cpu":
        # As torch.manual_seed does, which besides notes down the whole stack for each kind of device that is not there.
        torch.default_generator.manual_seed(drawn)
    else:
        torch.manual_seed(drawn)


def leave_gradients(
    losses: SharedLosses,
    *,
    parts: Sequence[Batch],
    step: int,
    when: str,
    spec: ModelSpec,
    seed: int,
    rank: int,
    scale: Callable[[Tensor], Tensor] = lambda loss: loss,
) -> tuple[list[str], Tensor]:
    """Leave the gradients of the mean loss of parts with the parameters; gives the terms' names, "total", and values.

    when: the step in words. seed: the recipe's. rank: of the process whose parts they are. scale: what the loss is
    scaled by before gradients are made of it.
    Raises HmrError when the model fails.
    """
    seed_step(seed, step, rank, parts[0].targets.root.device)
    losses.forget_gradients()
    measured = torch.zeros(0)
    names: list[str] = []
    for number, part in enumerate(parts):
        device = str(part.targets.root.device)
        told = failures_told(f'the model "{spec.name}"', when, samples=len(part.ids), device=device)
        with told, nullcontext() if number == len(parts) - 1 else losses.kept_back():
            terms = losses(part)
            names = [*terms, "total"]
            values = torch.stack(list(terms.values()))
            total = values.sum()
            torch.autograd.backward(scale(total / len(parts)))
            values = torch.cat([values, total[None]]).detach() / len(parts)
            measured = values if number == 0 else measured + values
    return names, measured


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
    leave = partial(
        leave_gradients, parts=parts, step=at.step, when=at.when, spec=spec, seed=config.seed, rank=group.rank
    )
    names, measured = leave(losses, scale=state.scaler.scale)
    state.scaler.unscale_(state.optimizer)
    norms = gradient_norms(model)
    # One wait for the device, not one for each term and gradient.
    shared = group.mean(measured.clone())
    numbers = torch.cat([shared, *(norm[None] for norm in norms.values())]).tolist()
    found = StepNumbers(
        losses=dict(zip(names, numbers, strict=False)),
        norms=dict(zip(norms, numbers[len(names) :], strict=True)),
    )
    overflowed = math.isfinite(found.losses["total"]) and has_overflowed(state.scaler, model, found.norms)
    if not found.finite and not overflowed:

        def own() -> StepNumbers:
            """What this process's parts alone give: the gradients there are now are the mean over all processes."""
            terms = dict(zip(names, measured.tolist(), strict=True))
            if not math.isfinite(found.losses["total"]):
                return StepNumbers(losses=terms, norms={})
            leave(losses.alone)
            return StepNumbers(losses=terms, norms={name: float(norm) for name, norm in gradient_norms(model).items()})

        refuse_step(found, own, parts, model, at, group)
    if not overflowed:
        clip(model, found.norms, config)
    for param_group in state.optimizer.param_groups:
        param_group["lr"] = at.learning_rate
    state.scaler.step(state.optimizer)  # which it leaves out where gradients overflowed
    state.scaler.update()
    check_scale(state.scaler, at.when)
    if state.averaged is not None and config.ema_decay is not None:
        average(state.averaged, model, decay_at(config.ema_decay, at.step))
    state.step += 1
    norm = None if overflowed else float(np.linalg.norm(numbers[len(names) :]))
    return StepResult(losses=dict(found.losses), gradient_norm=norm)
