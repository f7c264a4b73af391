"""The published fit against the recorded outputs, and its gradient against autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hmr_core.hand.fit.chain import HandChain
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.solver import measured_bone, scale_and_place
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
def test_golden_gradient(recorded: dict[str, Tensor], mini_hand: HandModel, point: str, dtype: torch.dtype) -> None:
    joints, start, variables = at(recorded, point, dtype)
    gradient = gradient_of(objective_for(HandChain(mini_hand, dtype), joints, start, 1), variables)
    names = "grad_" if point == "at" else "grad_far_"
    assert_golden(gradient[:48].T, recorded[f"{names}so3"])
    assert_golden(gradient[48:58].T, recorded[f"{names}betas"])
    assert_golden(gradient[58], recorded[f"{names}bone"])


@pytest.mark.parametrize("point", ["at", "far"])
def test_golden_loss_and_the_gradient_is_its(recorded: dict[str, Tensor], mini_hand: HandModel, point: str) -> None:
    joints, start, variables = at(recorded, point, torch.float64)
    loss, expected = with_gradient(HandLayer(mini_hand, torch.float64), variables, start, joints)
    assert_golden(loss, recorded[f"loss_{point}"])
    gradient = gradient_of(objective_for(HandChain(mini_hand, torch.float64), joints, start, 1), variables)
    scale = expected.abs().amax(0)
    torch.testing.assert_close(gradient / scale, expected / scale, rtol=0, atol=1e-10)


@pytest.mark.parametrize("group", [1, 8])
def test_golden_fit(recorded: dict[str, Tensor], mini_hand: HandModel, group: int) -> None:
    joints, starts = recorded["joints"], recorded["init_so3"].reshape(-1, 16, 3)
    rotations, betas = fit(HandChain(mini_hand, torch.float32), joints, starts, prior_group=group)
    posed = HandLayer(mini_hand)(rotations, betas)
    for kind, points in zip(("joints", "verts"), scale_and_place(posed.joints, posed.verts, joints), strict=True):
        error_mm = 1000 * torch.linalg.vector_norm(points - recorded[f"{kind}_batch{group}"], dim=-1)
        assert float(error_mm.mean()) < 0.15
        assert float(error_mm.max()) < 3


def test_a_shared_prior_is_the_mean_over_every_start_of_the_group(
    recorded: dict[str, Tensor], mini_hand: HandModel
) -> None:
    joints, start, variables = at(recorded, "at", torch.float64)
    chain = HandChain(mini_hand, torch.float64)
    alone = gradient_of(objective_for(chain, joints, start, 1), variables)
    shared = gradient_of(objective_for(chain, joints, start, 6), variables)
    for first, last in ((0, 6), (6, 12), (12, 16)):  # the last group is a smaller one
        for i in range(first, last):
            rotations = variables[:48, i].view(16, 3).clone().requires_grad_()
            own = (rotations - start[i]).square().mean()
            others = (rotations - start[first:last]).square().mean()
            (expected,) = torch.autograd.grad(0.01 * (others - own), rotations)
            torch.testing.assert_close((shared - alone)[:48, i], expected.flatten(), atol=1e-9, rtol=0)


def test_no_steps_leave_the_start(recorded: dict[str, Tensor], mini_hand: HandModel) -> None:
    starts = recorded["init_so3"].reshape(-1, 16, 3)
    rotations, betas = fit(HandChain(mini_hand, torch.float32), recorded["joints"], starts, steps=0)
    assert torch.equal(rotations, starts)
    assert not betas.any()


def noisy_hands(hand: HandModel, noise_mm: float, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Joints with noise, the mesh without, and rotations to start from."""
    generator = torch.Generator().manual_seed(0)
    rotations = 0.25 * torch.randn(count, 16, 3, generator=generator)
    betas = 0.7 * torch.randn(count, 10, generator=generator)
    starts = rotations + 0.08 * torch.randn(count, 16, 3, generator=generator)
    posed = HandLayer(hand)(rotations, betas)
    noise = noise_mm / 1000 * torch.randn(count, 21, 3, generator=generator)
    camera = torch.tensor([0.0, 0.0, 0.6])
    return posed.joints + camera + noise, posed.verts + camera, starts


@pytest.mark.parametrize(("noise_mm", "least_mm", "most_mm"), [(2, 3.6, 4.0), (5, 7.0, 7.9)])
def test_noisy_hands(mini_hand: HandModel, noise_mm: float, least_mm: float, most_mm: float) -> None:
    """The published fit reaches 3.78 and 7.36 mm of mesh error on such hands."""
    joints, truth, starts = noisy_hands(mini_hand, noise_mm, 64)
    rotations, betas = fit(HandChain(mini_hand, torch.float32), joints, starts)
    posed = HandLayer(mini_hand)(rotations, betas)
    verts = scale_and_place(posed.joints, posed.verts, joints)[1]
    assert least_mm < 1000 * float(torch.linalg.vector_norm(verts - truth, dim=-1).mean()) < most_mm


@pytest.mark.parametrize("kind", ["collapsed", "straight", "far", "huge", "one place but two"])
def test_odd_joints_give_finite_hands(mini_hand: HandModel, kind: str) -> None:
    joints, _, starts = noisy_hands(mini_hand, 0, 4)
    wrist = joints[:, :1]
    if kind == "collapsed":
        joints = wrist + 0.003 * (joints - wrist)
    elif kind == "straight":
        joints = wrist + torch.arange(21)[None, :, None] * torch.tensor([0.01, 0, 0])
    elif kind == "far":
        joints = joints + torch.tensor([0, 0, 1000.0])
    elif kind == "huge":
        joints = wrist + 10 * (joints - wrist)
    else:
        joints = wrist.expand(4, 21, 3).clone()
        joints[:, 9, 0] += 0.1
    rotations, betas = fit(HandChain(mini_hand, torch.float32), joints, starts)
    assert bool(torch.isfinite(rotations).all())
    assert bool(torch.isfinite(betas).all())
