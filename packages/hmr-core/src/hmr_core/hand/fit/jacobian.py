"""How a hand's points move with its rotations, shape and place: the derivatives that least squares needs.

A rotation is varied in its tangent space, R exp([w]) for a small w, so that no axis-angle vector comes near its
singularity. Turning a joint turns all that hangs on it about its place, by the axes that are the columns of its global
rotation. A tip, being a vertex, follows each joint above it by the skinning weights, and moves besides by what the
rotation adds to the template (the pose blend shapes). The batch is the last axis (see chain.py). Tested against finite
differences of the hand layer.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.hand.fit.chain import HandChain, PosedChain
from hmr_core.hand.fit.matrices import skew_vector, times, times_vector, transposed_times

OWN, WRIST, BETAS, PLACE = slice(0, 9), slice(9, 12), slice(12, 22), slice(22, 25)
"""The columns: tangents of the finger's own three rotations, of the wrist's, betas, the place of the wrist."""

TURNED = ((1, 2), (2, 0), (0, 1))
"""The two columns of a matrix M that M [e_i] has: its column n is M's m, and its column m is minus M's n, where
(m, n) = TURNED[i].
"""


def finger_jacobian(chain: HandChain, posed: PosedChain) -> Float[Tensor, "5 4 3 25 batch"]:
    """The derivatives of each finger's points: metres per radian, per beta and per metre.

    By the finger's own joints, the wrist, betas and place. The joints of another finger move none of its joints, and
    its tip by a little, where the pose blend shapes reach across: these entries alone are left out.
    """
    batch = posed.turns.shape[-1]
    jacobian = posed.turns.new_zeros(5, 4, 3, 25, batch)
    for axis in range(3):
        jacobian[:, :, axis, PLACE.start + axis] = 1
    _by_rotations(
        chain,
        posed,
        jacobian.view(5, 4, 3, 25 * batch)[..., : 9 * batch].view(5, 4, 3, 3, 3, batch),
        jacobian[:, :, :, WRIST],
    )
    _by_betas(chain, posed, jacobian[:, :, :, BETAS])
    return jacobian


def tangent_gradient(
    local: Float[Tensor, "16 3 3 batch"], gradient: Float[Tensor, "16 3 3 batch"]
) -> Float[Tensor, "16 3 batch"]:
    """The gradient of a scalar by the tangents of the local rotations, from that by their entries."""
    return skew_vector(transposed_times(local, gradient))


def _by_rotations(
    chain: HandChain,
    posed: PosedChain,
    own: Float[Tensor, "5 4 3 3 3 batch"],
    wrist: Float[Tensor, "5 4 3 3 batch"],
) -> None:
    batch = posed.turns.shape[-1]
    turns = posed.turns[1:].reshape(5, 3, 3, 3, batch)
    # The wrist is the origin.
    wrist[:, :3] = _turned(posed.turns[0].expand(5, 1, 3, 3, batch), posed.points[:, :3])
    for step in range(2):
        lever = posed.points[:, step + 1 : 3] - posed.points[:, step, None]
        own[:, step + 1 : 3, :, step] = _turned(turns[:, step, None], lever)
    # Where each joint alone would carry the tip, weighted; turning a joint turns what hangs on it.
    weights = chain.weights
    alone = times_vector(posed.turns, posed.posed[:, None] - posed.rest) + posed.places
    alone *= weights[:, :, None, None]
    on_wrist = alone.sum(1)
    fingers = torch.arange(5, device=weights.device)
    own_weights = weights[:, 1:].reshape(5, 5, 3)[fingers, fingers]
    hanging = alone[:, 1:].reshape(5, 5, 3, 3, batch)[fingers, fingers].flip(1).cumsum(1).flip(1)
    lever = hanging - own_weights.flip(1).cumsum(1).flip(1)[:, :, None, None] * posed.points[:, :3]
    own_tips = _turned(turns, lever)
    wrist[:, 3] = _turned(posed.turns[0].expand(5, 3, 3, batch), on_wrist)
    # The pose blend shapes: what L [e_i] adds to the tip at rest, L being the local rotation.
    local = posed.local[1:].reshape(5, 3, 3, 3, batch)
    tangent = local.new_zeros(5, 3, 3, 3, 3, batch)
    for axis, (first, second) in enumerate(TURNED):
        tangent[:, :, :, second, axis] = -local[:, :, :, first]
        tangent[:, :, :, first, axis] = local[:, :, :, second]
    own_dirs = chain.pose_dirs.view(5, 3, 5, 3, 9)[fingers, :, fingers]
    added = own_dirs.transpose(1, 2) @ tangent.view(5, 3, 9, 3 * batch)
    own_tips += times(posed.blended[:, None], added.reshape(5, 3, 3, 3, batch))
    own[:, 3] = own_tips.transpose(1, 2)


def _by_betas(chain: HandChain, posed: PosedChain, out: Float[Tensor, "5 4 3 10 batch"]) -> None:
    batch = posed.turns.shape[-1]
    bone_dirs = chain.shape_dirs[:45].view(5, 3, 3, 10, 1)
    rest_dirs = chain.shape_dirs[45:93].view(16, 3, 10, 1)
    tip_dirs = chain.shape_dirs[93:].view(5, 3, 10, 1)
    turns = posed.turns[1:].reshape(5, 3, 3, 3, batch)
    moved = out.new_zeros(16, 3, 10, batch)
    fingers = moved[1:].view(5, 3, 3, 10, batch)
    for step in range(3):
        parent = turns[:, step - 1] if step else posed.turns[0].expand(5, 3, 3, batch)
        fingers[:, step] = times(parent, bone_dirs[:, step])
        if step:
            fingers[:, step] += fingers[:, step - 1]
    out[:, :3] = fingers
    shift = (moved - times(posed.turns, rest_dirs)).reshape(16, 30 * batch)
    out[:, 3] = times(posed.blended, tip_dirs)
    out[:, 3] += (chain.weights @ shift).view(5, 3, 10, batch)


def _turned(turns: Tensor, lever: Tensor) -> Tensor:
    """axis x lever for the three columns of rotations (..., 3, 3, batch): (..., xyz, axis, batch)."""
    moved: Tensor = torch.linalg.cross(turns, lever[..., None, :], dim=-3)
    return moved
