"""The published fit: HandTailor's objective and 20 steps of Adam, as OakInk-HMR runs them, a whole batch at once.

Lv et al., HandTailor: Towards High-Precision Monocular 3D Hand Recovery, BMVC 2021. What is computed, its oddities
included, is held by the golden file iknet_fit; the gradient is written out and tested against autograd. The batch is
the last axis inside (see chain.py).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.hand.fit.chain import MIDDLE_FINGER, HandChain, to_chain
from hmr_core.hand.fit.rodrigues import pull_back_turn, turn_by
from hmr_core.hand.joints import MIDDLE_MCP
from hmr_core.hand.solver import measured_bone

START_WEIGHT, SHAPE_WEIGHT = 0.01, 0.01
GEOMETRY_WEIGHT, PLANE_WEIGHT, DIRECTION_WEIGHT = 100.0, 10_000.0, 100_000.0
RATE, DECAY, EPSILON = 0.03, 0.5, 1e-8
ROTATIONS, BETAS, BONE = slice(0, 48), slice(48, 58), 58
"""The rows of the variables: axis-angle vectors, betas, and the length that the geometry terms take bone 0-9 to have.
"""


class Objective(NamedTuple):
    """What is minimised for each sample. start: the mean of the starts that a sample is pulled towards; wrist, target:
    the measured wrist and the fingers' points relative to joint 9, in units of bone 0-9.
    """

    chain: HandChain
    start: Float[Tensor, "48 batch"]
    wrist: Float[Tensor, "3 batch"]
    target: Float[Tensor, "5 4 3 batch"]


def objective_for(
    chain: HandChain, joints: Float[Tensor, "batch 21 3"], starts: Float[Tensor, "batch 16 3"], prior_group: int
) -> Objective:
    """The objective for measured joints (metres) and the rotations to start from.

    prior_group: how many consecutive samples share their starts. The published code takes the mean over its whole
    batch of (rotations of one sample - starts of all samples)^2, by an unintended broadcast: that is the distance to
    the batch's mean start, plus a constant. 1 is what the paper means; a last group may be smaller.
    """
    flat = starts.flatten(1)
    groups = torch.split(flat, prior_group)
    start = torch.cat([group.mean(0, keepdim=True).expand_as(group) for group in groups])
    target = (joints - joints[:, MIDDLE_MCP : MIDDLE_MCP + 1]) / measured_bone(joints)[:, None, None]
    return Objective(chain, start.T.contiguous(), target[:, 0].T.contiguous(), to_chain(target))


def gradient_of(objective: Objective, variables: Float[Tensor, "59 batch"]) -> Float[Tensor, "59 batch"]:
    """The gradient of each sample's loss; the loss itself is not needed for the fit, and written out in its tests."""
    chain, start, wrist_target, target = objective
    batch = variables.shape[-1]
    local, turn = turn_by(variables[ROTATIONS].view(16, 3, batch))
    posed = chain.pose(local, variables[BETAS])

    # The hand in units of its own bone 0-9, which is measured anew at each step: scale is no variable.
    knuckle = posed.points[MIDDLE_FINGER, 0]
    inverse = (knuckle * knuckle).sum(0).rsqrt()
    points = (posed.points - knuckle) * inverse
    wrist = -knuckle * inverse
    off, wrist_off = points - target, wrist - wrist_target

    # Each finger's three bones, in units of the fitted bone: the only place where that one enters.
    bone = variables[BONE]
    unit_bones = points[:, :3] - points[:, 1:]
    bones = unit_bones * bone
    ab, bc, cd = bones.unbind(1)
    first, second = torch.linalg.cross(ab, bc, dim=1), torch.linalg.cross(bc, cd, dim=1)
    volume = (first * cd).sum(1)  # of a finger that leaves its plane
    bend = (first * second).sum((0, 1))  # below zero where fingers bend both ways, summed over the fingers

    # The gradient, backwards.
    by_first = first.new_empty(5, 3, 3, batch)
    plane = volume.sign()[:, None] * (GEOMETRY_WEIGHT * PLANE_WEIGHT / 5)
    wrong_way = (bend < 0) * (-GEOMETRY_WEIGHT * DIRECTION_WEIGHT)
    by_first[:, 0] = plane * second + wrong_way * torch.linalg.cross(bc, second, dim=1)
    by_first[:, 1] = plane * torch.linalg.cross(cd, ab, dim=1)
    by_first[:, 1] += wrong_way * (torch.linalg.cross(second, ab, dim=1) + torch.linalg.cross(cd, first, dim=1))
    by_first[:, 2] = plane * first + wrong_way * torch.linalg.cross(first, bc, dim=1)
    gradient = torch.empty_like(variables)
    gradient[BONE] = (by_first * unit_bones).sum((0, 1, 2))
    by_first *= bone
    by_points = off * (2 / 63)
    by_points[:, :3] += by_first
    by_points[:, 1:] -= by_first
    # Through the division by the layer's bone and the centring, both by the knuckle.
    by_wrist = wrist_off * (2 / 63)
    stretch = (by_points * points).sum((0, 1, 2)) + (by_wrist * wrist).sum(0)
    by_points *= inverse
    by_points[MIDDLE_FINGER, 0] -= by_points.sum((0, 1)) + (by_wrist - stretch * wrist) * inverse
    by_local, by_betas = chain.pull_back(posed, by_points)
    gradient[ROTATIONS] = pull_back_turn(turn, by_local).view(48, batch)
    gradient[ROTATIONS].add_(variables[ROTATIONS] - start, alpha=2 * START_WEIGHT / 48)
    torch.add(by_betas, variables[BETAS], alpha=2 * SHAPE_WEIGHT, out=gradient[BETAS])
    return gradient


def fit(
    chain: HandChain,
    joints: Float[Tensor, "batch 21 3"],
    starts: Float[Tensor, "batch 16 3"],
    *,
    steps: int = 20,
    prior_group: int = 1,
) -> tuple[Float[Tensor, "batch 16 3"], Float[Tensor, "batch 10"]]:
    """The rotations and betas after some steps of Adam, from the starts and betas of zero.

    joints: metres. A group of prior_group samples must not be cut by the caller.
    """
    objective = objective_for(chain, joints, starts, prior_group)
    variables = joints.new_zeros(59, len(joints))
    variables[ROTATIONS] = starts.flatten(1).T
    variables[BONE] = measured_bone(joints)
    mean, square = torch.zeros_like(variables), torch.zeros_like(variables)
    for step in range(steps):
        gradient = gradient_of(objective, variables)
        mean.lerp_(gradient, 1 - DECAY)
        square.mul_(DECAY).addcmul_(gradient, gradient, value=1 - DECAY)
        # One power more than Adam's own correction has (Kingma & Ba, 2015): the published code counts steps from 1
        # and adds one.
        correction = 1 - DECAY ** (step + 2)
        variables.addcdiv_(mean, (square / correction).sqrt_().add_(EPSILON), value=-RATE / correction)
    return variables[ROTATIONS].T.reshape(-1, 16, 3), variables[BETAS].T.contiguous()
