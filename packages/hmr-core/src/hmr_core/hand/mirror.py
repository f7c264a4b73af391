"""The other hand: a hand model mirrored in the plane x = 0, and a left one whose shape directions were not."""

from __future__ import annotations

from dataclasses import replace

import torch

from hmr_core.hand.model import HandModel


def mirrored(model: HandModel) -> HandModel:
    """Make the left hand of a right one, or the other way round; mirroring twice gives the model again.

    Points change the sign of x. A rotation R becomes M R M with M = diag(-1, 1, 1): of its axis-angle vector, a
    pseudo-vector, y and z change sign, and so does each matrix entry of which one index is x. Faces are turned round,
    so that they look outwards still.
    """
    point = model.template.new_tensor([-1.0, 1.0, 1.0])
    turn = model.template.new_tensor([1.0, -1.0, -1.0]).repeat(15)
    entry = torch.outer(point, point).reshape(9).repeat(15)
    return replace(
        model,
        side="left" if model.side == "right" else "right",
        template=model.template * point,
        faces=model.faces[:, [0, 2, 1]],
        shape_dirs=model.shape_dirs * point[:, None],
        pose_dirs=model.pose_dirs * point[:, None] * entry,
        pose_components=model.pose_components * turn,
        pose_mean=model.pose_mean * turn,
    )


def mended(left: HandModel, right: HandModel) -> HandModel:
    """Make the left model whose shape directions are the right one's mirror image.

    MANO's own left file has x of them with the right hand's sign, so that betas mean something else on the left than on
    the right; many who fit hands change it (https://github.com/vchoutas/smplx/issues/48). A left model in which it was
    changed already is given back as it is.
    """
    x, other = left.shape_dirs[:, 0], right.shape_dirs[:, 0]
    if (x - other).norm() >= (x + other).norm():
        return left
    return replace(left, shape_dirs=left.shape_dirs * left.template.new_tensor([-1.0, 1.0, 1.0])[:, None])
