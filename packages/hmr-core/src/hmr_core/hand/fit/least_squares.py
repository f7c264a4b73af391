"""The least-squares fit: Levenberg-Marquardt on rotations, shape and place, a whole batch, each sample on its own.

What is minimised for each sample, in square metres (x_j the hand's joints, y_j the measured ones, R_k the rotations,
S_k what they are expected to be, b the betas):

    sum over the 21 joints of rho(|x_j - y_j|^2)  +  (n / s)^2 * sum over the 16 rotations of |R_k - S_k|^2 / 2
                                                  +  n^2 * |b|^2

with n the expected error of a joint, s that of a rotation (for small angles |R - S|^2 / 2 is the squared angle), and
betas of variance 1 as the hand model is made. So it is the most probable hand, were all errors Gaussian;
rho(q) = q c^2 / (q + c^2) (Geman & McClure, 1985) is q for small errors and bounded for large ones, so that a joint
that is off by many times c no longer counts.

Where a joint turns about one axis more readily than about another, prior.py says how the rotations' terms change.

The matrix of a step has the shape of an arrow (arrow.py). What little a finger moves the tip of another is left out of
that matrix, and of nothing else: the gradient is the whole one, so that the minimum is the true one.

The batch is the last axis (see chain.py), but for the linear algebra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hmr_core.hand.fit.arrow import solve_arrow
from hmr_core.hand.fit.chain import POINTS_IN_OPENPOSE, HandChain, PosedChain
from hmr_core.hand.fit.jacobian import finger_jacobian, tangent_gradient
from hmr_core.hand.fit.matrices import times
from hmr_core.hand.fit.prior import PosePrior
from hmr_core.hand.fit.rodrigues import turn_by

R = TypeVar("R", bound="FittedHands | PosedChain")
H = TypeVar("H", bound="FittedHands")

NOISE_MM = 5.0
"""The expected error of a joint on each axis, unless told otherwise."""

OUTLIER, LEAST_OUTLIER = 6.0, 0.03
"""c over n, and c at least in metres: a joint that is off by c costs half of what it can cost at most. Where a fit
starts, tips are off by some 20 mm, however exact the joints are.
"""

ROWS = (0, *POINTS_IN_OPENPOSE)
"""The OpenPose joints in the order of a chain: the wrist, then the points by finger."""

SETTLED = 1e-3
"""The share of the cost below which a change ends a sample's iterations, unless told otherwise: they converge
quadratically.
"""

DAMPING, LEAST_DAMPING, EASED, RAISED = 1e-3, 1e-7, 0.1, 10.0
"""Marquardt's damping: at first, at least, and its factors after a step that was taken and one that was not."""


class Step(NamedTuple):
    """A change of hands: tangents of their rotations, betas, place; or the gradient by these."""

    rotations: Float[Tensor, "16 3 batch"]
    betas: Float[Tensor, "10 batch"]
    place: Float[Tensor, "3 batch"]


@dataclass(frozen=True, kw_only=True)
class FittedHands:
    """What is fitted: local rotations, betas, and the place of the wrist in metres."""

    local: Float[Tensor, "16 3 3 batch"]
    betas: Float[Tensor, "10 batch"]
    place: Float[Tensor, "3 batch"]

    def moved(self, step: Step) -> FittedHands:
        """These hands after a step."""
        turns, _ = turn_by(step.rotations)
        return FittedHands(local=times(self.local, turns), betas=self.betas + step.betas, place=self.place + step.place)


@dataclass(frozen=True)
class Solution(Generic[H]):
    """Fitted hands, how far their joints are off on each of some axes (in the order of ROWS), and the cost."""

    hands: H
    off: Float[Tensor, "21 axes batch"]
    cost: Float[Tensor, "batch"]

    def far(self, distance: float) -> Bool[Tensor, "21 batch"]:
        """Which joints are off by more than some metres."""
        return self.off.square().sum(1) > distance**2

    def improve(self, samples: Int64[Tensor, "chosen"], other: Solution[H]) -> None:
        """Take over another solution of some of the samples, in place, where its cost is lower."""
        lower = other.cost < self.cost[samples]
        chosen, better = samples[lower], lower.nonzero()[:, 0]
        for name, array in vars(self.hands).items():
            array[..., chosen] = vars(other.hands)[name][..., better]
        self.off[..., chosen] = other.off[..., better]
        self.cost[chosen] = other.cost[better]


@dataclass(frozen=True, kw_only=True)
class LeastSquares:
    """What is minimised. measured: joints in the order of ROWS. noise: n, metres."""

    chain: HandChain
    measured: Float[Tensor, "21 3 batch"]
    prior: PosePrior
    noise: float

    def of(self, samples: Int64[Tensor, "chosen"]) -> LeastSquares:
        """The same for some of the samples."""
        return replace(self, measured=self.measured.index_select(-1, samples), prior=self.prior.of(samples))

    @property
    def outlier(self) -> float:
        """c, metres."""
        return max(OUTLIER * self.noise, LEAST_OUTLIER)

    @property
    def beta_weight(self) -> float:
        """n^2, square metres per square beta."""
        return self.noise**2

    def off(self, hands: FittedHands, posed: PosedChain) -> Float[Tensor, "21 3 batch"]:
        """x - y."""
        points = torch.cat([hands.place[None], posed.points.flatten(0, 1) + hands.place])
        return points - self.measured

    def cost(self, hands: FittedHands, off: Float[Tensor, "21 3 batch"]) -> Float[Tensor, "batch"]:
        """The value of what is minimised."""
        square, bound = off.square().sum(1), self.outlier**2
        data = (square * (bound / (square + bound))).sum(0)
        return data + self.prior.cost(hands.local) + self.beta_weight * hands.betas.square().sum(0)

    def stepped(
        self, hands: FittedHands, posed: PosedChain, off: Float[Tensor, "21 3 batch"], damping: Float[Tensor, "batch"]
    ) -> FittedHands:
        """The hands after a step."""
        return hands.moved(self.step(hands, posed, off, damping))

    def step(
        self, hands: FittedHands, posed: PosedChain, off: Float[Tensor, "21 3 batch"], damping: Float[Tensor, "batch"]
    ) -> Step:
        """The damped Gauss-Newton step, each joint with the weight that its error gives it now."""
        bound = self.outlier**2
        root = bound / (off.square().sum(1) + bound)  # the root of the weight
        gradient = self.gradient(hands, posed, off)
        batch = root.shape[-1]
        jacobian = finger_jacobian(self.chain, posed) * root[1:].reshape(5, 4, 1, 1, batch)
        rows = jacobian.reshape(1500, batch).T.contiguous().view(batch, 5, 12, 25)
        matrix = rows.mT @ rows
        more = 1 + damping[:, None]
        own, shared = matrix[:, :, :9, :9], matrix[:, :, 9:, 9:].sum(1)
        own_diagonal, shared_diagonal = own.diagonal(dim1=2, dim2=3), shared.diagonal(dim1=1, dim2=2)
        of_wrist, of_fingers = self.prior.matrices
        own += of_fingers
        own_diagonal *= more[:, None]
        shared[:, :3, :3] += of_wrist
        shared_diagonal[:, 3:13] += self.beta_weight
        shared_diagonal[:, 13:] += root[0].square()[:, None]  # the wrist moves with its place alone
        shared_diagonal *= more
        by_own = gradient.rotations[1:].reshape(5, 9, batch).permute(2, 0, 1)
        by_shared = torch.cat([gradient.rotations[0], gradient.betas, gradient.place]).T
        fingers, common = solve_arrow(own, matrix[:, :, :9, 9:], shared, by_own, by_shared)
        found = -common.T
        rotations = torch.cat([found[:3], -fingers.T]).reshape(16, 3, batch)
        return Step(rotations, found[3:13], found[13:])

    def gradient(self, hands: FittedHands, posed: PosedChain, off: Float[Tensor, "21 3 batch"]) -> Step:
        """Half the gradient of the cost."""
        bound = self.outlier**2
        pull = off * (bound / (off.square().sum(1, keepdim=True) + bound)).square()
        by_local, by_betas = self.chain.pull_back(posed, pull[1:].reshape(5, 4, 3, pull.shape[-1]))
        by_local += self.prior.gradient
        by_betas += self.beta_weight * hands.betas
        return Step(tangent_gradient(hands.local, by_local), by_betas, pull.sum(0))


@runtime_checkable
class Problem(Protocol[H]):
    """What minimise is told: a cost of hands, and a way down. off: on each axis by how much each joint is off."""

    @property
    def chain(self) -> HandChain:
        """What poses the hands."""
        ...

    def of(self, samples: Int64[Tensor, "chosen"]) -> Problem[H]:
        """The same for some of the samples."""
        ...

    def off(self, hands: H, posed: PosedChain) -> Float[Tensor, "21 axes batch"]:
        """How far the joints are off."""
        ...

    def cost(self, hands: H, off: Float[Tensor, "21 axes batch"]) -> Float[Tensor, "batch"]:
        """The value of what is minimised."""
        ...

    def stepped(
        self, hands: H, posed: PosedChain, off: Float[Tensor, "21 axes batch"], damping: Float[Tensor, "batch"]
    ) -> H:
        """The hands after a damped step."""
        ...


def minimise(problem: Problem[H], hands: H, steps: int, *, least: float = SETTLED) -> Solution[H]:
    """The hands after at most some iterations; a step that raises the cost is not taken.

    least: the share of the cost below which a change ends a sample's iterations. A sample that has settled leaves the
    batch, so that its result is its own.
    """
    posed = problem.chain.pose(hands.local, hands.betas)
    off = problem.off(hands, posed)
    cost = problem.cost(hands, off)
    damping = torch.full_like(cost, DAMPING)
    left = torch.arange(len(cost), device=cost.device)
    done: list[tuple[Tensor, Solution[H]]] = []
    for _ in range(steps):
        trial = problem.stepped(hands, posed, off, damping)
        trial_posed = problem.chain.pose(trial.local, trial.betas)
        trial_off = problem.off(trial, trial_posed)
        trial_cost = problem.cost(trial, trial_off)
        better = trial_cost < cost  # false for a step that is not finite
        settled = (trial_cost - cost).abs() <= least * cost
        damping = torch.where(better, damping * EASED, damping * RAISED).clamp(min=LEAST_DAMPING)
        hands = select(better, trial, hands)
        off, cost = torch.where(better, trial_off, off), torch.where(better, trial_cost, cost)
        if bool(settled.all()):
            break
        posed = select(better, trial_posed, posed)
        if bool(settled.any()):
            out, stay = settled.nonzero()[:, 0], (~settled).nonzero()[:, 0]
            done.append((left[out], Solution(take(hands, out), off[..., out], cost[out])))
            problem, hands, posed = problem.of(stay), take(hands, stay), take(posed, stay)
            off, cost, damping, left = off.index_select(-1, stay), cost[stay], damping[stay], left[stay]
    done.append((left, Solution(hands, off, cost)))
    order = torch.cat([index for index, _ in done]).argsort()
    parts = [part for _, part in done]
    together = join([part.hands for part in parts], order)
    off = torch.cat([part.off for part in parts], dim=-1)[..., order]
    return Solution(together, off, torch.cat([part.cost for part in parts])[order])


def begin(
    chain: HandChain,
    joints: Float[Tensor, "batch 21 3"],
    rotations: Float[Tensor, "batch 16 3"],
    *,
    noise: float,
    start_error: float,
    stiffness: Float[Tensor, "16 3 3"] | None = None,
) -> tuple[LeastSquares, FittedHands]:
    """What to minimise, and the hands to begin with: rotations as given, mean shape, placed by the median joint.

    joints: metres. rotations: what they are expected to be. noise, start_error: n and s. stiffness: A; None: 1.
    """
    measured = joints[:, list(ROWS)].permute(1, 2, 0).contiguous()
    local, _ = turn_by(rotations.permute(1, 2, 0).contiguous())
    betas, place = joints.new_zeros(10, len(joints)), joints.new_zeros(3, len(joints))
    if stiffness is None:
        stiffness = torch.eye(3, dtype=joints.dtype, device=joints.device).expand(16, 3, 3)
    problem = LeastSquares(
        chain=chain,
        measured=measured,
        prior=PosePrior(expected=local, stiffness=stiffness[..., None], weight=(noise / start_error) ** 2),
        noise=noise,
    )
    off = problem.off(FittedHands(local=local, betas=betas, place=place), chain.pose(local, betas))
    return problem, FittedHands(local=local, betas=betas, place=-off.median(0).values)


def select(chosen: Bool[Tensor, "batch"], one: R, other: R) -> R:
    """The samples of one record of arrays where chosen, of another elsewhere."""
    first, second = vars(one), vars(other)
    return type(one)(**{name: torch.where(chosen, first[name], second[name]) for name in first})


def take(record: R, samples: Int64[Tensor, "chosen"]) -> R:
    """Some samples of a record of arrays."""
    return type(record)(**{name: array.index_select(-1, samples) for name, array in vars(record).items()})


def join(records: Sequence[R], order: Int64[Tensor, "batch"]) -> R:
    """Records of arrays of some samples each, one after the other, and then in an order."""
    arrays = [vars(record) for record in records]
    return type(records[0])(**{name: torch.cat([a[name] for a in arrays], dim=-1)[..., order] for name in arrays[0]})
