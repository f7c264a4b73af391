"""A fit that starts from a network's rotations, and does not trust the network too far."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.geometry.rotations import matrix_to_axis_angle
from hmr_core.hand.fit.chain import HandChain
from hmr_core.hand.fit.least_squares import ROWS, FittedHands, Solution, begin, minimise
from hmr_core.hand.fit.outliers import Anatomy

STEPS = 8
"""The most iterations, unless told otherwise."""

START_ERROR = 0.12
"""Radians by which a network's rotation is expected to be off."""

MOST_OUTLIERS = 3
"""Joints that may be off by more than c for them to be wrong, rather than the fit, or the hand no hand."""

REST_ERROR = 0.5
"""s for the hand at rest, whose fingers may be bent by much more than a network errs."""


def fit_from_network(
    chain: HandChain,
    anatomy: Anatomy,
    joints: Float[Tensor, "batch 21 3"],
    infer: Callable[[Float[Tensor, "batch 21 3"]], Float[Tensor, "batch 16 3"]],
    *,
    noise: float,
    steps: int = STEPS,
) -> FittedHands:
    """The most probable hands for measured joints (metres, camera space).

    infer: the network, from joints to rotations. It is asked again for the hands of which a joint is wildly wrong:
    first with a guess in its place, then with what the fit says. Hands that stay far from their joints are fitted once
    more from the hand at rest, as if there were no network. noise: the expected error of a joint, metres.
    """
    seen = joints
    wrong, which = anatomy.wrong_joint(joints, noise)
    if bool(wrong.any()):
        seen = torch.where(wrong[:, None, None], anatomy.guess(joints, which), joints)
    problem, hands = begin(chain, joints, infer(seen), noise=noise, start_error=START_ERROR)
    solution = minimise(problem, hands, steps)
    far = solution.far(problem.outlier)
    few = (far.any(0) & (far.sum(0) <= MOST_OUTLIERS)).nonzero()[:, 0]
    if len(few):
        fitted = problem.measured[..., few] + solution.off[..., few]
        mended = joints[few]
        mended[:, list(ROWS)] = torch.where(far[:, None, few], fitted, problem.measured[..., few]).permute(2, 0, 1)
        again = begin(chain, joints[few], infer(mended), noise=noise, start_error=START_ERROR)
        solution.improve(few, minimise(*again, steps))
    lost = (solution.far(problem.outlier).sum(0) > 1).nonzero()[:, 0]  # one may be wrong
    if len(lost):
        solution.improve(lost, _from_rest(chain, anatomy, joints[lost], seen[lost], noise, steps))
    return solution.hands


def _from_rest(
    chain: HandChain,
    anatomy: Anatomy,
    joints: Float[Tensor, "batch 21 3"],
    seen: Float[Tensor, "batch 21 3"],
    noise: float,
    steps: int,
) -> Solution[FittedHands]:
    """Hands fitted from the one at rest, laid on the palm as it was seen; twice the steps, since it is a long way."""
    rotations = joints.new_zeros(len(joints), 16, 3)
    rotations[:, 0] = matrix_to_axis_angle(anatomy.palm_turn(seen))
    return minimise(*begin(chain, joints, rotations, noise=noise, start_error=REST_ERROR), 2 * steps)
