"""The published fit against the recorded outputs, and its gradient against autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.solver import measured_bone, scale_and_place
from hmr_iknet.chain import HandChain
from hmr_iknet.fit_published import fit, gradient_of, objective_for

DTYPES = [torch.float32, torch.float64]


def loss_of(layer: HandLayer, rotations: Tensor, betas: Tensor, bone: Tensor, start: Tensor, joints: Tensor) -> Tensor:
    """The objective, term by term as docs/solver.md describes it, of one sample; autograd gives its gradient."""
    j = layer.joints(rotations[None], betas[None], centre=9)[0]
    n = j / torch.linalg.vector_norm(j[9] - j[0])
    target = (joints - joints[9]) / torch.linalg.vector_norm(joints[9] - joints[0])
    volumes, bends = [], []
    for finger in range(5):
        a, b, c, d = (n * bone)[1 + 4 * finger : 5 + 4 * finger]
        normal = torch.linalg.cross(a - b, b - c)
        volumes.append((normal @ (c - d)).abs())
        bends.append(normal @ torch.linalg.cross(b - c, c - d))
    direction = torch.minimum(torch.stack(bends).sum(), torch.zeros_like(bone))
    geometry = 10_000 * torch.stack(volumes).mean() - 100_000 * direction
    prior = 0.01 * (rotations - start).square().mean() + 0.01 * betas.square().sum()
    return prior + (n - target).square().mean() + 100 * geometry


def at(recorded: dict[str, Tensor], point: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Joints, starts and variables of the recorded evaluation."""
    joints = recorded["joints"].to(dtype)
    if point == "far":
        start, rotations = recorded["init_so3"], recorded["iknet_so3"]
    else:
        start, rotations = 0.9 * recorded["init_so3"], recorded["init_so3"]
    betas = torch.full((10, len(joints)), 0.1, dtype=dtype)
    variables = torch.cat([rotations.to(dtype).T, betas, measured_bone(joints)[None]])
    return joints, start.to(dtype).reshape(-1, 16, 3), variables


def with_gradient(layer: HandLayer, variables: Tensor, start: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """The losses of some samples and their gradients, by autograd."""
    variables = variables.clone().requires_grad_()
    losses = [
        loss_of(layer, v[:48].view(16, 3), v[48:58], v[58], s, j)
        for v, s, j in zip(variables.unbind(1), start, joints, strict=True)
    ]
    torch.stack(losses).sum().backward()
    assert variables.grad is not None
    return torch.stack(losses).detach(), variables.grad


def assert_golden(found: Tensor, recorded: Tensor) -> None:
    assert float((found - recorded).abs().max() / recorded.abs().max()) < 1e-4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("point", ["at", "far"])
def test_golden_gradient(recorded: dict[str, Tensor], fixture_hand: HandModel, point: str, dtype: torch.dtype) -> None:
    joints, start, variables = at(recorded, point, dtype)
    gradient = gradient_of(objective_for(HandChain(fixture_hand, dtype), joints, start, 1), variables)
    names = "grad_" if point == "at" else "grad_far_"
    assert_golden(gradient[:48].T, recorded[f"{names}so3"])
    assert_golden(gradient[48:58].T, recorded[f"{names}betas"])
    assert_golden(gradient[58], recorded[f"{names}bone"])


@pytest.mark.parametrize("point", ["at", "far"])
def test_golden_loss_and_the_gradient_is_its(recorded: dict[str, Tensor], fixture_hand: HandModel, point: str) -> None:
    joints, start, variables = at(recorded, point, torch.float64)
    loss, expected = with_gradient(HandLayer(fixture_hand, torch.float64), variables, start, joints)
    assert_golden(loss, recorded[f"loss_{point}"])
    gradient = gradient_of(objective_for(HandChain(fixture_hand, torch.float64), joints, start, 1), variables)
    scale = expected.abs().amax(0)
    torch.testing.assert_close(gradient / scale, expected / scale, rtol=0, atol=1e-10)


@pytest.mark.parametrize("group", [1, 8])
def test_golden_fit(recorded: dict[str, Tensor], fixture_hand: HandModel, group: int) -> None:
    joints, starts = recorded["joints"], recorded["init_so3"].reshape(-1, 16, 3)
    rotations, betas = fit(HandChain(fixture_hand, torch.float32), joints, starts, prior_group=group)
    posed = HandLayer(fixture_hand)(rotations, betas)
    for kind, points in zip(("joints", "verts"), scale_and_place(posed.joints, posed.verts, joints), strict=True):
        error_mm = 1000 * torch.linalg.vector_norm(points - recorded[f"{kind}_batch{group}"], dim=-1)
        assert float(error_mm.mean()) < 0.15
        assert float(error_mm.max()) < 3


def test_a_shared_prior_is_the_mean_over_every_start_of_the_group(
    recorded: dict[str, Tensor], fixture_hand: HandModel
) -> None:
    joints, start, variables = at(recorded, "at", torch.float64)
    chain = HandChain(fixture_hand, torch.float64)
    alone = gradient_of(objective_for(chain, joints, start, 1), variables)
    shared = gradient_of(objective_for(chain, joints, start, 6), variables)
    for first, last in ((0, 6), (6, 12), (12, 16)):  # the last group is a smaller one
        for i in range(first, last):
            rotations = variables[:48, i].view(16, 3).clone().requires_grad_()
            own = (rotations - start[i]).square().mean()
            others = (rotations - start[first:last]).square().mean()
            (expected,) = torch.autograd.grad(0.01 * (others - own), rotations)
            torch.testing.assert_close((shared - alone)[:48, i], expected.flatten(), atol=1e-9, rtol=0)


def test_no_steps_leave_the_start(recorded: dict[str, Tensor], fixture_hand: HandModel) -> None:
    starts = recorded["init_so3"].reshape(-1, 16, 3)
    rotations, betas = fit(HandChain(fixture_hand, torch.float32), recorded["joints"], starts, steps=0)
    assert torch.equal(rotations, starts)
    assert not betas.any()
