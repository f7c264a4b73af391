"""Joints and mesh of the rotations and betas that a model predicts."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from hmr_core.hand.layer import HandLayer
from hmr_core.nn.model import Prediction


def pose(
    layer: HandLayer | None, prediction: Prediction, root: Float[Tensor, "batch 3"], *, root_joint: int
) -> Prediction:
    """The prediction with joints and verts of its rotations and betas, float32.

    root: where the root joint is put, metres, camera space; so are the points that come out.
    Raises ValueError without a layer, and for a prediction without rotations or betas: check_model tells of both.
    """
    if layer is None:
        raise ValueError("the model predicts rotations, and has no hand to pose: its spec must say needs_hand=True")
    if prediction.rotations is None or prediction.betas is None:
        raise ValueError("a model that predicts a hand's parameters must give rotations and betas")
    hand = layer(prediction.rotations.float(), prediction.betas.float(), centre=root_joint)
    return replace(prediction, joints=hand.joints + root[:, None], verts=hand.verts + root[:, None])
