"""Random poses are those of a hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hmr_core.hand.joints import FINGERS
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.poses import (
    FINGER_ORDER,
    FLEXION_DEG,
    Bends,
    bend_axes,
    bend_fingers,
    oppose_thumb,
    random_bends,
    random_poses,
    random_shapes,
)
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
            near = (0.35 if name == "thumb" else 0.25) * (high - low)
            assert low - 1e-6 <= found.min() < low + near
            assert high - near < found.max() <= high + 1e-6


def test_same_generator_state_same_poses_and_another_seed_others(hand: HandModel) -> None:
    first = random_poses(hand, 4, np.random.default_rng(7))
    assert torch.equal(first, random_poses(hand, 4, np.random.default_rng(7)))
    assert not torch.equal(first, random_poses(hand, 4, np.random.default_rng(8)))


def test_random_shapes_are_standard_normal_cut_at_two() -> None:
    betas = random_shapes(2000, np.random.default_rng(0))
    assert betas.abs().max() == 2
    assert abs(betas.std() - 0.95) < 0.03


def depth_in_capsule(points: np.ndarray, a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """How deep points (n, v, 3) are inside capsules from a to b (n, 3)."""
    along = (b - a)[:, None]
    t = np.clip(((points - a[:, None]) * along).sum(-1) / (along**2).sum(-1), 0, 1)
    return radius - np.linalg.norm(points - a[:, None] - t[..., None] * along, axis=-1)


def buried(hand: HandModel, rotations: torch.Tensor) -> tuple[np.ndarray, float]:
    """For each pose, the share of the vertices of the fingers' outer two bones that are more than 2 mm inside another
    finger's or the palm's capsules; and the greatest depth of all, in metres.
    """
    out = HandLayer(hand, torch.float64)(rotations, torch.zeros(len(rotations), 10).double())
    verts, joints = out.verts.numpy(), out.joints.numpy()
    weights, template = hand.skin_weights.numpy(), hand.template.numpy()
    rest = joints_of(hand, torch.eye(3).double().repeat(1, 16, 1, 1))[0]
    capsules: dict[str, list[tuple[np.ndarray, np.ndarray, float]]] = {
        "palm": [(joints[:, 0], joints[:, i], 0.0105) for i in (5, 9, 13, 17)]
    }
    for finger, name in enumerate(FINGERS):
        capsules[name] = []
        for k in range(3):
            i = 1 + 4 * finger + k
            own = weights[:, 1 + 3 * FINGER_ORDER.index(name) + k] > 0.5
            radius = float(np.median(-depth_in_capsule(template[None, own], rest[None, i], rest[None, i + 1], 0.0)))
            end = joints[:, i + 1]
            if k == 2:  # the capsule ends round, at the tip
                bone = end - joints[:, i]
                end = end - radius * bone / np.linalg.norm(bone, axis=1, keepdims=True)
            capsules[name].append((joints[:, i], end, radius))
    inside, total, deepest = np.zeros(len(verts)), 0, 0.0
    for name in FINGERS:
        base = 1 + 3 * FINGER_ORDER.index(name)
        points = verts[:, weights[:, [base + 1, base + 2]].sum(1) > 0.8]
        others = [c for other, of in capsules.items() if other != name for c in of]
        depth = np.max([depth_in_capsule(points, *c) for c in others], axis=0)
        inside += (depth > 0.002).sum(1)
        total += points.shape[1]
        deepest = max(deepest, float(depth.max()))
    return inside / total, deepest


def test_fingers_of_random_poses_hardly_go_through_each_other_or_the_palm(hand: HandModel) -> None:
    share, deepest = buried(hand, random_poses(hand, 2000, np.random.default_rng(0)))
    assert share.mean() < 1e-4
    assert (share > 0).mean() < 0.008
    assert (share > 0.02).mean() < 0.002
    assert deepest < 0.008


def test_measure_sees_fingers_that_go_through_each_other(hand: HandModel) -> None:
    flexion = np.full((1, 5, 3), 0.9)
    share, deepest = buried(hand, bend_fingers(hand, Bends(flexion=flexion, sideways=np.full((1, 5), 0.3))))
    assert share[0] > 0.02
    assert deepest > 0.004


def test_fingers_of_random_hands_move_together_as_fingers_do() -> None:
    bends = random_bends(4000, np.random.default_rng(0))
    knuckle, middle, end = np.moveaxis(bends.flexion, 2, 0)

    def related(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.corrcoef(x, y)[0, 1])

    for i, name in enumerate(FINGER_ORDER):
        assert abs(end[:, i] - middle[:, i]).mean() < 0.05, "the end joint follows the middle one"
        if name != "thumb":
            assert related(knuckle[:, i], middle[:, i]) < 0.9, "straight and bent knuckles with bent fingers"
    i, m, little, r, thumb = range(5)
    assert related(middle[:, r], middle[:, little]) > 0.8
    assert related(middle[:, m], middle[:, r]) > related(middle[:, i], middle[:, little])
    assert related(middle[:, thumb], middle[:, i]) < 0.7
    assert related(bends.sideways[:, i], bends.sideways[:, little]) < -0.2, "spread together"
    assert bends.flexion.min() == 0
    assert bends.flexion.max() == 1
    pointing = (knuckle[:, i] < 0.2) & (knuckle[:, m] > 0.5)
    assert pointing.mean() > 0.005


def test_bent_knuckle_cannot_move_sideways_and_converges(hand: HandModel) -> None:
    flexion = np.zeros((2, 5, 3))
    flexion[:, :4, 0] = 1
    turns = bend_fingers(hand, Bends(flexion=flexion, sideways=np.repeat([[0.0], [1.0]], 5, axis=1)))
    assert torch.equal(turns[0, 1:13], turns[1, 1:13])
    assert not torch.allclose(turns[0, 13], turns[1, 13]), "the thumb can"
    flexion[:, :4, 1] = 1
    joints = joints_of(hand, bend_fingers(hand, Bends(flexion=flexion, sideways=np.full((2, 5), 0.5))))[0]
    tips, knuckles = joints[[8, 12, 16, 20], 2], joints[[5, 9, 13, 17], 2]
    assert np.ptp(tips) < 0.85 * np.ptp(knuckles)
    assert (np.diff(tips) < -0.008).all(), "side by side"


def test_an_opposed_thumb_comes_before_the_palm_and_its_pad_turns_to_the_fingers(hand: HandModel) -> None:
    """As its share grows, the tip leaves the palm, and bending moves it towards the wrist's side less and less."""
    flexion = np.zeros((6, 5, 3))
    flexion[3:, 4, 1:] = 0.5
    share = np.array([0.0, 0.5, 1.0, 0.0, 0.5, 1.0])
    flat = bend_fingers(hand, Bends(flexion=flexion, sideways=np.full((6, 5), 0.5)))
    opposed = oppose_thumb(hand, flat, share)
    assert torch.equal(opposed[:, :13], flat[:, :13])
    torch.testing.assert_close(opposed[0], flat[0])
    assert not torch.allclose(flat[2, 13], opposed[2, 13])
    tips = joints_of(hand, opposed)[:, 4]
    assert (np.diff(tips[:3, 1]) < -0.01).all(), "away from the palm, which faces -y"
    moves = tips[3:] - tips[:3]
    assert (moves[:, 2] < -0.02).all()
    assert (np.diff(moves[:, 1]) > 0.003).all(), "across the palm rather than away from it"
