"""The convolution of the joints' heat maps against one that builds them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hmr_i2l.gaussians import NARROWEST, Pose2Feat, convolve_gaussians, gaussian

SIGMA = 2.5
HEIGHT, WIDTH, DEPTH = 7, 9, 5
OUTSIDE = torch.tensor(
    [[[4.2, 3.1, 2.0], [0.0, 0.0, 0.0], [8.0, 6.0, 4.0]], [[-1.5, 2.0, 1.0], [4.0, 7.6, -3.0], [12.0, -9.0, 30.0]]],
    dtype=torch.float64,
)
"""Joints of two samples: within the map, at its corners, and outside of it on each axis."""


def heat_maps(joints: Tensor, height: int, width: int, depth: int) -> Tensor:
    """exp(-(distance / sigma)^2 / 2) at each cell, as (batch, joint * depth, height, width), by the definition."""
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=joints.dtype) for n in (depth, height, width)), indexing="ij")
    grid = torch.stack([x, y, z], -1)
    squared = ((grid - joints[:, :, None, None, None]) ** 2).sum(-1)
    return torch.exp(-squared / (2 * SIGMA**2)).flatten(1, 2)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_gaussian_is_one_at_its_centre_and_falls_off_by_sigma() -> None:
    line = gaussian(torch.tensor([[3.0]]), 8, 2.0)[0, 0]
    assert line[3] == 1
    assert line[5].item() == pytest.approx(2.718281828**-0.5)
    torch.testing.assert_close(line[1], line[5])


def test_what_no_sum_would_show_is_zero_not_a_denormal_number() -> None:
    line = gaussian(torch.tensor([[0.0]]), 40, 2.0)[0, 0]
    assert not line[15:].any()  # exp(-28) and less
    assert bool((line[:14] > 1e-12).all())


def test_values_and_gradients_are_those_of_the_convolution_of_the_heat_maps(generator: torch.Generator) -> None:
    kernel = torch.randn(4, 3, DEPTH, 3, 3, dtype=torch.float64, generator=generator).requires_grad_()
    joints = OUTSIDE.clone().requires_grad_()
    found = convolve_gaussians(kernel, joints, (HEIGHT, WIDTH), (SIGMA,) * 3)
    expected = F.conv2d(heat_maps(joints, HEIGHT, WIDTH, DEPTH), kernel.flatten(1, 2), padding=1)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(found.shape, dtype=torch.float64, generator=generator)
    for one, other in zip(
        *(torch.autograd.grad((out * weights).sum(), (kernel, joints)) for out in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_the_border_is_padded_with_zeros_not_with_the_gaussians_tails(generator: torch.Generator) -> None:
    kernel = torch.ones(1, 1, 1, 3, 3, dtype=torch.float64)
    joints = torch.zeros(1, 1, 3, dtype=torch.float64)
    found = convolve_gaussians(kernel, joints, (4, 4), (SIGMA,) * 3)[0, 0]
    line = [torch.exp(torch.tensor(-0.5 * (i / SIGMA) ** 2, dtype=torch.float64)) for i in range(4)]
    assert found[0, 0].item() == pytest.approx(float((line[0] + line[1]) ** 2))
    assert found[3, 3].item() == pytest.approx(float((line[2] + line[3]) ** 2))


@pytest.mark.parametrize("training", [True, False])
def test_features_and_joints_go_through_one_convolution(training: bool, generator: torch.Generator) -> None:
    layer = Pose2Feat(6, DEPTH, SIGMA, init_std=0.1).double().train(training)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "conv.0.weight": (6, 6 + 21 * DEPTH, 3, 3), "conv.0.bias": (6,), "conv.1.weight": (6,), "conv.1.bias": (6,),
    }  # fmt: skip
    torch.nn.init.normal_(layer.conv[0].weight, generator=generator)
    features = torch.randn(2, 6, HEIGHT, WIDTH, dtype=torch.float64, generator=generator).requires_grad_()
    joints = 12 * torch.rand(2, 21, 3, dtype=torch.float64, generator=generator) - 2
    found = layer(features, joints)
    expected = layer.conv(torch.cat([features, heat_maps(joints, HEIGHT, WIDTH, DEPTH)], dim=1))
    torch.testing.assert_close(found, expected)
    wanted = (features, *layer.parameters())
    weights = torch.randn(found.shape, dtype=torch.float64, generator=generator)
    for one, other in zip(
        *(torch.autograd.grad((out * weights).sum(), wanted) for out in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_half_precision_costs_no_more_than_the_features_own_rounding(generator: torch.Generator) -> None:
    layer = Pose2Feat(8, 16, SIGMA, init_std=0.1).eval()
    torch.nn.init.normal_(layer.conv[0].weight, std=0.05, generator=generator)
    features = torch.randn(2, 8, 16, 16, generator=generator)
    joints = 15 * torch.rand(2, 21, 3, generator=generator)
    with torch.no_grad():
        full = layer(features, joints)
        with torch.autocast("cpu", torch.bfloat16):
            low = layer(features, joints)
    torch.testing.assert_close(low.float(), full, atol=0.01 * float(full.max()), rtol=0)


def test_on_a_coarser_grid_a_joint_is_where_its_cell_is() -> None:
    """A cell of the features is 4 x 4 of the heat map's: the peak moves with it, and is no narrower than it may be."""
    layer = Pose2Feat(1, 2, SIGMA, init_std=0.1, shrink=4).double().eval()
    with torch.no_grad():
        convolution = layer.conv[0]
        convolution.weight.zero_()
        convolution.weight[0, 1, 1, 1] = 1  # joint 0's first cell along the depth, the kernel's middle
    joints = torch.full((1, 21, 3), -100.0, dtype=torch.float64)
    joints[0, 0] = torch.tensor([13.5, 5.5, 0.0])  # in the middle of cells 12..15 and 4..7
    found = layer(torch.zeros(1, 1, 6, 6, dtype=torch.float64), joints)[0, 0]
    assert divmod(int(found.argmax()), 6) == (1, 3)
    sigma = max(SIGMA / 4, NARROWEST)
    assert float(found.detach()[1, 4] / found.detach()[1, 3]) == pytest.approx(math.exp(-0.5 / sigma**2))
