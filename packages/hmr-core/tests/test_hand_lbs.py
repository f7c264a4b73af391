"""Skinning against a loop over joints and vertices in float64, and its gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.hand.joints import MANO_PARENTS, TIP_VERTICES
from hmr_core.hand.lbs import skin
from hmr_core.hand.model import HandModel
from hmr_core.hand.synthetic import load_synthetic_hand


@pytest.fixture(scope="module")
def hand() -> HandModel:
    """The synthetic hand with pose correctives, which its file does not have, so that they count."""
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 1e-3, (778, 3, 135)))
    return replace(load_synthetic_hand(), pose_dirs=noise)


def pose(seed: int, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(seed)
    rotations = axis_angle_to_matrix(torch.from_numpy(generator.normal(0, 0.6, (batch, 16, 3))))
    return rotations, torch.from_numpy(generator.normal(0, 1, (batch, 10)))


def loop_skin(
    hand: HandModel, rotations: np.ndarray, betas: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """The papers' equations for one hand, written as loops over homogeneous matrices."""
    shaped = hand.template.numpy().copy()
    for k in range(10):
        shaped += betas[k] * hand.shape_dirs.numpy()[:, :, k]
    rest = hand.joint_regressor.numpy() @ shaped
    feature = np.concatenate([(rotations[j] - np.eye(3)).ravel() for j in range(1, 16)])
    posed = shaped + hand.pose_dirs.numpy() @ feature
    world: list[np.ndarray] = []
    for j in range(16):
        local = np.eye(4)
        local[:3, :3] = rotations[j]
        local[:3, 3] = rest[j] if j == 0 else rest[j] - rest[MANO_PARENTS[j]]
        world.append(local if j == 0 else world[MANO_PARENTS[j]] @ local)
    verts = np.zeros((778, 3))
    for v in range(778):
        for j in range(16):
            to_rest = np.eye(4)
            to_rest[:3, 3] = -rest[j]
            moved = world[j] @ to_rest @ np.append(posed[v], 1)
            verts[v] += hand.skin_weights.numpy()[v, j] * moved[:3]
    places = [w[:3, 3] for w in world] + [verts[v] for v in TIP_VERTICES]
    order = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
    return verts, np.stack([places[i] for i in order]), world


def test_skin_equals_the_loop(hand: HandModel) -> None:
    rotations, betas = pose(1, batch=2)
    verts, joints, transforms = skin(hand, rotations, betas)
    for i in range(2):
        expected_verts, expected_joints, expected_world = loop_skin(hand, rotations[i].numpy(), betas[i].numpy())
        np.testing.assert_allclose(verts[i].numpy(), expected_verts, atol=1e-12)
        np.testing.assert_allclose(joints[i].numpy(), expected_joints, atol=1e-12)
        np.testing.assert_allclose(transforms[i].numpy(), np.stack(expected_world), atol=1e-12)


def test_no_rotation_and_no_shape_is_the_template(hand: HandModel) -> None:
    verts, joints, _ = skin(hand, torch.eye(3, dtype=torch.float64).repeat(1, 16, 1, 1), torch.zeros(1, 10).double())
    torch.testing.assert_close(verts[0], hand.template, atol=1e-12, rtol=0)
    torch.testing.assert_close(joints[0, 9], hand.joint_regressor[4] @ hand.template, atol=1e-12, rtol=0)


def test_wrist_rotation_turns_the_hand_about_its_wrist(hand: HandModel) -> None:
    rotations, betas = pose(2)
    turn = axis_angle_to_matrix(torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64))
    verts, joints, _ = skin(hand, rotations, betas)
    turned = rotations.clone()
    turned[:, 0] = turn @ rotations[:, 0]
    turned_verts, turned_joints, _ = skin(hand, turned, betas)
    torch.testing.assert_close(turned_joints[:, 0], joints[:, 0])
    torch.testing.assert_close(turned_verts, (verts - joints[:, :1]) @ turn.T + joints[:, :1])


def test_single_precision_stays_single_and_close(hand: HandModel) -> None:
    rotations, betas = pose(3)
    expected, _, _ = skin(hand, rotations, betas)
    verts, joints, transforms = skin(hand.to(torch.float32), rotations.float(), betas.float())
    assert verts.dtype == joints.dtype == transforms.dtype == torch.float32
    assert (verts - expected).abs().max() < 1e-6


def test_samples_do_not_depend_on_their_batch(hand: HandModel) -> None:
    rotations, betas = pose(4)
    together, _, _ = skin(hand, rotations, betas)
    alone, _, _ = skin(hand, rotations[1:2], betas[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-14, rtol=0)


def test_gradients_equal_finite_differences(hand: HandModel) -> None:
    rotations, betas = pose(5, batch=1)
    chosen = [0, 317, 500, 745]

    def some(rotations: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
        verts, joints, _ = skin(hand, rotations, betas)
        return torch.cat([verts[:, chosen], joints[:, [4, 9]]], dim=1)

    assert torch.autograd.gradcheck(some, (rotations.requires_grad_(), betas.requires_grad_()))
