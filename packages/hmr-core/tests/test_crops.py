"""Crops from boxes: where the box lies in them, their size, and their camera."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hmr_core.config import ModelConfig, Section
from hmr_core.data.augment import Augmentation, identity
from hmr_core.data.crops import NOMINAL_SIZE, Boxes, crop_size, joints_to_boxes, make_crops, points_to_pixels, warp
from hmr_core.geometry.camera import project
from hmr_core.geometry.crop import transform_px

CAMERA = torch.tensor([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]], dtype=torch.float64)
BOXES = Boxes(
    centre_px=torch.tensor([[200.0, 150.0], [420.5, 301.25]], dtype=torch.float64),
    side_px=torch.tensor([80.0, 120.0], dtype=torch.float64),
)


def turned(scale: float, angle: float) -> Augmentation:
    return Augmentation(np.full(2, scale), np.full(2, angle), np.ones((2, 3)), [None] * 2)


def test_a_model_s_crop_is_as_large_as_its_configuration_says() -> None:
    assert crop_size(ModelConfig(image_size=96)) == 96
    assert crop_size(Section()) == NOMINAL_SIZE


@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_the_box_lies_in_the_middle_of_its_crop(angle: float) -> None:
    crops = make_crops(BOXES, CAMERA.expand(2, 3, 3), turned(1.1, angle), bbox_expand=1.5, image_size=128)
    torch.testing.assert_close(crops.side_px, 1.5 * 1.1 * BOXES.side_px)
    assert torch.equal(crops.centre_px, BOXES.centre_px)
    half = BOXES.side_px[:, None, None] / 2
    corners = BOXES.centre_px[:, None] + half * torch.tensor([[0.0, 0], [1, 0], [0, 1]], dtype=torch.float64)
    inside = transform_px(crops.affine, corners)
    torch.testing.assert_close(inside[:, 0], torch.full((2, 2), 64.0, dtype=torch.float64))
    lengths = (inside[:, 1:] - inside[:, :1]).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full((2, 2), 64 / 1.5 / 1.1, dtype=torch.float64))


@pytest.mark.parametrize("angle", [0.0, -1.2])
def test_the_crop_s_camera_sees_turned_points_where_the_crop_shows_them(angle: float) -> None:
    camera = CAMERA.expand(2, 3, 3)
    crops = make_crops(BOXES, camera, turned(0.9, angle), bbox_expand=1.7, image_size=224)
    points = torch.rand(2, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5
    points[..., 2] += 1
    shown = transform_px(crops.affine, project(points, camera))
    torch.testing.assert_close(project(points @ crops.rotation.mT, crops.intrinsics), shown)


def test_the_box_of_joints_is_on_the_longer_side_of_theirs() -> None:
    joints = torch.tensor([[0.0, 0.0, 0.5], [0.1, 0.04, 0.5], [0.05, -0.02, 0.5]], dtype=torch.float64)
    joints = joints.repeat(7, 1)[None]
    boxes = joints_to_boxes(joints, CAMERA[None])
    pixels = points_to_pixels(joints, CAMERA[None])[0]
    low, high = pixels.amin(0), pixels.amax(0)
    assert boxes.side_px.tolist() == [float((high - low).max())]
    assert boxes.centre_px.tolist() == [[int(v) for v in ((low + high) / 2).tolist()]]  # whole pixels, as published
    assert boxes.side_px.item() == pytest.approx(120, abs=1e-3)


def test_a_crop_shows_the_pixels_of_its_box() -> None:
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[150 - 40 : 150 + 40, 200 - 40 : 200 + 40] = (10, 200, 90)
    crops = make_crops(BOXES, CAMERA.expand(2, 3, 3), identity(2), bbox_expand=2.0, image_size=64)
    made = np.empty((64, 64, 3), np.uint8)
    warp(frame, crops.affine[0, :2].numpy(), np.ones(3), made)
    assert (made[18:46, 18:46] == (10, 200, 90)).all()
    assert not made[:14].any()
    assert not made[:, 50:].any()
    warp(frame, crops.affine[0, :2].numpy(), np.array([2.0, 0.5, 3.0]), made)
    assert made[32, 32].tolist() == [20, 100, 255]
