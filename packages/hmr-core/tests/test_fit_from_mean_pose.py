"""The fit that knows nothing but joints: what it reaches on hands as people bend them, and a wildly wrong joint."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.hand.fit.chain import HandChain
from hmr_core.hand.fit.from_mean_pose import (
    BASE_ERROR,
    ERROR,
    HINGE_ERROR,
    THUMB_ERROR,
    WRIST_ERROR,
    MeanPose,
    fit_from_mean_pose,
    stiffness,
)
from hmr_core.hand.fit.least_squares import NOISE_MM, FittedHands
from hmr_core.hand.fit.outliers import Anatomy
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.mirror import mirrored
from hmr_core.hand.model import HandModel
from hmr_core.hand.poses import Bends, bend_axes, bend_fingers, random_poses, random_shapes
from hmr_core.hand.synthetic import load_synthetic_hand


class Hands(NamedTuple):
    """Joints with noise and the mesh without."""

    joints: Tensor
    verts: Tensor


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return load_synthetic_hand()


def posed(hand: HandModel, rotations: Tensor, betas: Tensor, noise_mm: float) -> Hands:
    """Hands turned anywhere, before the camera."""
    generator = torch.Generator().manual_seed(0)
    rotations = rotations.float()
    rotations[:, 0] = axis_angle_to_matrix(2 * torch.randn(len(rotations), 3, generator=generator))
    made = HandLayer(hand)(rotations, betas.float())
    camera = torch.tensor([0.0, 0.0, 0.6])
    noise = noise_mm / 1000 * torch.randn(len(rotations), 21, 3, generator=generator)
    return Hands(made.joints + camera + noise, made.verts + camera)


def bent_hands(hand: HandModel, noise_mm: float, count: int = 64) -> Hands:
    """Fingers bent within joint limits."""
    numbers = np.random.default_rng(0)
    return posed(hand, random_poses(hand, count, numbers), random_shapes(count, numbers), noise_mm)


def fitted(hand: HandModel, joints: Tensor) -> Tensor:
    chain, anatomy = HandChain(hand, torch.float32), Anatomy(hand, torch.float32)
    found = fit_from_mean_pose(chain, anatomy, MeanPose(hand, torch.float32), joints, noise=NOISE_MM / 1000)
    return mesh(hand, found)


def mesh(hand: HandModel, hands: FittedHands) -> Tensor:
    made = HandLayer(hand)(hands.local.permute(3, 0, 1, 2), hands.betas.T)
    return made.verts - made.joints[:, :1] + hands.place.T[:, None]


def error_mm(verts: Tensor, truth: Tensor) -> Tensor:
    """Of each hand."""
    return 1000 * torch.linalg.vector_norm(verts - truth, dim=-1).mean(1)


def test_a_finger_s_joint_is_stiff_about_all_axes_but_that_of_its_flexion(hand: HandModel) -> None:
    matrices = stiffness(hand)
    weights = (matrices.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] * torch.eye(3) - matrices) / 2 / ERROR**2
    spread = torch.linalg.inv(weights)  # the squared errors that are expected
    torch.testing.assert_close(spread[0], WRIST_ERROR**2 * torch.eye(3, dtype=torch.float64))
    flexion, _ = bend_axes(hand)
    along = torch.einsum("ji,jik,jk->j", flexion, spread[1:], flexion)
    torch.testing.assert_close(along, torch.full_like(along, ERROR**2))
    across = spread[1:].diagonal(dim1=1, dim2=2).sum(1) - along
    others = [BASE_ERROR, HINGE_ERROR, HINGE_ERROR] * 4 + [THUMB_ERROR] * 3
    torch.testing.assert_close(across, 2 * torch.tensor(others, dtype=torch.float64).square())


@pytest.mark.parametrize(("noise_mm", "most_mm"), [(2, 2.3), (5, 4.6)])
def test_noisy_hands(hand: HandModel, noise_mm: float, most_mm: float) -> None:
    """With starts off by 0.12 rad, the fit from a network reaches 2.7 and 4.2 mm on such hands."""
    joints, truth = bent_hands(hand, noise_mm)
    assert float(error_mm(fitted(hand, joints), truth).mean()) < most_mm


@pytest.mark.parametrize("flexion", [(0, 0, 0), (1, 1, 1), (0, 1, 1), (1, 0, 0)])
def test_flat_hands_fists_hooks_and_bent_knuckles(hand: HandModel, flexion: tuple[float, float, float]) -> None:
    count = 16
    bends = Bends(
        flexion=np.tile(np.array(flexion, float), (count, 5, 1)), sideways=np.linspace(0, 1, 80).reshape(16, 5)
    )
    joints, truth = posed(hand, bend_fingers(hand, bends), torch.zeros(count, 10), 1)
    assert float(error_mm(fitted(hand, joints), truth).max()) < 4


@pytest.mark.parametrize("offset_mm", [100, 300])
def test_one_wrong_joint_costs_little(hand: HandModel, offset_mm: float) -> None:
    """Any of the 21."""
    joints, truth = bent_hands(hand, 2, count=63)
    clean = error_mm(fitted(hand, joints), truth)
    offsets = torch.randn(63, 3, generator=torch.Generator().manual_seed(3))
    joints[torch.arange(63), torch.arange(63) % 21] += offset_mm / 1000 * torch.nn.functional.normalize(offsets, dim=-1)
    spoiled = error_mm(fitted(hand, joints), truth)
    assert float(spoiled.mean()) < float(clean.mean()) + 0.2
    assert float(spoiled.max()) < 5


def test_a_left_hand_is_a_right_one_s_mirror_image(hand: HandModel) -> None:
    joints, _ = bent_hands(hand, 3, count=8)
    flip = torch.tensor([-1.0, 1.0, 1.0])
    left = fitted(mirrored(hand), joints * flip)
    torch.testing.assert_close(left * flip, fitted(hand, joints), atol=2e-5, rtol=0)


def test_joints_that_are_no_hand_s_give_finite_hands(hand: HandModel) -> None:
    joints, _ = bent_hands(hand, 0, count=5)
    wrist = joints[:, :1]
    joints[0] = wrist[0] + 0.003 * (joints[0] - wrist[0])
    joints[1] = wrist[1] + torch.arange(21)[:, None] * torch.tensor([0.01, 0, 0])
    joints[2] += 1000
    joints[3] = wrist[3] + 10 * (joints[3] - wrist[3])
    joints[4] = wrist[4]
    joints[4, 9, 0] += 0.1
    assert bool(torch.isfinite(fitted(hand, joints)).all())
