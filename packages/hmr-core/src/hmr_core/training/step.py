"""One step of training: forward, loss, backward, and the optimizer if all of it is finite."""

from __future__ import annotations

import torch

from hmr_core.data.batch import Batch
from hmr_core.hand.layer import HandLayer
from hmr_core.nn.decode import pose_for_loss
from hmr_core.plugins.failures import failures_told
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.plugins.specs import ModelSpec
from hmr_core.training.clipping import clip_each, gradient_norms
from hmr_core.training.divergence import StepPlace, refuse_non_finite
from hmr_core.training.state import TrainingState


def take_step(
    state: TrainingState,
    batch: Batch,
    at: StepPlace,
    *,
    spec: ModelSpec,
    config: TrainConfig,
    hand: HandLayer | None,
    device: torch.device,
) -> dict[str, float]:
    """Move the state by one step on a batch; its losses: the model's terms, and their "total".

    hand: the layer, on the device, of a model that uses the hand.
    Raises HmrError when the model fails, and when a loss or a gradient is not finite, before the optimizer sees it.
    """
    model = state.model
    with failures_told(f'the model "{spec.name}"', at.when, samples=len(batch.ids), device=str(device)):
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            prediction = model(batch.inputs())
        prediction = pose_for_loss(prediction, batch.targets.root, root_joint=spec.root_joint, layer=hand)
        losses = model.loss(prediction, batch.targets)
        terms = torch.stack(list(losses.values()))
        total = terms.sum()
        state.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        norms = gradient_norms(model)
        # One wait for the device, not one for each term and gradient.
        measured = torch.cat([terms, total[None], *(norm[None] for norm in norms.values())]).tolist()
    values = dict(zip([*losses, "total"], measured, strict=False))
    refuse_non_finite(values, dict(zip(norms, measured[len(values) :], strict=True)), model, at)
    if config.clip_norm is not None:
        clip_each(model, norms, config.clip_norm)
    for group in state.optimizer.param_groups:
        group["lr"] = at.learning_rate
    state.optimizer.step()
    state.step += 1
    return values
