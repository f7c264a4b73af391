"""One wildly wrong joint: found by what a hand cannot be, and replaced by a guess, so that it does not spoil the start.

A network from joints to rotations sees all joints at once, and the palm's turn is found from six, so that a single
joint that is off by the size of the hand can make every rotation worthless. But bones have a length, and the palm is
nearly rigid.
"""

from __future__ import annotations

from itertools import combinations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hmr_core.hand.joints import BONES
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel

PALM = (0, 1, 5, 9, 13, 17)
"""The joints that no rotation but the wrist's moves."""

PAIRS = (*combinations(PALM, 2), *((a, b) for a, b in BONES if a != 0))
"""The joints whose distance depends on the shape alone."""

SHAPE_SPREAD = 0.25
"""By how much of a distance hands differ from the mean one; about three standard deviations."""

NOISE_SPREAD = 5.0
"""By how many expected joint errors a distance may be off besides."""

EXPLAINED = 0.9
"""The share of what is wrong that must be gone without a joint for it to be the wrong one."""

BESIDE_PALM = 0.01
"""What a finger's joint counts, against one of the palm, where the mean hand's flat fingers are laid on bent ones."""


class Anatomy:
    """The distances that a hand model's joints keep in every pose."""

    def __init__(self, model: HandModel, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        layer = HandLayer(model, torch.float64)
        rest = layer.joints(torch.zeros(1, 16, 3, dtype=torch.float64), torch.zeros(1, 10, dtype=torch.float64))[0]
        self.rest = rest.to(device=device, dtype=dtype)
        self.first, self.second = (torch.tensor(side, device=device) for side in zip(*PAIRS, strict=True))
        self.lengths = torch.linalg.vector_norm(self.rest[self.first] - self.rest[self.second], dim=-1)
        members = torch.zeros(21, len(PAIRS), dtype=dtype, device=device)
        each = torch.arange(len(PAIRS), device=device)
        members[self.first, each] = 1
        members[self.second, each] = 1
        self.members = members

    def wrong_joint(
        self, joints: Float[Tensor, "batch 21 3"], noise: float
    ) -> tuple[Bool[Tensor, "batch"], Int64[Tensor, "batch"]]:
        """Whether a single joint accounts for distances that no hand has, and which (0 where none does).

        noise: the expected error of a joint, metres.
        """
        found = torch.linalg.vector_norm(joints[:, self.first] - joints[:, self.second], dim=-1)
        allowed = SHAPE_SPREAD * self.lengths + NOISE_SPREAD * noise
        wrong = ((found - self.lengths).abs() - allowed).clamp(min=0)
        total, own = wrong.sum(1), wrong @ self.members.T
        explains = own >= EXPLAINED * total[:, None]
        # Of two joints at the ends of the only wrong bone it is the one with fewer right ones: the tip, as a rule.
        score = torch.where(explains, own / self.members.sum(1), -1.0)
        which = score.argmax(1)
        is_wrong = (total > 0) & explains.any(1)
        return is_wrong, torch.where(is_wrong, which, 0)

    def guess(self, joints: Float[Tensor, "batch 21 3"], which: Int64[Tensor, "batch"]) -> Float[Tensor, "batch 21 3"]:
        """The joints with one of each hand put where its neighbours say.

        A joint of the palm goes where it is in the mean hand, laid on the others of the palm; one of a finger between
        its neighbours, or at a tip straight on from them.
        """
        palm = list(PALM)
        weights = (which[:, None] != torch.tensor(PALM, device=which.device)).to(joints.dtype)
        put = _lay(self.rest, palm, joints[:, palm], weights)[0]
        for finger in range(5):
            base, middle, far, tip = range(1 + 4 * finger, 5 + 4 * finger)
            put[:, middle] = _between(joints, base, middle, far, self.rest)
            put[:, far] = _between(joints, middle, far, tip, self.rest)
            ratio = _distance(self.rest, far, tip) / _distance(self.rest, middle, far)
            put[:, tip] = joints[:, far] + ratio * (joints[:, far] - joints[:, middle])
        chosen = torch.nn.functional.one_hot(which, 21).bool()[..., None]
        return torch.where(chosen, put, joints)

    def filled(
        self, joints: Float[Tensor, "batch 21 3"], weights: Float[Tensor, "batch 21"]
    ) -> Float[Tensor, "batch 21 3"]:
        """The joints, and where a weight is 0 the mean hand's, laid on the known ones, most on the palm."""
        if bool((weights > 0).all()):
            return joints
        share = torch.full((21,), BESIDE_PALM, dtype=joints.dtype, device=joints.device)
        share[list(PALM)] = 1
        put, _ = _lay(self.rest, list(range(21)), joints, share * weights)
        return torch.where((weights > 0)[..., None], joints, put)

    def palm_turn(self, joints: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "batch 3 3"]:
        """The rotation that lays the mean hand's palm on a hand's."""
        palm = list(PALM)
        return _lay(self.rest, palm, joints[:, palm], joints.new_ones(len(joints), len(palm)))[1]


def _lay(
    rest: Float[Tensor, "21 3"],
    chosen: list[int],
    target: Float[Tensor, "batch k 3"],
    weights: Float[Tensor, "batch k"],
) -> tuple[Float[Tensor, "batch 21 3"], Float[Tensor, "batch 3 3"]]:
    """All joints at rest, moved and turned so that the chosen ones are closest to the target; and the turn.

    Source: Kabsch (1976).
    """
    share = (weights / weights.sum(1, keepdim=True))[..., None]
    source_mean, target_mean = (share * rest[chosen]).sum(1, keepdim=True), (share * target).sum(1, keepdim=True)
    u, _, vt = torch.linalg.svd((share * (rest[chosen] - source_mean)).mT @ (target - target_mean))
    sign = torch.ones_like(u[:, 0])
    sign[:, 2] = torch.linalg.det(u @ vt).sign()
    turn = (u * sign[:, None]) @ vt
    return (rest - source_mean) @ turn + target_mean, turn.mT


def _distance(rest: Float[Tensor, "21 3"], a: int, b: int) -> Float[Tensor, ""]:
    length: Tensor = torch.linalg.vector_norm(rest[a] - rest[b])
    return length


def _between(
    joints: Float[Tensor, "batch 21 3"], a: int, joint: int, b: int, rest: Float[Tensor, "21 3"]
) -> Float[Tensor, "batch 3"]:
    before, after = _distance(rest, a, joint), _distance(rest, joint, b)
    share = before / (before + after)
    between: Tensor = (1 - share) * joints[:, a] + share * joints[:, b]
    return between
