"""The chain and its derivatives against the hand layer and autograd, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.hand.fit.chain import HandChain, to_chain
from hmr_core.hand.fit.rodrigues import pull_back_turn, turn_by
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.synthetic import load_synthetic_hand

ANGLES = torch.tensor([0, 1e-12, 1e-4, 0.05, 0.129, 0.3, 1.0, 3.0], dtype=torch.float64)
"""Around zero, and on both sides of where the series end."""


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return load_synthetic_hand()


def variables(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    vectors = torch.randn(len(ANGLES), 16, 3, generator=generator, dtype=torch.float64)
    betas = torch.randn(len(ANGLES), 10, generator=generator, dtype=torch.float64)
    return ANGLES[:, None, None] * vectors, betas


def test_rodrigues_formula() -> None:
    vectors, _ = variables(torch.Generator().manual_seed(0))
    matrices, _ = turn_by(vectors.permute(1, 2, 0).contiguous())
    torch.testing.assert_close(matrices.permute(3, 0, 1, 2), axis_angle_to_matrix(vectors), atol=1e-14, rtol=0)


def test_rodrigues_formula_in_float32_at_no_rotation() -> None:
    matrices, turn = turn_by(torch.zeros(16, 3, 2))
    assert torch.equal(matrices, torch.eye(3)[None, :, :, None].expand(16, 3, 3, 2))
    gradient = pull_back_turn(turn, torch.arange(9.0).reshape(1, 3, 3, 1).expand(16, 3, 3, 2).contiguous())
    assert torch.equal(gradient[0, :, 0], torch.tensor([7.0 - 5, 2 - 6, 3 - 1]))


def test_points_are_the_hand_layers(hand: HandModel) -> None:
    vectors, betas = variables(torch.Generator().manual_seed(1))
    joints = HandLayer(hand, torch.float64).joints(vectors, betas)
    local, _ = turn_by(vectors.permute(1, 2, 0).contiguous())
    posed = HandChain(hand, torch.float64).pose(local, betas.T.contiguous())
    torch.testing.assert_close(posed.points, to_chain(joints - joints[:, :1]), atol=1e-14, rtol=0)


def test_gradients_are_autograds(hand: HandModel) -> None:
    generator = torch.Generator().manual_seed(2)
    vectors, betas = variables(generator)
    weights = torch.randn(5, 4, 3, len(ANGLES), generator=generator, dtype=torch.float64)
    vectors.requires_grad_()
    betas.requires_grad_()
    joints = HandLayer(hand, torch.float64).joints(vectors, betas)
    (to_chain(joints - joints[:, :1]) * weights).sum().backward()
    with torch.no_grad():
        local, turn = turn_by(vectors.permute(1, 2, 0).contiguous())
        chain = HandChain(hand, torch.float64)
        by_local, by_betas = chain.pull_back(chain.pose(local, betas.T.contiguous()), weights)
        by_vectors = pull_back_turn(turn, by_local)
    assert vectors.grad is not None
    torch.testing.assert_close(by_vectors.permute(2, 0, 1), vectors.grad, atol=1e-11, rtol=1e-9)
    torch.testing.assert_close(by_betas.T, betas.grad, atol=1e-13, rtol=1e-10)
