"""Where the root joint of a photo's hand is: no annotation gives it there, so the hand's size does."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.hand.layer import HandLayer
from hmr_core.inference.depth import bone_lengths, depth_by_size, root_in_box
from hmr_core.nn.decode import decode
from hmr_core.nn.model import Inputs, Prediction


def roots_by_size(
    prediction: Prediction, inputs: Inputs, layer: HandLayer, *, root_joint: int, side_px: float, depth: float | None
) -> Float[Tensor, "batch 3"]:
    """The root joints, metres, camera space of the crops, at which predicted hands have the hand model's size; float32.

    The bones are those of the predicted shape or, where none was predicted, of the mean one. Where nothing says in
    which place of the crop joints are, the hand is in its middle, and the longer side of its joints' box is side_px.
    depth: of the root joint, where it is known. All tensors are on the CPU but for the image, whose size alone counts.
    """
    assert inputs.intrinsics is not None
    assert inputs.image is not None
    count = len(inputs.intrinsics)

    def joints(prediction: Prediction, root_depth: float) -> Float[Tensor, "batch 21 3"]:
        root = torch.tensor([0.0, 0.0, root_depth]).expand(count, 3)
        return decode(prediction, inputs, root, root_joint=root_joint, layer=layer).joints

    if prediction.joints_uvd is None:
        posed = joints(prediction, 0.0)
        middle = inputs.image.shape[-1] / 2
        root = root_in_box(
            posed - posed[:, root_joint, None], inputs.intrinsics, middle_px=middle, side_px=side_px, depth=depth
        )
        return root.float()
    # Lifted joints are at root depth * ray + offset. u and v alone tell the ray, so the root's is of no importance.
    if depth is None:
        lifted = replace(prediction, rotations=None, betas=None)
        offsets = joints(lifted, 0.0)
        lengths = bone_lengths(layer, torch.zeros(count, 10) if prediction.betas is None else prediction.betas.float())
        depths = depth_by_size(joints(lifted, 1.0) - offsets, offsets, lengths)
    else:
        depths = torch.full((count,), depth, dtype=torch.float64)
    return torch.stack([torch.zeros_like(depths), torch.zeros_like(depths), depths], dim=1).float()
