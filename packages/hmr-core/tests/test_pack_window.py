"""A crop made from the stored window is the crop made from the frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy import ndarray

from hmr_core.data.oakink import OakInkReader, open_oakink
from hmr_core.data.pack.format import DEFAULT_MARGIN
from hmr_core.data.pack.window import crop_window, joints_box
from hmr_core.errors import HmrError
from hmr_core.geometry.camera import PUBLISHED_DEPTH_EPSILON_M, project
from hmr_core.geometry.crop import crop_affine, joint_box
from hmr_core.plugins.sample import Sample

OAKINK = Path(__file__).parent / "data" / "oakink_mini" / "OakInk"
FRAME_PX = (848, 480)


@pytest.fixture(scope="module")
def reader() -> OakInkReader:
    return open_oakink(OAKINK)


def affine_of(sample: Sample, scale: float, angle: float, size: int) -> ndarray:
    """The map from the frame to the crop, as the data set makes it."""
    joints, camera = (torch.from_numpy(a).double() for a in (sample.joints, sample.intrinsics))
    centre, span = joint_box(project(joints, camera, depth_epsilon_m=PUBLISHED_DEPTH_EPSILON_M))
    side = span * 1.7 * scale
    return np.asarray(crop_affine(centre, side, torch.tensor(angle).double(), size)[:2].numpy())


def crop_difference(frame: ndarray, sample: Sample, margin: float, scale: float, angle: float, size: int) -> ndarray:
    """Absolute difference in grey levels between the crops made from the frame and from the window."""
    x, y, width, height = crop_window(joints_box(sample.joints, sample.intrinsics), FRAME_PX, margin)
    affine = affine_of(sample, scale, angle, size)
    moved = affine.copy()
    moved[:, 2] += affine[:, :2] @ np.array([x, y])
    whole = cv2.warpAffine(frame, affine, (size, size), flags=cv2.INTER_LINEAR)
    window = np.ascontiguousarray(frame[y : y + height, x : x + width])
    part = cv2.warpAffine(window, moved, (size, size), flags=cv2.INTER_LINEAR)
    return np.abs(whole.astype(int) - part)


def noise(sample_id: str) -> ndarray:
    """A frame in which any missing pixel shows."""
    return np.random.default_rng(list(sample_id.encode())).integers(0, 256, (480, 848, 3), dtype=np.uint8)


def test_crops_of_window_and_frame_agree(reader: OakInkReader) -> None:
    generator = np.random.default_rng(0)
    for sample_id in reader.split_ids("sp0", "all")[::4]:
        sample = reader.read(sample_id)
        frame = reader.read_image(sample)
        for _ in range(8):
            scale, angle = generator.uniform(0.875, 1.125), generator.uniform(-np.pi, np.pi)
            size = int(generator.choice([96, 224, 256]))
            difference = crop_difference(frame, sample, DEFAULT_MARGIN, scale, angle, size)
            assert difference.max() <= 2
            assert difference.mean() < 0.05


def moved(sample: Sample, shift_m: tuple[float, float]) -> Sample:
    """The sample with its hand moved across the frame."""
    joints = sample.joints + np.array([*shift_m, 0], dtype=np.float32)
    return Sample(**{**sample.__dict__, "joints": joints})


@pytest.mark.parametrize("shift_m", [(0.0, 0.0), (-0.45, 0.0), (0.5, 0.1), (0.0, 0.3), (-0.4, -0.25), (3.0, 0.0)])
def test_no_pixel_that_a_crop_touches_is_missing(reader: OakInkReader, shift_m: tuple[float, float]) -> None:
    """At the largest scale and the worst angles, also for hands at the frame's edge and outside it, on noise.

    OpenCV rounds positions to 1/32 pixel, and the window's shift is exact, so that equal pixels give equal crops but
    for the rounding of the map itself: a few grey levels on noise. A missing pixel would be black.
    """
    for sample_id in reader.split_ids("sp0", "all")[:: 96 // 6]:
        sample = moved(reader.read(sample_id), shift_m)
        frame = np.maximum(noise(sample_id), 128)
        for angle in np.deg2rad([0, 30, 45, -45, 60, 135, 180]):
            difference = crop_difference(frame, sample, DEFAULT_MARGIN, 1.125, float(angle), 256)
            assert difference.max() < 16


def test_a_smaller_margin_misses_pixels(reader: OakInkReader) -> None:
    """The comparison above can fail: without room for the rotation, corners of the crop are black."""
    sample = reader.read(reader.split_ids("sp0", "all")[0])
    frame = np.maximum(noise(sample.id), 128)
    assert crop_difference(frame, sample, 1.7 * 1.125, 1.125, np.pi / 4, 256).max() >= 128
    assert crop_difference(frame, sample, 1.7 * 1.125, 1.125, 0.0, 256).max() < 16


def test_windows_lie_in_the_frame(reader: OakInkReader) -> None:
    sample = reader.read(reader.split_ids("sp0", "all")[0])
    for shift_m in ((0, 0), (-0.6, 0), (9, 9), (-9, -9), (0, 2)):
        box = joints_box(moved(sample, shift_m).joints, sample.intrinsics)
        x, y, width, height = crop_window(box, FRAME_PX, DEFAULT_MARGIN)
        assert min(x, y) >= 0
        assert min(width, height) >= 1
        assert x + width <= 848
        assert y + height <= 480


def test_joints_that_give_no_box(reader: OakInkReader) -> None:
    sample = reader.read(reader.split_ids("sp0", "all")[0])
    behind = sample.joints.copy()
    behind[5, 2] = -0.1
    with pytest.raises(HmrError, match="a joint lies behind the camera"):
        joints_box(behind, sample.intrinsics)
    with pytest.raises(HmrError, match="its joints are all in one place, so there is no box to crop"):
        joints_box(np.repeat(sample.joints[:1], 21, 0), sample.intrinsics)
