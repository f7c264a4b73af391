"""MANO's pose space: finger poses by principal components, and the mean pose.

The hand layer takes rotations relative to the flat hand. MANO's own pose space is centred on the mean pose of the hands
that it was made from (Romero et al., 2017, section 4.2); what is given there becomes relative to the flat hand here.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.hand.model import HandModel


def from_components(
    model: HandModel, wrist: Float[Tensor, "batch 3"], coefficients: Float[Tensor, "batch k"]
) -> Float[Tensor, "batch 16 3"]:
    """Make axis-angle rotations (radians, MANO's joint order) of the first k pose components, without the mean pose.

    wrist: the wrist's own axis-angle. Raises ValueError for more than 45 coefficients.
    """
    components = model.pose_components.to(coefficients)
    if coefficients.shape[1] > len(components):
        raise ValueError(f"{coefficients.shape[1]} pose coefficients; a hand model has {len(components)} components")
    fingers = coefficients @ components[: coefficients.shape[1]]
    return torch.cat([wrist[:, None], fingers.reshape(-1, 15, 3)], dim=1)


def add_mean_pose(model: HandModel, rotations: Float[Tensor, "batch 16 3"]) -> Float[Tensor, "batch 16 3"]:
    """Make axis-angle rotations relative to the flat hand of ones relative to the mean pose; the wrist's stays.

    The sum is one of axis-angle values, as MANO defines it, not a product of rotations.
    """
    fingers = model.pose_mean.to(rotations).reshape(1, 15, 3)
    return torch.cat([rotations[:, :1], rotations[:, 1:] + fingers], dim=1)
