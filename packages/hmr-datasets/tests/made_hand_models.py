"""Hand models that stand for MANO's: the synthetic hand with a mean pose and components of a look-alike data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float64
from numpy import ndarray

from hmr_core.hand.mirror import mirrored
from hmr_core.hand.model import HandModel, save_hand_model
from hmr_core.hand.synthetic import load_synthetic_hand


def mano_models(space: tuple[Float64[ndarray, "45"], Float64[ndarray, "45 45"]]) -> tuple[HandModel, HandModel]:
    """The right and the left hand. space: the right one's mean pose and components."""
    mean, components = (torch.from_numpy(array) for array in space)
    right = replace(load_synthetic_hand(), name="mano", pose_mean=mean, pose_components=components)
    return right, mirrored(right)


def unmended(left: HandModel) -> HandModel:
    """The left hand as MANO's file has it: x of the shape directions with the right hand's sign."""
    return replace(left, shape_dirs=left.shape_dirs * torch.tensor([[-1.0], [1.0], [1.0]], dtype=torch.float64))


def saved(model: HandModel, folder: Path) -> Path:
    """The model's file."""
    path = folder / f"{model.side}.npz"
    save_hand_model(model, path)
    return path
