"""Joints and mesh of what a model of joints predicts."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from hmr_core.hand.layer import HandLayer
from hmr_core.nn.model import Prediction


def pose(layer: HandLayer, prediction: Prediction, root: Float[Tensor, "batch 3"], *, root_joint: int) -> Prediction:
    """The prediction with joints and verts of its rotations and betas, float32.

    root: where the root joint is put, metres, camera space; so are the points that come out.
    Raises ValueError when it has no rotations or betas, which a model of joints must predict.
    """
    if prediction.rotations is None or prediction.betas is None:
        raise ValueError("a model that consumes joints must predict rotations and betas")
    hand = layer(prediction.rotations.float(), prediction.betas.float(), centre=root_joint)
    return replace(prediction, joints=hand.joints + root[:, None], verts=hand.verts + root[:, None])
