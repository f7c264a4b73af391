"""The fit of image and joints: a hand whose joints project to points of the picture and lie as measured in space.

A network that sees a picture tells well where joints are in it, and less well how they lie in space: its own skeleton
has bones of no fixed length, and its own origin and size. The picture alone leaves open which way a finger points, and
the joints in space alone put the mesh beside the hand. Together, with what a hand can do, they give a hand that lies
on the picture. What is minimised stands in image_least_squares.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hmr_core.errors import UsageError
from hmr_core.geometry.camera import project
from hmr_core.hand.fit.chain import HandChain
from hmr_core.hand.fit.expected_errors import NOISE_MM, NOISE_SHARE, SCALE_ERROR
from hmr_core.hand.fit.from_mean_pose import ERROR, MeanPose, fit_from_mean_pose
from hmr_core.hand.fit.image_least_squares import (
    NEAREST_M,
    ImageLeastSquares,
    PlacedHands,
    wrist_and_fingers,
)
from hmr_core.hand.fit.least_squares import ROWS, FittedHands, Solution, join, minimise, take
from hmr_core.hand.fit.matrices import times, times_vector
from hmr_core.hand.fit.outliers import Anatomy
from hmr_core.hand.fit.placing import place_in_picture
from hmr_core.hand.fit.posing import to_hand_fit
from hmr_core.hand.fit.prior import PosePrior
from hmr_core.hand.fit.rodrigues import turn_by
from hmr_core.hand.fit.sight import Sight, look_at
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.solver import HandFit

STEPS = 20
"""The most iterations, unless told otherwise."""

LEAST_CHANGE = 0.02
"""The share of the cost below which a change ends a hand's iterations. With a twentieth of it there are half as many
iterations again, and no hand is closer to the truth (tools/study_photo_fit.py).
"""

POOR = 1.6
"""The cost for each known point and joint above which a fit begins again, from the fit to the joints alone: about one
in a hundred ends in a minimum that is not the lowest.
"""

COLLAPSED = 0.08
"""The share of the hand's size by which half of the points are off in a fit that went wrong."""

TURNED_AWAY = 1.2
"""Radians that a fitted wrist is turned from where the measured palm has it in a fit that went wrong."""

MISSHAPEN = 4.0
"""The root mean square of betas, which are of variance 1, in a fit that went wrong."""

REACH_M = 0.4
"""Farther than any part of a hand is from its wrist."""

CHUNK = 128
"""Hands that are fitted at once: more leave the processor's cache."""


@dataclass(frozen=True, kw_only=True)
class ImageFit(HandFit):
    """Fitted hands in camera space, metres.

    off_px: how far each joint is from its point in the picture, NaN where no point was known. from_joints_alone:
    whether the fit of both went wrong, so that this is the fit to the joints alone, put where the picture has the hand.
    """

    off_px: Float[Tensor, "batch 21"]
    from_joints_alone: Bool[Tensor, "batch"]


class ImageFitter:
    """Fits a layer's hand to points of pictures and joints in space. layer: float32, of the hands' side.

    It keeps what does not depend on the hands: for a video, make it once.
    """

    def __init__(self, layer: HandLayer) -> None:
        self.layer, device = layer, layer.template.device
        self.chain = HandChain(layer.model, torch.float32, device)
        self.anatomy = Anatomy(layer.model, torch.float32, device)
        self.mean_pose = MeanPose(layer.model, torch.float32, device)

    @torch.no_grad()
    def __call__(
        self,
        joints_px: Float[Tensor, "batch 21 2"],
        joints: Float[Tensor, "batch 21 3"],
        intrinsics: Float[Tensor, "batch 3 3"],
        *,
        seen_at_px: Float[Tensor, "batch 2"] | None = None,
        point_weights: Float[Tensor, "batch 21"] | None = None,
        joint_weights: Float[Tensor, "batch 21"] | None = None,
        noise_px: float | None = None,
        noise_mm: float = NOISE_MM,
        betas: Float[Tensor, "batch 10"] | None = None,
        start: HandFit | None = None,
        steps: int = STEPS,
    ) -> ImageFit:
        """Fit hands to points of pictures and to joints in space together, each hand on its own.

        A left hand is mirrored by the caller (hmr_core.geometry.mirror), or fitted with a left hand's layer. joints_px:
        pixels, OpenPose order. joints: metres, of any origin and roughly of a hand's size; their axes are those of
        camera space or, where seen_at_px is given, of a camera that is turned to look along the ray of that pixel: what
        networks say that see nothing but a crop, of which it is the middle. intrinsics: of each hand's picture.
        point_weights, joint_weights: 1, or 0 for a point or joint that is not known, which may then be anything.
        noise_px, noise_mm: the expected errors on each axis; noise_px None: NOISE_SHARE of the hand's size in the
        picture. betas: the shape, which is then held. start: hands close to these, as of a video's last frame, in
        camera space: the fit begins there. steps: the most iterations.

        Where the fit goes wrong it is the one to the joints alone, put where the picture has the hand, and says so.
        Returns float32 on the points' device, metres, camera space. Raises UnsolvableJointsError, naming the first
        hand, for values that are not finite, points in one place, fewer known ones than FEWEST, and intrinsics that are
        no camera's.
        """
        for name, noise in (("noise_px", noise_px), ("noise_mm", noise_mm)):
            if noise is not None and not 0 < noise < float("inf"):
                raise UsageError(f"{name}={noise}; valid: a number above 0.")
        sight = look_at(
            joints_px,
            joints,
            intrinsics,
            point_weights=point_weights,
            joint_weights=joint_weights,
            seen_at_px=seen_at_px,
            noise_px=noise_px,
            noise_share=NOISE_SHARE,
        )
        parts, alone = [], []
        for chosen in torch.split(torch.arange(len(joints_px)), CHUNK):
            part = Sight(**{name: array[chosen].to(self.chain.device) for name, array in vars(sight).items()})
            hands = None if start is None else seen_along(part, start, chosen)
            shape = None if betas is None else betas[chosen].to(part.points).T.contiguous()
            found, from_joints = self._fit(part, noise_mm / 1000, hands, shape, steps)
            parts.append(in_camera_space(part, found))
            alone.append(from_joints)
        posed, device = to_hand_fit(self.layer, join(parts, torch.arange(len(joints_px)))), joints_px.device
        fit = HandFit(**{name: array.to(device) for name, array in vars(posed).items()})
        off_px = torch.linalg.vector_norm(project(fit.joints.double(), intrinsics.double()) - joints_px, dim=-1)
        if point_weights is not None:
            off_px = torch.where(point_weights > 0, off_px, torch.nan)
        return ImageFit(**vars(fit), off_px=off_px.float(), from_joints_alone=torch.cat(alone).to(device))

    def _fit(
        self,
        sight: Sight,
        noise: float,
        start: FittedHands | None,
        betas: Float[Tensor, "10 batch"] | None,
        steps: int,
    ) -> tuple[FittedHands, Bool[Tensor, "batch"]]:
        """The hands in the frames of their rays, and which of them are fitted to the joints alone."""
        problem = self.problem(sight, noise, holds_shape=betas is not None)
        expected = problem.prior.expected
        if start is None:
            begun = begin(
                problem, expected, expected.new_zeros(10, len(sight.size)) if betas is None else betas, sight.size
            )
        else:
            begun = begin(problem, start.local, start.betas if betas is None else betas, sight.size, start.place)
        solution = minimise(problem, begun, steps, least=LEAST_CHANGE)
        poor = went_wrong(problem, solution, sight.size) | (solution.cost > POOR * problem.weights.sum((0, 1)))
        from_joints = torch.zeros_like(poor)
        if bool(poor.any()):
            chosen = poor.nonzero()[:, 0]
            joints = self.anatomy.filled(sight.joints[chosen], sight.joint_weights[chosen])
            alone = fit_from_mean_pose(self.chain, self.anatomy, self.mean_pose, joints, noise=noise)
            shape = alone.betas if betas is None else betas[:, chosen]
            problem, size = problem.of(chosen), sight.size[chosen]
            placed = begin(problem, alone.local, shape, size)
            solution.improve(chosen, minimise(problem, placed, steps, least=LEAST_CHANGE))
            best = Solution(take(solution.hands, chosen), solution.off[..., chosen], solution.cost[chosen])
            lost = went_wrong(problem, best, size)
            from_joints[chosen] = lost
            for name, array in vars(solution.hands).items():
                array[..., chosen[lost]] = vars(placed)[name][..., lost]
        hands = solution.hands
        return FittedHands(local=hands.local, betas=hands.betas, place=hands.place), from_joints

    def problem(self, sight: Sight, noise: float, *, holds_shape: bool) -> ImageLeastSquares:
        """What is minimised, in the frames of the hands' rays. noise: of a joint, metres."""
        joints = self.anatomy.filled(sight.joints, sight.joint_weights)
        wrong, which = self.anatomy.wrong_joint(joints, noise)
        palm = self.anatomy.palm_turn(torch.where(wrong[:, None, None], self.anatomy.guess(joints, which), joints))
        expected, _ = turn_by(self.mean_pose.laid_on(palm).permute(1, 2, 0).contiguous())
        rows = list(ROWS)
        weights = torch.stack([sight.point_weights, sight.joint_weights])[..., rows]
        return ImageLeastSquares(
            chain=self.chain,
            seen=sight.points[:, rows].permute(1, 2, 0).contiguous(),
            joints=sight.joints[:, rows].permute(1, 2, 0).contiguous(),
            weights=weights.permute(0, 2, 1).contiguous(),
            point_noise=sight.point_noise,
            joint_noise=noise,
            size=sight.size,
            prior=PosePrior(expected=expected, stiffness=self.mean_pose.stiffness[..., None], weight=1 / ERROR**2),
            scale_error=SCALE_ERROR,
            holds_shape=holds_shape,
        )


def begin(
    problem: ImageLeastSquares,
    local: Float[Tensor, "16 3 3 batch"],
    betas: Float[Tensor, "10 batch"],
    size: Float[Tensor, "batch"],
    place: Float[Tensor, "3 batch"] | None = None,
) -> PlacedHands:
    """Hands of a pose and shape, put where the picture has them unless a place is given, and the measured joints there.

    size: of the hand in the picture, at depth 1.
    """
    points = wrist_and_fingers(problem.chain.pose(local, betas))
    off = torch.where(problem.weights[1, :, None] > 0, points - problem.joints, torch.nan)
    if place is None:
        place = place_in_picture(points, problem.seen, problem.weights[0], size)
    origin = off.nanmedian(0).values
    return PlacedHands(local=local, betas=betas, place=place, origin=origin, log_scale=torch.zeros_like(size))


def went_wrong(
    problem: ImageLeastSquares, solution: Solution[PlacedHands], size: Float[Tensor, "batch"]
) -> Bool[Tensor, "batch"]:
    """Which fits collapsed: their cost is not finite, half of the points are far off, the wrist is turned away from the
    measured palm, the shape is no hand's, or a part of the hand is behind the camera.
    """
    hands = solution.hands
    error = torch.linalg.vector_norm(solution.off[:, :2], dim=1) * (problem.point_noise / size)
    error = torch.where(problem.weights[0] > 0, error, torch.nan).nanmedian(0).values
    turned = (hands.local[0] * problem.prior.expected[0]).sum((0, 1)) < 1 + 2 * math.cos(TURNED_AWAY)
    misshapen = hands.betas.square().mean(0) > MISSHAPEN**2
    wrong = ~torch.isfinite(solution.cost) | (error > COLLAPSED) | turned | misshapen
    close = hands.place[2] < REACH_M
    if bool(close.any()):
        depth = problem.chain.pose(hands.local, hands.betas).points[:, :, 2].amin((0, 1)) + hands.place[2]
        wrong |= torch.minimum(depth, hands.place[2]) < NEAREST_M
    return wrong


def seen_along(sight: Sight, hands: HandFit, chosen: Int64[Tensor, "chosen"]) -> FittedHands:
    """Some hands of camera space in the frames of their rays."""
    to_ray = sight.turn.mT
    rotations, place = hands.rotations[chosen].to(to_ray), hands.joints[chosen, 0].to(to_ray)
    local, _ = turn_by(rotations.permute(1, 2, 0).contiguous())
    local[0] = times(to_ray.permute(1, 2, 0), local[0])
    return FittedHands(
        local=local,
        betas=hands.betas[chosen].to(to_ray).T.contiguous(),
        place=times_vector(to_ray.permute(1, 2, 0), place.T),
    )


def in_camera_space(sight: Sight, hands: FittedHands) -> FittedHands:
    """Hands of their rays' frames in camera space."""
    turn, local = sight.turn.permute(1, 2, 0), hands.local.clone()
    local[0] = times(turn, hands.local[0])
    return FittedHands(local=local, betas=hands.betas, place=times_vector(turn, hands.place))
