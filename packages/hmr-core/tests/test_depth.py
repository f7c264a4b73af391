"""The depth at which a hand has its size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hmr_core.geometry.camera import from_uvd, project, to_uvd
from hmr_core.hand.joints import BONES
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.inference.depth import FARTHEST_M, NEAREST_M, bone_lengths, depth_by_size, hand_size, root_in_box

CAMERA = torch.tensor([[700.0, 0, 110], [0, 720, 115], [0, 0, 1]], dtype=torch.float64).expand(32, 3, 3)
ROOT, SIZE = 9, 224


@pytest.fixture(scope="module")
def joints() -> Tensor:
    """Thirty-two bent and turned hands, a third of a metre to a metre and a half away; float64."""
    generator = torch.Generator().manual_seed(0)
    rotations = 0.4 * torch.randn(32, 16, 3, generator=generator).double()
    rotations[:, 0] *= 4
    layer = HandLayer(load_synthetic_hand(), torch.float64)
    betas = torch.randn(32, 10, generator=generator).double()
    place = torch.rand(32, 3, generator=generator).double() * torch.tensor([0.1, 0.1, 1.2]) + torch.tensor([0, 0, 0.3])
    return layer.joints(rotations, betas, centre=ROOT) + place[:, None]


def lengths_of(joints: Tensor) -> Tensor:
    return torch.stack([(joints[:, b] - joints[:, a]).norm(dim=-1) for a, b in BONES], dim=1)


def rays_and_offsets(joints: Tensor, noise_px: float = 0.0, noise_m: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    uvd = to_uvd(joints, joints[:, ROOT], CAMERA, SIZE)
    uvd[..., :2] += noise_px / SIZE * torch.randn(32, 21, 2, generator=generator).double()
    uvd[..., 2] += noise_m / 0.4 * torch.randn(32, 21, generator=generator).double()
    at_zero = from_uvd(uvd, torch.zeros(32, 3).double(), CAMERA, SIZE)
    at_one = from_uvd(uvd, torch.ones(32, 3).double(), CAMERA, SIZE)
    return at_one - at_zero, at_zero


def test_exact_joints_give_the_exact_depth(joints: Tensor) -> None:
    depth = depth_by_size(*rays_and_offsets(joints), lengths_of(joints))
    torch.testing.assert_close(depth, joints[:, ROOT, 2], rtol=1e-9, atol=0)


def test_a_hand_of_another_size_is_farther_or_nearer(joints: Tensor) -> None:
    rays, offsets = rays_and_offsets(joints)
    larger = depth_by_size(rays, 1.1 * offsets, 1.1 * lengths_of(joints))
    torch.testing.assert_close(larger, 1.1 * joints[:, ROOT, 2], rtol=1e-9, atol=0)


@pytest.mark.parametrize(("noise_px", "noise_m", "median", "most"), [(1, 0.002, 0.015, 0.15), (3, 0.006, 0.05, 0.5)])
def test_noise_costs_little(joints: Tensor, noise_px: float, noise_m: float, median: float, most: float) -> None:
    depth = depth_by_size(*rays_and_offsets(joints, noise_px, noise_m), lengths_of(joints))
    share = (depth / joints[:, ROOT, 2] - 1).abs()
    assert float(share.median()) < median
    assert float(share.max()) < most


def test_hands_that_point_at_the_camera_or_are_a_point_have_a_depth_of_which_no_joint_is_behind_it() -> None:
    lengths = bone_lengths(HandLayer(load_synthetic_hand()), torch.zeros(3, 10))
    along = torch.zeros(3, 21, 3, dtype=torch.float64)
    along[..., 2] = 1  # the middle of the picture
    offsets = torch.zeros_like(along)
    offsets[0, :, 2] = torch.linspace(0.1, -0.1, 21)  # along the ray
    offsets[1] = 0  # a point
    offsets[2, :, 2] = torch.linspace(-0.3, 0.3, 21)
    along[2, :, 0] = 1e-6 * torch.arange(21)
    depth = depth_by_size(along, offsets, lengths)
    assert bool(torch.isfinite(depth).all())
    assert bool((depth <= FARTHEST_M).all())
    assert float((depth[:, None] + offsets[..., 2]).amin()) >= NEAREST_M - 1e-9


def test_a_hand_s_size_goes_along_its_bones_to_the_middle_fingertip() -> None:
    layer = HandLayer(load_synthetic_hand())
    lengths = bone_lengths(layer, torch.zeros(1, 10))
    flat = layer.joints(torch.zeros(1, 16, 3), torch.zeros(1, 10))[0]
    straight = float((flat[12] - flat[0]).norm())
    assert float(hand_size(lengths)) == pytest.approx(straight, rel=0.02)  # of the flat hand the finger is straight
    assert 0.17 < float(hand_size(lengths)) < 0.2


def test_a_hand_without_a_place_fills_its_box(joints: Tensor) -> None:
    relative = joints - joints[:, ROOT, None]
    root = root_in_box(relative, CAMERA, middle_px=112.0, side_px=180.0)
    pixels = project(relative + root[:, None], CAMERA)
    low, high = pixels.amin(1), pixels.amax(1)
    torch.testing.assert_close((low + high) / 2, torch.full((32, 2), 112.0).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close((high - low).amax(1), torch.full((32,), 180.0).double(), rtol=1e-3, atol=0)
    given = root_in_box(relative, CAMERA, middle_px=112.0, side_px=180.0, depth=0.8)
    assert bool((given[:, 2] == 0.8).all())
    pixels = project(relative + given[:, None], CAMERA)
    torch.testing.assert_close(
        (pixels.amin(1) + pixels.amax(1)) / 2, torch.full((32, 2), 112.0).double(), rtol=0, atol=1e-3
    )
