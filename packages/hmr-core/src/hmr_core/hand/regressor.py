"""The 21 joints of a mesh as sums over its vertices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.hand.joints import MANO_TO_OPENPOSE, TIP_VERTICES
from hmr_core.hand.model import HandModel


def joint_regressor_21(model: HandModel, tips: Sequence[int] = TIP_VERTICES) -> Float[Tensor, "21 778"]:
    """Make the matrix that takes a mesh to its 21 joints in OpenPose order, in the type of the hand model's arrays.

    Its rows are the hand model's own 16, and for the five tips (thumb to little finger) a 1 at a vertex each.
    """
    ends = model.joint_regressor.new_zeros(len(tips), model.joint_regressor.shape[1])
    ends[range(len(tips)), list(tips)] = 1
    return torch.cat([model.joint_regressor, ends])[list(MANO_TO_OPENPOSE)]
