"""Scaling of the loss, so that small gradients do not vanish in float16 (Micikevicius et al., 2018).

PyTorch's own GradScaler does it. Off, as in any other precision, it passes everything on as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hmr_core.errors import HmrError
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.weights.checkpoints import SCALER

SCALE, TRACKER = f"{SCALER}scale", f"{SCALER}growth_tracker"
"""What a resume needs of a scaler: the factor, and how many steps went well since it changed."""


def make_scaler(config: TrainConfig, device: torch.device) -> torch.amp.GradScaler:
    """The scaler of a run on a device; on for train.precision=float16 alone."""
    return torch.amp.GradScaler(device.type, enabled=config.precision == "float16")


def scaler_tensors(scaler: torch.amp.GradScaler) -> dict[str, Tensor]:
    """The scaler's state as tensors on the CPU, for a checkpoint; empty where it is off."""
    if not scaler.is_enabled():
        return {}
    state = scaler.state_dict()
    return {
        SCALE: torch.tensor(state["scale"], dtype=torch.float64),
        TRACKER: torch.tensor(state["_growth_tracker"], dtype=torch.int64),
    }


def load_scaler(scaler: torch.amp.GradScaler, tensors: Mapping[str, Tensor]) -> None:
    """Give the scaler the state that `scaler_tensors` made; one that is off takes nothing."""
    if scaler.is_enabled():
        own = {"scale": float(tensors[SCALE]), "_growth_tracker": int(tensors[TRACKER])}
        scaler.load_state_dict({**scaler.state_dict(), **own})


def has_overflowed(scaler: torch.amp.GradScaler, model: nn.Module, norms: Mapping[str, float]) -> bool:
    """Whether a gradient is too large for float16 with the loss scaled as it is; never where the scaler is off.

    norms: of the gradients, by the parameters' names. One that is infinite although its gradient is finite is none.
    """
    if not scaler.is_enabled() or all(map(math.isfinite, norms.values())):
        return False
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return not all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def check_scale(scaler: torch.amp.GradScaler, when: str) -> None:
    """HmrError where gradients overflowed so often that the scale fell below 1. when: the step, in words.

    One step that overflows is skipped, and the scale halved: that is normal. Below 1 it would make gradients smaller
    than they are, and still they overflow.
    """
    if scaler.is_enabled() and scaler.get_scale() < 1:
        raise HmrError(
            f"gradients do not fit into float16 {when}: the loss was scaled down to {scaler.get_scale():g} times "
            "itself, and they still overflow. Set train.precision=bfloat16, which has the range of float32, or float32."
        )
