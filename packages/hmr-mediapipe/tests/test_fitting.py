"""Hands that were seen become the hand layer's in camera space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy import ndarray

from hmr_core.geometry.camera import project
from hmr_core.geometry.mirror import mirror_points, mirror_rotations
from hmr_core.geometry.rays import rays, turn_to_ray
from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.poses import random_poses
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.plugins.photo_hands import FoundHand
from hmr_mediapipe.config import PredictorConfig
from hmr_mediapipe.fitting import COLLAPSED, Fitting, ToFit
from hmr_mediapipe.landmarks import SeenHand
from hmr_mediapipe.regions import region_of_landmarks

CAMERA = np.array([[800.0, 0, 310], [0, 800, 255], [0, 0, 1]])
PLACES = ((0.0, 0.0, 0.5), (0.25, -0.1, 0.6), (-0.3, 0.2, 0.8))


@pytest.fixture(scope="module")
def layer() -> HandLayer:
    return HandLayer(load_synthetic_hand())


@pytest.fixture(scope="module")
def fitting(layer: HandLayer) -> Fitting:
    return Fitting(layer, PredictorConfig())


def true_hands(layer: HandLayer) -> list[FoundHand]:
    """Three right hands of one shape, in and beside the picture's middle."""
    rotations = random_poses(layer.model, len(PLACES), np.random.default_rng(3)).float()
    rotations[:, 0] = axis_angle_to_matrix(torch.randn(len(PLACES), 3, generator=torch.Generator().manual_seed(1)))
    hands, places = layer(rotations, torch.zeros(len(PLACES), 10)), torch.tensor(PLACES)[:, None]
    return [
        FoundHand(
            side="right",
            score=1.0,
            joints=(hands.joints + places)[i].numpy(),
            verts=(hands.verts + places)[i].numpy(),
            rotations=matrix_to_axis_angle(rotations[i]).numpy(),
            betas=np.zeros(10, np.float32),
        )
        for i in range(len(PLACES))
    ]


def as_left(hand: FoundHand) -> FoundHand:
    assert hand.verts is not None
    assert hand.rotations is not None
    return replace(
        hand,
        side="left",
        joints=mirror_points(torch.from_numpy(hand.joints)).numpy(),
        verts=mirror_points(torch.from_numpy(hand.verts)).numpy(),
        rotations=mirror_rotations(torch.from_numpy(hand.rotations)).numpy(),
    )


def pixels(points: ndarray, camera: ndarray = CAMERA) -> ndarray:
    projected: ndarray = project(torch.from_numpy(points).double(), torch.from_numpy(camera)).numpy()
    return projected


def as_seen(hand: FoundHand, camera: ndarray = CAMERA) -> ToFit:
    """The hand as a network without errors sees it: its joints in the frame of the region's ray."""
    points = pixels(hand.joints, camera)
    region = region_of_landmarks(points)
    ray = rays(torch.tensor([[region.x, region.y]], dtype=torch.float64), torch.from_numpy(camera))[0]
    world = hand.joints @ turn_to_ray(ray).numpy()
    world = world - world[9]
    right = float(hand.side == "right")
    return ToFit(seen=SeenHand(region=region, points_px=points, world=world, presence=0.9, right=right), side=hand.side)


@pytest.mark.parametrize(("noise_mm", "off_m"), [(10.0, 0.003), (1.0, 0.0002)])
def test_hands_that_are_seen_without_error_are_found(layer: HandLayer, noise_mm: float, off_m: float) -> None:
    """The closer the less error is expected: what is expected draws a hand towards its mean pose."""
    hands = true_hands(layer)
    fitting = Fitting(layer, PredictorConfig(noise_mm=noise_mm))
    for true, found in zip(hands, fitting.fit([as_seen(hand) for hand in hands], CAMERA), strict=True):
        assert found.side == "right"
        assert found.score == 0.9
        assert not found.remarks
        off_px = np.linalg.norm(pixels(found.joints) - pixels(true.joints), axis=1)
        assert off_px.mean() < 1
        relative = (found.joints - found.joints[0]) - (true.joints - true.joints[0])
        assert np.linalg.norm(relative, axis=1).mean() < off_m
        assert abs(found.joints[0, 2] / true.joints[0, 2] - 1) < 0.03


def test_left_hands_are_the_mirror_images_of_right_ones(layer: HandLayer, fitting: Fitting) -> None:
    """Of cameras that mirror each other, the second hand's place of the principal point included."""
    mirrored = CAMERA.copy()
    mirrored[0, 2] = -CAMERA[0, 2]
    hands = true_hands(layer)
    rights = fitting.fit([as_seen(hand) for hand in hands], CAMERA)
    lefts = fitting.fit([as_seen(as_left(hand), mirrored) for hand in hands], mirrored)
    for right, left in zip(rights, lefts, strict=True):
        expected = as_left(right)
        assert left.side == "left"
        for name in ("joints", "verts", "rotations", "betas"):
            np.testing.assert_allclose(getattr(left, name), getattr(expected, name), atol=2e-5)


def test_a_hand_is_the_same_whatever_else_is_fitted(layer: HandLayer, fitting: Fitting) -> None:
    hands = true_hands(layer)
    sought = [as_seen(hands[0]), as_seen(as_left(hands[1])), replace(as_seen(hands[2]), before=hands[2])]
    sought.append(replace(as_seen(hands[1]), betas=np.full(10, 0.5, np.float32)))
    together = fitting.fit(sought, CAMERA)
    assert [hand.side for hand in together] == ["right", "left", "right", "right"]
    for hand, found in zip(sought, together, strict=True):
        alone = fitting.fit([hand], CAMERA)[0]
        np.testing.assert_allclose(found.joints, alone.joints, atol=2e-5)
        np.testing.assert_allclose(found.betas, alone.betas, atol=2e-3)


def test_a_shape_that_is_given_is_held(layer: HandLayer, fitting: Fitting) -> None:
    betas = np.linspace(-1, 1, 10).astype(np.float32)
    hands = true_hands(layer)
    sought = [replace(as_seen(hands[0]), betas=betas), replace(as_seen(hands[1]), betas=betas, before=hands[1])]
    for found in fitting.fit(sought, CAMERA):
        assert np.array_equal(found.betas, betas)


def test_a_followed_hand_is_found_from_where_it_was(layer: HandLayer, fitting: Fitting) -> None:
    """The same hand as without that, for right and left ones."""
    hands = true_hands(layer)
    for hand in (hands[1], as_left(hands[1])):
        cold, warm = fitting.fit([as_seen(hand), replace(as_seen(hand), before=hand)], CAMERA)
        np.testing.assert_allclose(warm.joints, cold.joints, atol=2e-3)


def test_a_hand_that_was_of_the_other_side_is_no_start(layer: HandLayer, fitting: Fitting) -> None:
    hand = true_hands(layer)[0]
    cold, other = fitting.fit([as_seen(hand), replace(as_seen(hand), before=as_left(hand))], CAMERA)
    np.testing.assert_allclose(other.joints, cold.joints, atol=1e-5)


def test_a_fit_that_goes_wrong_is_told(layer: HandLayer, fitting: Fitting) -> None:
    """Landmarks of the picture that have nothing to do with the joints in space."""
    seen = as_seen(true_hands(layer)[0])
    points = np.random.default_rng(0).uniform(200, 400, (21, 2))
    found = fitting.fit([replace(seen, seen=replace(seen.seen, points_px=points))], CAMERA)[0]
    assert found.remarks == (COLLAPSED,)
    assert found.joints[:, 2].min() > 0


def test_no_hands_are_no_hands(fitting: Fitting) -> None:
    assert fitting.fit([], CAMERA) == []
