"""What the fit of image and joints minimises: least squares on points of the picture and joints in space together.

For each hand (u_j the points of the picture at depth 1, y_j the measured joints, x_j the hand's joints relative to its
wrist, p the wrist's place, R_k, S_k and A_k the rotations and what they are expected to be, b the betas):

    sum over the 21 points of  v_j rho(|pi(x_j + p) - u_j|^2 / m^2)
      +  sum over the 21 joints of  w_j rho(|x_j - o - s y_j|^2 / n^2)
      +  the cost of the rotations (prior.py)  +  |b|^2  +  (log s / t)^2

with m and n the expected errors of a point and of a joint on each axis, v and w the weights given to them, pi the
projection and rho(q) = q c^2 / (q + c^2) (Geman & McClure, 1985). So a point that is wildly off counts no more, be it
in the picture or in space. The measured joints have an origin o and a scale s of their own: they tell the pose, and
little of the size, which the hand model's betas tell as well.

The place is varied as (x / z, y / z, log z): along the picture by what is seen, and in depth by a share of it, so that
the depth stays positive and all unknowns are of like size. The origin belongs to the measured joints alone and the
place to the picture alone. The matrix of a step has the shape of an arrow (arrow.py), with the wrist's rotation, betas,
place, origin and scale shared by the fingers. The batch is the last axis (see chain.py), but for the linear algebra.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hmr_core.hand.fit.arrow import solve_arrow
from hmr_core.hand.fit.chain import HandChain, PosedChain
from hmr_core.hand.fit.jacobian import finger_jacobian, tangent_gradient
from hmr_core.hand.fit.least_squares import FittedHands
from hmr_core.hand.fit.matrices import times
from hmr_core.hand.fit.prior import PosePrior
from hmr_core.hand.fit.rodrigues import turn_by

NEAREST_M = 0.02
"""Points nearer than this are projected as if they were there: behind the camera there is no picture of them."""

OUTLIER = 4.0
"""c: the number of expected errors at which a point or joint costs half of what it can cost at most."""

LEAST_OUTLIER_M, LEAST_OUTLIER_SHARE = 0.04, 0.06
"""c times the expected error at least, of joints and, by the hand's size, of points: where a fit starts, tips are off
by this much, however exact the measurements are.
"""

LARGEST_STEP = 1.0
"""By how much the logarithm of a depth or of the scale changes at most in a step."""

WRIST, BETAS, PLACE, ORIGIN, SCALE = slice(0, 3), slice(3, 13), slice(13, 16), slice(16, 19), 19
"""The shared unknowns among each other; a finger's own nine stand before them."""


@dataclass(frozen=True, kw_only=True)
class PlacedHands(FittedHands):
    """Hands before a camera, and where and how large the measured joints are: o in metres, relative to the wrist, and
    the logarithm of s.
    """

    origin: Float[Tensor, "3 batch"]
    log_scale: Float[Tensor, "batch"]


class ImageStep(NamedTuple):
    """A change of placed hands: tangents of their rotations, betas, the place as (x / z, y / z, log z), origin, scale;
    or the gradient by these.
    """

    rotations: Float[Tensor, "16 3 batch"]
    betas: Float[Tensor, "10 batch"]
    place: Float[Tensor, "3 batch"]
    origin: Float[Tensor, "3 batch"]
    log_scale: Float[Tensor, "batch"]


class Projection(NamedTuple):
    """Placed hands as their derivatives need them.

    x, y: x / z and y / z of each joint, and inverse: 1 / z. moves: 1 where its depth moves it in the picture. eased:
    c^2 / (q + c^2) of the picture's points and of the joints, the root of what rho takes of a squared error's pull.
    """

    x: Float[Tensor, "21 batch"]
    y: Float[Tensor, "21 batch"]
    inverse: Float[Tensor, "21 batch"]
    moves: Float[Tensor, "21 batch"]
    eased: Float[Tensor, "2 21 batch"]


@dataclass(frozen=True, kw_only=True)
class ImageLeastSquares:
    """What is minimised. seen, joints: u and y, in the order of ROWS. weights: v and w. point_noise, joint_noise: m (at
    depth 1) and n (metres). size: of the hand in the picture, at depth 1. scale_error: t. holds_shape: whether betas
    stay.
    """

    chain: HandChain
    seen: Float[Tensor, "21 2 batch"]
    joints: Float[Tensor, "21 3 batch"]
    weights: Float[Tensor, "2 21 batch"]
    point_noise: Float[Tensor, "batch"]
    joint_noise: float
    size: Float[Tensor, "batch"]
    prior: PosePrior
    scale_error: float
    holds_shape: bool

    def of(self, samples: Int64[Tensor, "chosen"]) -> ImageLeastSquares:
        """The same for some of the samples."""
        arrays = {name: getattr(self, name).index_select(-1, samples) for name in ("seen", "joints", "weights")}
        return replace(
            self,
            **arrays,
            point_noise=self.point_noise[samples],
            size=self.size[samples],
            prior=self.prior.of(samples),
        )

    @cached_property
    def bound(self) -> Float[Tensor, "2 1 batch"]:
        """c^2, of points and of joints."""
        points = (LEAST_OUTLIER_SHARE * self.size / self.point_noise).clamp(min=OUTLIER)
        joints = torch.full_like(points, max(OUTLIER, LEAST_OUTLIER_M / self.joint_noise))
        return torch.stack([points, joints]).square()[:, None]

    def off(self, hands: PlacedHands, posed: PosedChain) -> Float[Tensor, "21 5 batch"]:
        """By how many expected errors points (2 axes) and joints (3 axes) are off."""
        points = wrist_and_fingers(posed)
        placed = points + hands.place
        pixels = placed[:, :2] / placed[:, 2:].clamp(min=NEAREST_M)
        measured = hands.log_scale.exp() * self.joints + hands.origin
        return torch.cat([(pixels - self.seen) / self.point_noise, (points - measured) * (1 / self.joint_noise)], dim=1)

    def cost(self, hands: PlacedHands, off: Float[Tensor, "21 5 batch"]) -> Float[Tensor, "batch"]:
        """The value of what is minimised."""
        square, bound = _squares(off), self.bound
        data = (self.weights * square * (bound / (square + bound))).sum((0, 1))
        shape, scale = hands.betas.square().sum(0), (hands.log_scale / self.scale_error).square()
        return data + self.prior.cost(hands.local) + shape + scale

    def stepped(
        self, hands: PlacedHands, posed: PosedChain, off: Float[Tensor, "21 5 batch"], damping: Float[Tensor, "batch"]
    ) -> PlacedHands:
        """The hands after a step."""
        return moved(hands, self.step(hands, posed, off, damping))

    def step(
        self, hands: PlacedHands, posed: PosedChain, off: Float[Tensor, "21 5 batch"], damping: Float[Tensor, "batch"]
    ) -> ImageStep:
        """The damped Gauss-Newton step, each point with the weight that its error gives it now."""
        batch = off.shape[-1]
        at = self.project(hands, posed, off)
        gradient = self.gradient(hands, posed, off, at)
        fingers, wrist = self.weighted_jacobian(hands, posed, at)
        rows = fingers.reshape(2900, batch).T.contiguous().view(batch, 5, 20, 29)
        matrix = rows.mT @ rows
        alone = wrist.permute(2, 0, 1)
        more = 1 + damping[:, None]
        own, shared = matrix[:, :, :9, :9], matrix[:, :, 9:, 9:].sum(1)
        own_diagonal, shared_diagonal = own.diagonal(dim1=2, dim2=3), shared.diagonal(dim1=1, dim2=2)
        of_wrist, of_fingers = self.prior.matrices
        own += of_fingers
        own_diagonal *= more[:, None]
        shared[:, WRIST, WRIST] += of_wrist
        shared[:, 13:, 13:] += alone.mT @ alone
        shared_diagonal[:, BETAS] += 1
        shared_diagonal[:, SCALE] += 1 / self.scale_error**2
        shared_diagonal *= more
        by_own = gradient.rotations[1:].reshape(5, 9, batch).permute(2, 0, 1)
        by_shared = torch.cat(
            [gradient.rotations[0], gradient.betas, gradient.place, gradient.origin, gradient.log_scale[None]]
        ).T
        own_step, shared_step = solve_arrow(own, matrix[:, :, :9, 9:], shared, by_own, by_shared)
        found = -shared_step.T
        rotations = torch.cat([found[WRIST], -own_step.T]).reshape(16, 3, batch)
        return ImageStep(rotations, found[BETAS], found[PLACE], found[ORIGIN], found[SCALE])

    def project(self, hands: PlacedHands, posed: PosedChain, off: Float[Tensor, "21 5 batch"]) -> Projection:
        """What the derivatives need."""
        placed = wrist_and_fingers(posed) + hands.place
        inverse = 1 / placed[:, 2].clamp(min=NEAREST_M)
        moves = (placed[:, 2] > NEAREST_M).to(inverse.dtype)
        eased = self.bound / (_squares(off) + self.bound)
        return Projection(placed[:, 0] * inverse, placed[:, 1] * inverse, inverse, moves, eased)

    def gradient(
        self, hands: PlacedHands, posed: PosedChain, off: Float[Tensor, "21 5 batch"], at: Projection
    ) -> ImageStep:
        """Half the gradient of the cost."""
        pull = self.weights * at.eased.square()
        by_pixels = off[:, :2] * (pull[0] / self.point_noise)[:, None]
        by_joints = off[:, 2:] * (pull[1] * (1 / self.joint_noise))[:, None]
        by_depth = -(at.x * by_pixels[:, 0] + at.y * by_pixels[:, 1]) * at.moves
        by_placed = torch.cat([by_pixels, by_depth[:, None]], dim=1) * at.inverse[:, None]
        by_points = by_placed + by_joints
        by_local, by_betas = self.chain.pull_back(posed, by_points[1:].reshape(5, 4, 3, off.shape[-1]))
        by_local += self.prior.gradient
        by_betas = torch.zeros_like(by_betas) if self.holds_shape else by_betas + hands.betas
        on_place = by_placed.sum(0)
        depth = hands.place[2]
        by_place = torch.stack([on_place[0] * depth, on_place[1] * depth, (on_place * hands.place).sum(0)])
        by_scale = -hands.log_scale.exp() * (by_joints * self.joints).sum((0, 1))
        by_scale += hands.log_scale / self.scale_error**2
        return ImageStep(tangent_gradient(hands.local, by_local), by_betas, by_place, -by_joints.sum(0), by_scale)

    def weighted_jacobian(
        self, hands: PlacedHands, posed: PosedChain, at: Projection
    ) -> tuple[Float[Tensor, "5 4 5 29 batch"], Float[Tensor, "5 7 batch"]]:
        """The derivatives of off by the unknowns, each times the root of its weight.

        Of each finger's points by the finger's own joints and what is shared; and of the wrist, which moves with place,
        origin and scale alone.
        """
        batch, x, y = at.x.shape[-1], at.x, at.y
        root = self.weights.sqrt() * at.eased
        along = at.inverse * root[0] / self.point_noise
        across = along * at.moves
        of_joints = root[1] * (1 / self.joint_noise)
        # By place, origin and scale, of all 21.
        placed = x.new_zeros(21, 5, 7, batch)
        depth = hands.place[2]
        placed[:, 0, 0] = placed[:, 1, 1] = along * depth
        placed[:, 0, 2] = along * hands.place[0] - across * (x * depth)
        placed[:, 1, 2] = along * hands.place[1] - across * (y * depth)
        placed[:, 2, 3] = placed[:, 3, 4] = placed[:, 4, 5] = -of_joints
        placed[:, 2:, 6] = self.joints * (-hands.log_scale.exp() * of_joints)[:, None]
        moved = finger_jacobian(self.chain, posed)[:, :, :, :22]
        if self.holds_shape:
            moved[:, :, :, 12:] = 0
        jacobian = x.new_empty(5, 4, 5, 29, batch)
        along, across, of_joints, x, y = (a[1:].view(5, 4, 1, batch) for a in (along, across, of_joints, x, y))
        deeper = moved[:, :, 2] * across
        jacobian[:, :, 0, :22] = moved[:, :, 0] * along - deeper * x
        jacobian[:, :, 1, :22] = moved[:, :, 1] * along - deeper * y
        torch.mul(moved, of_joints[:, :, None], out=jacobian[:, :, 2:, :22])
        jacobian[:, :, :, 22:] = placed[1:].view(5, 4, 5, 7, batch)
        return jacobian, placed[0]


def wrist_and_fingers(posed: PosedChain) -> Float[Tensor, "21 3 batch"]:
    """The 21 joints relative to the wrist, in the order of ROWS."""
    fingers = posed.points.flatten(0, 1)
    return torch.cat([torch.zeros_like(fingers[:1]), fingers])


def moved(hands: PlacedHands, step: ImageStep) -> PlacedHands:
    """The hands after a step."""
    turns, _ = turn_by(step.rotations)
    along = hands.place[:2] / hands.place[2] + step.place[:2]
    depth = hands.place[2] * step.place[2].clamp(-LARGEST_STEP, LARGEST_STEP).exp()
    return PlacedHands(
        local=times(hands.local, turns),
        betas=hands.betas + step.betas,
        place=torch.cat([along * depth, depth[None]]),
        origin=hands.origin + step.origin,
        log_scale=hands.log_scale + step.log_scale.clamp(-LARGEST_STEP, LARGEST_STEP),
    )


def _squares(off: Float[Tensor, "21 5 batch"]) -> Float[Tensor, "2 21 batch"]:
    """The squared distances of points and of joints, in expected errors."""
    square = off.square()
    return torch.stack([square[:, :2].sum(1), square[:, 2:].sum(1)])
