"""The fit of image and joints: its derivatives in float64, what it reaches, what it does not depend on, and what goes
wrong.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from hmr_core.errors import UsageError
from hmr_core.geometry.alignment import align
from hmr_core.geometry.camera import project
from hmr_core.geometry.mirror import mirror_intrinsics, mirror_points, mirror_rotations
from hmr_core.geometry.rays import rays, turn_to_ray
from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hmr_core.hand.fit.chain import HandChain
from hmr_core.hand.fit.image_and_joints import NOISE_SHARE, ImageFit, ImageFitter, begin
from hmr_core.hand.fit.image_least_squares import ImageLeastSquares, PlacedHands
from hmr_core.hand.fit.least_squares import ROWS, minimise
from hmr_core.hand.fit.prior import PosePrior
from hmr_core.hand.fit.sight import look_at
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.mirror import mirrored
from hmr_core.hand.model import HandModel
from hmr_core.hand.poses import random_poses, random_shapes
from hmr_core.hand.solver import HandFit, UnsolvableJointsError
from hmr_core.hand.synthetic import load_synthetic_hand


class Seen(NamedTuple):
    """Hands before cameras, and what a network says of them that sees nothing but their crops."""

    truth: HandFit
    joints_px: Tensor
    joints: Tensor
    intrinsics: Tensor
    seen_at_px: Tensor

    @property
    def size_px(self) -> Tensor:
        return (self.joints_px.amax(1) - self.joints_px.amin(1)).amax(1)

    def fit(self, fitter: ImageFitter, **options: object) -> ImageFit:
        return fitter(self.joints_px, self.joints, self.intrinsics, seen_at_px=self.seen_at_px, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return load_synthetic_hand()


@pytest.fixture(scope="module")
def fitter(hand: HandModel) -> ImageFitter:
    return ImageFitter(HandLayer(hand))


def seen_hands(hand: HandModel, count: int = 32, seed: int = 0) -> Seen:
    """Fingers bent within their limits, turned anywhere, anywhere in pictures of 640 pixels of skewed cameras."""
    numbers, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    rotations, betas = random_poses(hand, count, numbers), random_shapes(count, numbers).float()
    rotations[:, 0] = axis_angle_to_matrix(2 * torch.randn(count, 3, generator=generator)).double()
    rotations_by_axis = matrix_to_axis_angle(rotations.float())
    posed = HandLayer(hand)(rotations_by_axis, betas)
    half = torch.tan(torch.deg2rad(15 + 30 * torch.rand(count, generator=generator)))
    intrinsics = torch.eye(3).repeat(count, 1, 1)
    intrinsics[:, 0, 0], intrinsics[:, 1, 1], intrinsics[:, 0, 1] = 320 / half, 326 / half, 3 / half
    intrinsics[:, :2, 2] = torch.tensor([310.0, 250.0])
    depth = 0.3 + torch.rand(count, 1, generator=generator)
    across = (1.2 * torch.rand(count, 2, generator=generator) - 0.6) * half[:, None]
    shift = torch.cat([across * depth, depth], dim=1)[:, None] - posed.joints[:, 9:10]
    joints = posed.joints + shift
    joints_px = project(joints.double(), intrinsics.double())
    middle = (joints_px.amin(1) + joints_px.amax(1)) / 2
    turn = turn_to_ray(rays(middle[:, None], intrinsics.double())[:, 0]).float()
    in_crop = joints @ turn
    truth = HandFit(rotations=rotations_by_axis, betas=betas, joints=joints, verts=posed.verts + shift)
    return Seen(truth, joints_px.float(), in_crop - in_crop.mean(1, keepdim=True), intrinsics, middle.float())


def pa_mm(fit: HandFit, truth: HandFit) -> Tensor:
    aligned = align(fit.joints.double(), truth.joints.double(), reflection=False)
    return 1000 * torch.linalg.vector_norm(aligned - truth.joints, dim=-1).mean(1)


def off_share(fit: ImageFit, seen: Seen) -> Tensor:
    """How far the fitted joints are from where the true ones are seen, by the hand's size."""
    pixels = project(fit.joints, seen.intrinsics)
    true = project(seen.truth.joints, seen.intrinsics)
    return torch.linalg.vector_norm(pixels - true, dim=-1).median(1).values / seen.size_px


def small_problem(hand: HandModel, *, holds_shape: bool = False) -> tuple[ImageLeastSquares, PlacedHands]:
    """Three hands in float64, some way from what is measured; one of the third's points is behind the camera."""
    generator = torch.Generator().manual_seed(3)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    expected, local = (axis_angle_to_matrix(0.3 * noise(3, 16, 3)).permute(1, 2, 3, 0).contiguous() for _ in range(2))
    stiffness = torch.tensor([[2.0, 0.5, 0], [0.5, 1, 0], [0, 0, 0.25]], dtype=torch.float64).repeat(16, 1, 1)
    place = torch.tensor([[0.1, -0.2, 0.05], [0.0, 0.1, 0.02], [0.6, 0.4, 0.08]], dtype=torch.float64)
    weights = torch.ones(2, 21, 3, dtype=torch.float64)
    weights[0, 4, 1], weights[1, 6, 2], weights[:, 0, 0] = 0, 0, 0.5
    problem = ImageLeastSquares(
        chain=HandChain(hand, torch.float64),
        seen=place[:2] / place[2] + 0.1 * noise(21, 2, 3),
        joints=0.08 * noise(21, 3, 3),
        weights=weights,
        point_noise=torch.tensor([0.01, 0.02, 0.05], dtype=torch.float64),
        joint_noise=0.008,
        size=torch.tensor([0.1, 0.4, 5.0], dtype=torch.float64),
        prior=PosePrior(expected=expected, stiffness=stiffness[..., None], weight=4.0),
        scale_error=0.2,
        holds_shape=holds_shape,
    )
    betas, origin, log_scale = 0.5 * noise(10, 3), 0.02 * noise(3, 3), 0.1 * noise(3)
    return problem, PlacedHands(local=local, betas=betas, place=place, origin=origin, log_scale=log_scale)


def unknowns(hands: PlacedHands) -> tuple[Tensor, ...]:
    """All that is varied, at no change: tangents, betas, the place as it is varied, origin, scale."""
    zeros = (torch.zeros(3, 16, 3), torch.zeros(3, 10), torch.zeros(3, 3), torch.zeros(3, 3), torch.zeros(3))
    return tuple(zero.double() for zero in zeros)


def off_by_the_layer(problem: ImageLeastSquares, hands: PlacedHands, hand: HandModel, *change: Tensor) -> Tensor:
    """The residuals (3, 21, 5), written again in terms of the hand layer."""
    tangent, betas, place, origin, log_scale = change
    local = hands.local.permute(3, 0, 1, 2) @ axis_angle_to_matrix(tangent)
    joints = HandLayer(hand, torch.float64).joints(local, hands.betas.T + betas)
    x = (joints - joints[:, :1])[:, list(ROWS)]
    p = hands.place.T
    depth = p[:, 2:] * place[:, 2:].exp()
    p = torch.cat([(p[:, :2] / p[:, 2:] + place[:, :2]) * depth, depth], dim=1)
    placed = x + p[:, None]
    points = (placed[..., :2] / placed[..., 2:].clamp(min=0.02) - problem.seen.permute(2, 0, 1)) / (
        problem.point_noise[:, None, None]
    )
    measured = (hands.log_scale + log_scale).exp()[:, None, None] * problem.joints.permute(2, 0, 1)
    measured = measured + (hands.origin.T + origin)[:, None]
    return torch.cat([points, (x - measured) / problem.joint_noise], dim=2)


def eased(problem: ImageLeastSquares, square: Tensor) -> Tensor:
    """c^2 / (q + c^2), (2, 3, 21): c is four expected errors or, if that is more, 6 % of the hand, and 40 mm."""
    of_points = (0.06 * problem.size / problem.point_noise).clamp(min=4)
    of_joints = torch.full_like(of_points, max(4.0, 0.04 / problem.joint_noise))
    bound = torch.stack([of_points, of_joints])[..., None] ** 2
    return bound / (square + bound)


def whole_cost(problem: ImageLeastSquares, hands: PlacedHands, hand: HandModel, *change: Tensor) -> Tensor:
    """What is minimised, for each hand, written again in terms of the hand layer."""
    off = off_by_the_layer(problem, hands, hand, *change)
    square = torch.stack([off[..., :2].square().sum(-1), off[..., 2:].square().sum(-1)])
    data = (problem.weights.permute(0, 2, 1) * square * eased(problem, square)).sum((0, 2))
    local = hands.local.permute(3, 0, 1, 2) @ axis_angle_to_matrix(change[0])
    turned = local - problem.prior.expected.permute(3, 0, 1, 2)
    rotations = 0.5 * problem.prior.weight * (turned @ problem.prior.stiffness[..., 0] * turned).sum((1, 2, 3))
    shape, scale = (hands.betas.T + change[1]).square().sum(1), (hands.log_scale + change[4]) / problem.scale_error
    return data + rotations + shape + scale.square()


def test_the_gradient_is_that_of_the_whole_cost_through_the_hand_layer(mini_hand: HandModel) -> None:
    problem, hands = small_problem(mini_hand)

    zero = tuple(array.requires_grad_() for array in unknowns(hands))
    total = whole_cost(problem, hands, mini_hand, *zero).sum()
    by_tangent, by_betas, by_place, by_origin, by_scale = torch.autograd.grad(total, zero)
    with torch.no_grad():
        posed = problem.chain.pose(hands.local, hands.betas)
        off = problem.off(hands, posed)
        assert float((posed.points[:, :, 2] + hands.place[2]).min()) < 0.02  # some are behind
        torch.testing.assert_close(problem.cost(hands, off).sum(), total)
        found = problem.gradient(hands, posed, off, problem.project(hands, posed, off))
    close = {"atol": 1e-9, "rtol": 1e-9}
    torch.testing.assert_close(2 * found.rotations.permute(2, 0, 1), by_tangent, **close)
    torch.testing.assert_close(2 * found.betas.T, by_betas, **close)
    torch.testing.assert_close(2 * found.place.T, by_place, **close)
    torch.testing.assert_close(2 * found.origin.T, by_origin, **close)
    torch.testing.assert_close(2 * found.log_scale, by_scale, **close)


def jacobian_by_the_layer(problem: ImageLeastSquares, hands: PlacedHands, hand: HandModel) -> Tensor:
    """The derivatives (3, 21, 5, 65) of the weighted residuals, by differences; fingers' tangents come first."""
    columns = []
    for column in range(65):
        change = 1e-6 * torch.nn.functional.one_hot(torch.tensor(column), 65).double()
        tangent = torch.cat([change[45:48], change[:45]]).view(16, 3)
        each = [part.expand(3, *part.shape) for part in (tangent, *change[48:64].split((10, 3, 3)), change[64])]
        ahead, behind = (off_by_the_layer(problem, hands, hand, *(sign * e for e in each)) for sign in (1, -1))
        columns.append((ahead - behind) / 2e-6)
    off = off_by_the_layer(problem, hands, hand, *unknowns(hands))
    square = torch.stack([off[..., :2].square().sum(-1), off[..., 2:].square().sum(-1)])
    root = problem.weights.permute(0, 2, 1).sqrt() * eased(problem, square)
    return torch.stack(columns, dim=-1) * root[[0, 0, 1, 1, 1]].permute(1, 2, 0)[..., None]


@pytest.mark.parametrize("holds_shape", [False, True])
def test_the_jacobian_is_the_hand_layer_s(mini_hand: HandModel, holds_shape: bool) -> None:
    problem, hands = small_problem(mini_hand, holds_shape=holds_shape)
    expected = jacobian_by_the_layer(problem, hands, mini_hand)
    if holds_shape:
        expected[..., 48:58] = 0
    posed = problem.chain.pose(hands.local, hands.betas)
    at = problem.project(hands, posed, problem.off(hands, posed))
    fingers, wrist = problem.weighted_jacobian(hands, posed, at)
    close = {"atol": 1e-5, "rtol": 1e-6}
    torch.testing.assert_close(wrist.permute(2, 0, 1), expected[:, 0, :, 58:], **close)
    for finger in range(5):
        rows = slice(1 + 4 * finger, 5 + 4 * finger)
        found = fingers[finger].permute(3, 0, 1, 2)
        torch.testing.assert_close(found[..., :9], expected[:, rows, :, 9 * finger : 9 * finger + 9], **close)
        torch.testing.assert_close(found[..., 9:], expected[:, rows, :, 45:], **close)


@pytest.mark.parametrize("holds_shape", [False, True])
def test_the_step_solves_the_damped_normal_equations(mini_hand: HandModel, holds_shape: bool) -> None:
    problem, hands = small_problem(mini_hand, holds_shape=holds_shape)
    posed = problem.chain.pose(hands.local, hands.betas)
    off, damping = problem.off(hands, posed), torch.tensor([1e-3, 0.1, 1.0], dtype=torch.float64)
    at = problem.project(hands, posed, off)
    found, gradient = problem.step(hands, posed, off, damping), problem.gradient(hands, posed, off, at)
    fingers, wrist = problem.weighted_jacobian(hands, posed, at)
    jacobian = torch.zeros(3, 21, 5, 65, dtype=torch.float64)
    jacobian[:, 0, :, 58:] = wrist.permute(2, 0, 1)
    for finger in range(5):
        rows = slice(1 + 4 * finger, 5 + 4 * finger)
        jacobian[:, rows, :, 9 * finger : 9 * finger + 9] = fingers[finger, :, :, :9].permute(3, 0, 1, 2)
        jacobian[:, rows, :, 45:] = fingers[finger, :, :, 9:].permute(3, 0, 1, 2)
    flat = jacobian.flatten(1, 2)
    prior = torch.tensor([0.0] * 48 + [1.0] * 10 + [0.0] * 6 + [1 / 0.2**2], dtype=torch.float64).diag()
    for joint, a in enumerate(problem.prior.stiffness[..., 0]):
        first = 45 if joint == 0 else 3 * joint - 3
        prior[first : first + 3, first : first + 3] = 4 * (a.trace() * torch.eye(3) - a) / 2
    matrix = flat.mT @ flat + prior
    matrix = matrix + damping[:, None, None] * matrix.diagonal(dim1=1, dim2=2).diag_embed()

    def in_a_row(step: tuple[Tensor, ...]) -> Tensor:
        rotations, *rest = step
        return torch.cat([rotations[1:].flatten(0, 1), rotations[0], *(part.reshape(-1, 3) for part in rest)]).T

    expected = torch.linalg.solve(matrix, -in_a_row(gradient))
    torch.testing.assert_close(in_a_row(found), expected, atol=1e-10, rtol=1e-8)
    assert bool((found.betas == 0).all()) == holds_shape


def test_exact_points_and_joints_give_the_hand(hand: HandModel, fitter: ImageFitter) -> None:
    seen = seen_hands(hand, 64)
    fit = seen.fit(fitter)
    assert float(pa_mm(fit, seen.truth).median()) < 1.5
    assert float(off_share(fit, seen).max()) < 0.01
    assert not bool(fit.from_joints_alone.any())
    joints, verts = HandLayer(hand)(fit.rotations, fit.betas).joints, fit.verts
    torch.testing.assert_close(joints - joints[:, :1], fit.joints - fit.joints[:, :1], atol=1e-6, rtol=0)
    assert float((verts - fit.joints[:, :1]).norm(dim=-1).max()) < 0.3


def fitted_in_float64(fitter: ImageFitter, seen: Seen) -> tuple[ImageLeastSquares, PlacedHands]:
    """What is minimised, and where that ends in float32, both in float64."""
    sight = look_at(
        seen.joints_px,
        seen.joints,
        seen.intrinsics,
        point_weights=None,
        joint_weights=None,
        seen_at_px=seen.seen_at_px,
        noise_px=None,
        noise_share=NOISE_SHARE,
    )
    problem = fitter.problem(sight, 0.01, holds_shape=False)
    betas = torch.zeros(10, len(sight.size))
    hands = minimise(problem, begin(problem, problem.prior.expected, betas, sight.size), 20).hands

    def doubled(record: Any) -> dict[str, Tensor]:
        arrays = {part.name: getattr(record, part.name) for part in fields(record)}
        return {name: array.double() for name, array in arrays.items() if isinstance(array, Tensor)}

    chain = HandChain(fitter.layer.model, torch.float64)
    in_float64 = replace(
        problem, **doubled(problem), chain=chain, prior=replace(problem.prior, **doubled(problem.prior))
    )
    return in_float64, PlacedHands(**doubled(hands))


def test_it_ends_at_a_minimum_of_the_whole_cost(hand: HandModel, fitter: ImageFitter) -> None:
    """Autograd goes on from there, in float64 through the hand layer, and finds nothing lower worth having."""
    seen = seen_hands(hand, 3)
    noise = torch.randn(3, 21, 2, generator=torch.Generator().manual_seed(1))
    points = seen.joints_px + 0.01 * seen.size_px[:, None, None] * noise
    problem, hands = fitted_in_float64(fitter, seen._replace(joints_px=points))
    change = [array.requires_grad_() for array in unknowns(hands)]
    search = torch.optim.LBFGS(change, max_iter=60, tolerance_change=1e-12, line_search_fn="strong_wolfe")
    begun = whole_cost(problem, hands, hand, *change).detach()

    def evaluate() -> Tensor:
        search.zero_grad()
        total = whole_cost(problem, hands, hand, *change).sum()
        total.backward()
        return total

    search.step(evaluate)
    with torch.no_grad():
        ended = whole_cost(problem, hands, hand, *change)
        moved_m = 0.01 * (change[0].abs().amax((1, 2)))
    assert float(ended.sum()) <= float(begun.sum())
    assert float((1 - ended / begun).max()) < 0.002
    assert float(moved_m.max()) < 0.003  # of a fingertip whose joint is a centimetre away


@pytest.mark.parametrize("what", ["picture", "space"])
def test_one_wild_point_costs_little(hand: HandModel, fitter: ImageFitter, what: str) -> None:
    """Any of the 21."""
    seen = seen_hands(hand, 42)
    clean = pa_mm(seen.fit(fitter), seen.truth)
    generator, each = torch.Generator().manual_seed(3), torch.arange(42)
    points, joints = seen.joints_px.clone(), seen.joints.clone()
    if what == "picture":
        points[each, each % 21] += seen.size_px[:, None] * torch.randn(42, 2, generator=generator).sign()
    else:
        joints[each, each % 21] += 0.2 * torch.nn.functional.normalize(torch.randn(42, 3, generator=generator), dim=-1)
    fit = seen._replace(joints_px=points, joints=joints).fit(fitter)
    spoiled = pa_mm(fit, seen.truth)
    assert float(spoiled.mean()) < float(clean.mean()) + 0.3
    assert float(off_share(fit, seen).max()) < 0.02
    assert not bool(fit.from_joints_alone.any())


def test_the_joints_may_have_any_origin_and_another_size(hand: HandModel, fitter: ImageFitter) -> None:
    seen = seen_hands(hand, 16)
    moved = seen._replace(joints=seen.joints + torch.tensor([3.0, -2, 1])).fit(fitter)
    torch.testing.assert_close(moved.joints, seen.fit(fitter).joints, atol=2e-4, rtol=0)
    larger = seen._replace(joints=1.3 * seen.joints).fit(fitter)
    assert float(pa_mm(larger, seen.truth).median()) < 2.5


def test_off_the_axis_the_joints_are_turned_to_their_ray(hand: HandModel, fitter: ImageFitter) -> None:
    """What a crop's network says is right in the frame of its ray; taken for camera space it spoils the fit."""
    seen = seen_hands(hand, 48)
    ray = rays(seen.seen_at_px[:, None], seen.intrinsics)[:, 0]
    off_axis = torch.rad2deg(torch.acos(ray[:, 2] / ray.norm(dim=1))) > 15
    assert int(off_axis.sum()) >= 10
    turned = pa_mm(seen.fit(fitter), seen.truth)
    taken_as_it_is = fitter(seen.joints_px, seen.joints, seen.intrinsics)
    assert float(pa_mm(taken_as_it_is, seen.truth)[off_axis].mean()) > 1.3 * float(turned[off_axis].mean())
    in_camera = fitter(seen.joints_px, seen.truth.joints, seen.intrinsics)
    assert float((in_camera.joints - seen.fit(fitter).joints).norm(dim=-1).median()) < 5e-4


def test_the_picture_s_origin_and_scale_do_not_matter(hand: HandModel, fitter: ImageFitter) -> None:
    seen = seen_hands(hand, 16)
    plain = seen.fit(fitter)
    shift = torch.tensor([37.0, -81.0])
    moved = seen.intrinsics.clone()
    moved[:, :2, 2] += shift
    shifted = seen._replace(joints_px=seen.joints_px + shift, seen_at_px=seen.seen_at_px + shift, intrinsics=moved)
    torch.testing.assert_close(shifted.fit(fitter).joints, plain.joints, atol=5e-4, rtol=0)
    scaled = torch.diag(torch.tensor([2.0, 2.0, 1.0])) @ seen.intrinsics
    twice = seen._replace(joints_px=2 * seen.joints_px, seen_at_px=2 * seen.seen_at_px, intrinsics=scaled)
    torch.testing.assert_close(twice.fit(fitter).joints, plain.joints, atol=1e-6, rtol=0)


def test_a_left_hand_is_a_right_one_s_mirror_image(hand: HandModel, fitter: ImageFitter) -> None:
    seen, width = seen_hands(hand, 16), torch.tensor(640.0)

    def mirror_px(points: Tensor) -> Tensor:
        return torch.stack([width - 1 - points[..., 0], points[..., 1]], dim=-1)

    left = ImageFitter(HandLayer(mirrored(hand)))(
        mirror_px(seen.joints_px),
        mirror_points(seen.joints),
        mirror_intrinsics(seen.intrinsics, width.expand(16)),
        seen_at_px=mirror_px(seen.seen_at_px),
    )
    right = seen.fit(fitter)
    torch.testing.assert_close(mirror_points(left.joints), right.joints, atol=1e-6, rtol=0)
    torch.testing.assert_close(mirror_rotations(left.rotations), right.rotations, atol=1e-5, rtol=0)


def test_a_hand_s_result_does_not_depend_on_the_others(hand: HandModel, fitter: ImageFitter) -> None:
    seen = seen_hands(hand, 24)
    together = seen.fit(fitter)
    for i in (0, 11, 23):
        alone = Seen(seen.truth, *(array[i : i + 1] for array in seen[1:])).fit(fitter)
        torch.testing.assert_close(alone.joints[0], together.joints[i], atol=1e-5, rtol=0)


def test_a_shape_that_is_given_is_held(hand: HandModel, fitter: ImageFitter) -> None:
    seen = seen_hands(hand, 16)
    fit = seen.fit(fitter, betas=seen.truth.betas)
    assert torch.equal(fit.betas, seen.truth.betas)
    assert float(pa_mm(fit, seen.truth).mean()) < float(pa_mm(seen.fit(fitter), seen.truth).mean())
    torch.testing.assert_close(fit.joints, seen.truth.joints, atol=0.02, rtol=0)


def test_a_fit_that_begins_at_the_last_frame_s_ends_where_others_do(hand: HandModel, fitter: ImageFitter) -> None:
    seen = seen_hands(hand, 24)
    cold = seen.fit(fitter)
    before = replace(
        cold,
        rotations=cold.rotations + 0.05 * torch.randn(24, 16, 3, generator=torch.Generator().manual_seed(2)),
        joints=cold.joints + torch.tensor([0.01, 0, 0.02]),
    )
    warm = seen.fit(fitter, start=before, steps=6)
    assert float((warm.joints - cold.joints).norm(dim=-1).mean(1).median()) < 5e-4
    assert float((pa_mm(warm, seen.truth) - pa_mm(cold, seen.truth)).max()) < 0.5


def test_unknown_points_and_joints_may_be_anything(hand: HandModel, fitter: ImageFitter) -> None:
    seen = seen_hands(hand, 16)
    point_weights, joint_weights = torch.ones(16, 21), torch.ones(16, 21)
    point_weights[:, [4, 12]], joint_weights[:, [0, 7]] = 0, 0
    points, joints = seen.joints_px.clone(), seen.joints.clone()
    points[:, [4, 12]], joints[:, [0, 7]] = torch.nan, torch.nan
    weights = {"point_weights": point_weights, "joint_weights": joint_weights}
    fit = seen._replace(joints_px=points, joints=joints).fit(fitter, **weights)
    assert bool((torch.isnan(fit.off_px) == (point_weights == 0)).all())
    assert float(off_share(fit, seen).max()) < 0.02
    points[:, [4, 12]], joints[:, [0, 7]] = -1e4, 55.0
    other = seen._replace(joints_px=points, joints=joints).fit(fitter, **weights)
    assert torch.equal(other.joints, fit.joints)


def test_a_collapsed_fit_is_replaced_by_the_joints_alone(hand: HandModel, fitter: ImageFitter) -> None:
    """Points of the picture that no hand projects to."""
    seen = seen_hands(hand, 8)
    points = seen.joints_px.clone()
    order = torch.randperm(21, generator=torch.Generator().manual_seed(0))
    points[:4] = points[:4, order]
    fit = seen._replace(joints_px=points).fit(fitter)
    assert fit.from_joints_alone.tolist() == [True] * 4 + [False] * 4
    assert float(pa_mm(fit, seen.truth)[:4].max()) < 6
    assert bool(torch.isfinite(fit.verts).all())
    assert float(fit.verts[..., 2].min()) > 0


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda s: s._replace(joints_px=s.joints_px.index_fill(0, torch.tensor([1]), torch.nan)), "not all finite"),
        (lambda s: s._replace(joints=s.joints.index_fill(0, torch.tensor([1]), torch.inf)), "not all finite"),
        (
            lambda s: s._replace(joints_px=s.joints_px.index_fill(0, torch.tensor([1]), 7)),
            "image points are all in one",
        ),
        (lambda s: s._replace(joints=s.joints.index_fill(0, torch.tensor([1]), 0)), "joints are all in one place"),
        (lambda s: s._replace(intrinsics=s.intrinsics.index_fill(0, torch.tensor([1]), 0)), "no camera's"),
    ],
)
def test_what_cannot_be_fitted_is_refused_by_name(hand: HandModel, fitter: ImageFitter, spoil, reason) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UnsolvableJointsError, match=reason) as caught:
        spoil(seen_hands(hand, 3)).fit(fitter)
    assert caught.value.index == 1


def test_too_few_known_points_and_weights_and_noise_that_cannot_be(hand: HandModel, fitter: ImageFitter) -> None:
    seen = seen_hands(hand, 2)
    few = torch.zeros(2, 21)
    few[:, :3] = 1
    with pytest.raises(UnsolvableJointsError, match="3 of its image points are known, and at least 4"):
        seen.fit(fitter, point_weights=few)
    with pytest.raises(UsageError, match="weights of joints that are negative"):
        seen.fit(fitter, joint_weights=-few)
    with pytest.raises(UsageError, match=r"noise_mm=0\.0; valid: a number above 0"):
        seen.fit(fitter, noise_mm=0.0)


def test_points_that_no_hand_has_in_view_are_not_known(hand: HandModel, fitter: ImageFitter) -> None:
    """Seen along the ray of a pixel on one side, three points are near it and the others far to the other side."""
    seen = seen_hands(hand, 1)
    points = seen.joints_px.clone()
    points[:, 3:, 0] += 1e7
    with pytest.raises(
        UnsolvableJointsError, match="3 of its image points that are near the ray of the hand are known"
    ):
        seen._replace(joints_px=points).fit(fitter)


def test_odd_points_give_finite_hands_before_the_camera(hand: HandModel, fitter: ImageFitter) -> None:
    seen = seen_hands(hand, 6)
    points, joints = seen.joints_px.clone(), seen.joints.clone()
    points[0] = seen.seen_at_px[0] + 1e-3 * (points[0] - seen.seen_at_px[0])  # a speck
    points[1] = seen.seen_at_px[1] + 20 * (points[1] - seen.seen_at_px[1])  # far over the picture
    points[2, :, 1] = points[2, 0, 1]  # a line
    joints[3] *= 0.01
    joints[4] *= 100
    points[5, 3] = 1e7
    fit = seen._replace(joints_px=points, joints=joints).fit(fitter)
    assert bool(torch.isfinite(fit.verts).all())
    assert float(fit.joints[..., 2].min()) > 0
