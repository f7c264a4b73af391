"""Random poses are those of a hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.poses import FINGER_ORDER, FLEXION_DEG, bend_axes, random_poses, random_shapes
from hmr_core.hand.synthetic import load_synthetic_hand


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return load_synthetic_hand()


def joints_of(hand: HandModel, rotations: torch.Tensor) -> np.ndarray:
    return HandLayer(hand, torch.float64).joints(rotations, torch.zeros(len(rotations), 10).double()).numpy()


def test_positive_flexion_moves_tips_towards_the_palm(hand: HandModel) -> None:
    flexion, _ = bend_axes(hand)
    for k in range(15):
        rotations = torch.eye(3, dtype=torch.float64).repeat(2, 16, 1, 1)
        rotations[1, 1 + k] = axis_angle_to_matrix(0.3 * flexion[k])
        rest, bent = joints_of(hand, rotations)
        tip = {"thumb": 4, "index": 8, "middle": 12, "ring": 16, "little": 20}[FINGER_ORDER[k // 3]]
        moved = bent[tip] - rest[tip]
        assert moved[1] < -0.003, "the palm faces -y"
        if FINGER_ORDER[k // 3] == "thumb":
            assert moved[2] < -0.003, "the thumb bends across the palm"


def test_positive_abduction_moves_fingers_towards_the_thumb_and_the_thumb_outwards(hand: HandModel) -> None:
    _, abduction = bend_axes(hand)
    for i, name in enumerate(FINGER_ORDER):
        rotations = torch.eye(3, dtype=torch.float64).repeat(2, 16, 1, 1)
        rotations[1, 1 + 3 * i] = axis_angle_to_matrix(0.2 * abduction[i])
        rest, moved = joints_of(hand, rotations)
        tip = {"thumb": 4, "index": 8, "middle": 12, "ring": 16, "little": 20}[name]
        shift = moved[tip] - rest[tip]
        if name == "thumb":
            assert np.linalg.norm(moved[tip] - moved[8]) > np.linalg.norm(rest[tip] - rest[8]), (
                "away from the index finger"
            )
        else:
            assert shift[2] > 0.005


def test_poses_are_rotations_within_the_limits(hand: HandModel) -> None:
    rotations = random_poses(hand, 300, np.random.default_rng(0))
    assert torch.equal(rotations[:, 0], torch.eye(3, dtype=torch.float64).repeat(300, 1, 1))
    identity = torch.eye(3, dtype=torch.float64).expand_as(rotations)
    torch.testing.assert_close(rotations @ rotations.mT, identity, atol=1e-12, rtol=0)
    flexion, _ = bend_axes(hand)
    angles = torch.rad2deg((matrix_to_axis_angle(rotations[:, 1:]) * flexion).sum(-1)).numpy()
    for i, name in enumerate(FINGER_ORDER):
        for k in (1, 2):  # the base also moves sideways
            low, high = FLEXION_DEG[name][k]
            found = angles[:, 3 * i + k]
            assert low - 1e-6 <= found.min() < low + 0.25 * (high - low)
            assert high - 0.25 * (high - low) < found.max() <= high + 1e-6


def test_same_generator_state_same_poses_and_another_seed_others(hand: HandModel) -> None:
    first = random_poses(hand, 4, np.random.default_rng(7))
    assert torch.equal(first, random_poses(hand, 4, np.random.default_rng(7)))
    assert not torch.equal(first, random_poses(hand, 4, np.random.default_rng(8)))


def test_random_shapes_are_standard_normal_cut_at_two() -> None:
    betas = random_shapes(2000, np.random.default_rng(0))
    assert betas.abs().max() == 2
    assert abs(betas.std() - 0.95) < 0.03
