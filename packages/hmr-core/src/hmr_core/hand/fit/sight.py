"""A hand's measured points as a camera would have them that is turned to look at the hand.

In the frame of the ray through the hand's middle nothing depends on where in the picture the hand is, on its size in
pixels, or on the camera's matrix: so the fit knows of none of these.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmr_core.errors import UsageError
from hmr_core.geometry.rays import rays, turn_to_ray
from hmr_core.hand.solver import UnsolvableJointsError

FEWEST = 4
"""Points of the picture, and joints, that must be known of a hand."""

SMALLEST = 1e-6
"""The least size of a hand, in pixels and in metres: what is smaller is in one place."""

WIDEST = 0.2
"""The cosine of the angle from a hand's middle beyond which a point is none of the hand's: it is left out."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """turn: from the frame of the ray through the hand's middle to camera space. points: at depth 1 in that frame.
    joints: metres, with the axes of that frame. point_noise: the expected error of a point on each axis, at depth 1.
    size: of the hand among the points, at depth 1. Weights are 0 where nothing is known, and what is there then is 0.
    """

    turn: Float[Tensor, "batch 3 3"]
    points: Float[Tensor, "batch 21 2"]
    joints: Float[Tensor, "batch 21 3"]
    point_weights: Float[Tensor, "batch 21"]
    joint_weights: Float[Tensor, "batch 21"]
    point_noise: Float[Tensor, "batch"]
    size: Float[Tensor, "batch"]


def look_at(
    joints_px: Float[Tensor, "batch 21 2"],
    joints: Float[Tensor, "batch 21 3"],
    intrinsics: Float[Tensor, "batch 3 3"],
    *,
    point_weights: Float[Tensor, "batch 21"] | None,
    joint_weights: Float[Tensor, "batch 21"] | None,
    seen_at_px: Float[Tensor, "batch 2"] | None,
    noise_px: float | None,
    noise_share: float,
) -> Sight:
    """The sight of each hand; float64 in between, float32 at last.

    seen_at_px: the pixel on whose ray the joints' frame is; None where their axes are those of camera space. noise_px:
    the expected error of a point; None for a share of the hand's size. Raises UnsolvableJointsError, naming the first
    hand, for points, joints and cameras that nothing can be fitted to.
    """
    points, spatial, cameras = joints_px.double(), joints.double(), intrinsics.double()
    every = points.new_ones(points.shape[:2])
    of_points = every if point_weights is None else point_weights.double()
    of_joints = every if joint_weights is None else joint_weights.double()
    _check_cameras(cameras)
    _check_known("image points", points, of_points)
    _check_known("joints", spatial, of_joints)
    points, spatial = (torch.where((w > 0)[..., None], a, 0.0) for a, w in ((points, of_points), (spatial, of_joints)))
    seen = rays(points, cameras)
    if seen_at_px is None:
        turn = turn_to_ray(median(seen, of_points > 0))
        spatial = spatial @ turn
    else:
        turn = turn_to_ray(rays(seen_at_px.double()[:, None], cameras)[:, 0])
    turned = seen @ turn
    ahead = turned[..., 2] > WIDEST * torch.linalg.vector_norm(turned, dim=-1)
    of_points = torch.where(ahead, of_points, 0.0)
    _check_known("image points that are near the ray of the hand", points, of_points)
    flat = torch.where(ahead[..., None], turned[..., :2] / turned[..., 2:], 0.0)
    size_px, size = extent(points, of_points > 0), extent(flat, of_points > 0)
    _check_size("image points", size_px, size_px <= SMALLEST)
    _check_size("joints", size_px, extent(spatial, of_joints > 0) <= SMALLEST)
    noise = noise_share * size if noise_px is None else noise_px * size / size_px
    arrays = {"turn": turn, "points": flat, "joints": spatial, "point_noise": noise, "size": size}
    weights = {"point_weights": of_points, "joint_weights": of_joints}
    return Sight(**{name: array.float() for name, array in {**arrays, **weights}.items()})


def median(points: Float[Tensor, "batch n axes"], known: Bool[Tensor, "batch n"]) -> Float[Tensor, "batch axes"]:
    """The median of the known points on each axis."""
    middle: Tensor = torch.where(known[..., None], points, torch.nan).nanmedian(1).values
    return middle


def extent(points: Float[Tensor, "batch n axes"], known: Bool[Tensor, "batch n"]) -> Float[Tensor, "batch"]:
    """The longest side of the box of the known points but the one that is farthest from their median.

    So a single point that is wildly off does not count.
    """
    distance = torch.linalg.vector_norm(points - median(points, known)[:, None], dim=-1)
    farthest = torch.where(known, distance, -1.0).argmax(1, keepdim=True)
    kept = known.scatter(1, farthest, False)[..., None]
    low, high = torch.where(kept, points, torch.inf).amin(1), torch.where(kept, points, -torch.inf).amax(1)
    return (high - low).amax(1)


def _check_cameras(intrinsics: Float[Tensor, "batch 3 3"]) -> None:
    good = torch.isfinite(intrinsics).all(2).all(1) & (torch.linalg.det(intrinsics[:, :2, :2]).abs() > 0)
    good &= (intrinsics[:, 2] == intrinsics.new_tensor([0, 0, 1])).all(1)
    if not bool(good.all()):
        reason = "its intrinsics are no camera's; valid: fx, skew, cx; 0, fy, cy; 0, 0, 1 in pixels"
        raise UnsolvableJointsError(int((~good).nonzero()[0, 0]), reason)


def _check_known(what: str, points: Float[Tensor, "batch 21 axes"], weights: Float[Tensor, "batch 21"]) -> None:
    if not bool(((weights >= 0) & torch.isfinite(weights)).all()):
        raise UsageError(f"weights of {what} that are negative or not finite; valid: 0 for unknown, 1 for known.")
    known = weights > 0
    few, wild = known.sum(1) < FEWEST, (known & ~torch.isfinite(points).all(2)).any(1)
    for index in (few | wild).nonzero()[:1, 0].tolist():
        if bool(few[index]):
            reason = f"{int(known[index].sum())} of its {what} are known, and at least {FEWEST} must be"
        else:
            reason = f"its {what} are not all finite numbers; where one is unknown, give it the weight 0"
        raise UnsolvableJointsError(index, reason)


def _check_size(what: str, size_px: Float[Tensor, "batch"], small: Bool[Tensor, "batch"]) -> None:
    for index in small.nonzero()[:1, 0].tolist():
        raise UnsolvableJointsError(index, f"its {what} are all in one place")
