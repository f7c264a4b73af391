"""Regions turn with the hand, and a crop shows what the picture has in its region."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from numpy import ndarray

from hmr_mediapipe.crops import BLACK, EDGE, SPARSE, crop_regions
from hmr_mediapipe.regions import Region, overlap, region_of_landmarks, region_of_palm

UP, SHIFT = np.array([0.0, -1.0]), np.array([7.0, -3.0])


def hand(seed: int = 0) -> ndarray:
    """Landmarks of something like an upright hand, 100 pixels wide."""
    generator = np.random.default_rng(seed)
    fingers = [[100 + 25 * (f - 2), 100 - 30 * k] for f in range(5) for k in range(4)]
    return np.array([[100, 180], *fingers]) + generator.normal(0, 2, (21, 2))


def turned(points: ndarray, angle: float) -> ndarray:
    """Clockwise about the origin, as seen with y down."""
    c, s = math.cos(angle), math.sin(angle)
    return np.stack([c * points[..., 0] - s * points[..., 1], s * points[..., 0] + c * points[..., 1]], axis=-1)


def test_the_region_of_an_upright_palm_is_above_it() -> None:
    """By hand: 40 wide and 50 high, so 130 on a side, its middle 25 above the palm's."""
    region = region_of_palm(np.array([100.0, 200.0, 40.0, 50.0]), np.array([100.0, 230.0]), np.array([100.0, 180.0]))
    assert region == pytest.approx((100, 175, 130, 0))


@pytest.mark.parametrize(("up", "angle"), [((1.0, 0.0), math.pi / 2), ((-1.0, 0.0), -math.pi / 2)])
def test_a_palm_that_points_sideways_has_a_turned_region(up: tuple[float, float], angle: float) -> None:
    wrist = np.array([100.0, 100.0])
    region = region_of_palm(np.array([100.0, 100.0, 40.0, 40.0]), wrist, wrist + 30 * np.array(up))
    assert region == pytest.approx((100 + 20 * up[0], 100, 104, angle))


@pytest.mark.parametrize("angle", [0.3, math.pi / 2, 3.0, -2.0])
def test_the_region_of_landmarks_turns_moves_and_grows_with_them(angle: float) -> None:
    points = hand()
    one, other = region_of_landmarks(points), region_of_landmarks(turned(1.5 * points, angle) + SHIFT)
    x, y = turned(1.5 * np.array(one[:2]), angle) + SHIFT
    assert (other.x, other.y, other.side) == pytest.approx((x, y, 1.5 * one.side))
    assert math.remainder(other.angle - one.angle - angle, 2 * math.pi) == pytest.approx(0, abs=1e-12)


def test_the_region_of_landmarks_is_twice_their_box_and_a_tenth_ahead() -> None:
    """An upright hand: the box of the palm and the lower finger joints, without the upper ones."""
    fingers = [[10.0 * f, -10.0 * k] for f in (-2, -1, 0, 1, 2) for k in (5, 6, 7, 8)]
    points = np.array([[-0.0, 0.0], *fingers])
    points[5:9, 0], points[13:17, 0] = -10, 10  # index and ring as far from the middle finger
    region = region_of_landmarks(points)
    width, height = 40, 70  # the thumb's third joint is the uppermost that counts
    assert region == pytest.approx((0, -35 - 0.1 * height, 2 * max(width, height), 0))


def test_a_point_is_not_lost_on_the_way_to_the_picture_and_back() -> None:
    region = Region(123.4, 56.7, 88.0, 1.1)
    to_picture = region.to_picture(224)
    corners = np.array([[0, 0], [224, 0], [224, 224], [0, 224], [112, 112]])
    in_picture = corners @ to_picture[:, :2].T + to_picture[:, 2]
    np.testing.assert_allclose(in_picture[4], [123.4, 56.7])
    np.testing.assert_allclose(np.linalg.norm(np.diff(in_picture[:4], axis=0), axis=1), 88)
    back = np.linalg.inv(np.vstack([to_picture, [0, 0, 1]]))
    np.testing.assert_allclose(in_picture @ back[:2, :2].T + back[:2, 2], corners, atol=1e-10)
    up = to_picture[:, :2] @ UP
    assert math.atan2(up[0], -up[1]) == pytest.approx(1.1)


def test_overlap_is_that_of_squares() -> None:
    one = Region(0, 0, 10, 0)
    assert overlap(one, one) == pytest.approx(1)
    assert overlap(one, Region(5, 0, 10, 2.0)) == pytest.approx(50 / 150)
    assert overlap(one, Region(10, 0, 10, 0)) == 0
    assert overlap(one, Region(0, 0, 1e-6, 0)) == pytest.approx(1e-14)


def gradient(height: int, width: int) -> ndarray:
    """A picture whose channels tell column, row and their sum, as far as 255 levels do."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 127 * (x / width + y / height)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("angle", [0.0, 0.7, -2.5])
@pytest.mark.parametrize("side", [60.0, 200.0])
def test_a_crop_shows_the_picture(side: float, angle: float) -> None:
    """The oracle: each crop pixel's place in float64, and the gradient's value there."""
    region, size = Region(300.0, 240.0, side, angle), 64
    crop = crop_regions(gradient(480, 640), [region], size, EDGE)[0].numpy()
    v, u = np.mgrid[:size, :size] - size / 2
    c, s = math.cos(angle) * side / size, math.sin(angle) * side / size
    x, y = c * u - s * v + 300, s * u + c * v + 240
    np.testing.assert_allclose(crop[..., 0], x / 640, atol=1.6 / 255)
    np.testing.assert_allclose(crop[..., 1], y / 480, atol=1.6 / 255)


def test_beyond_the_picture_are_its_edge_or_black() -> None:
    image = np.full((40, 30, 3), 200, np.uint8)
    around = Region(15, 20, 120, 0.3)
    assert float(crop_regions(image, [around], 32, EDGE).min()) == pytest.approx(200 / 255)
    black = crop_regions(image, [around], 32, BLACK)
    assert float(black.min()) == 0
    assert float(black[0, 16, 16, 0]) == pytest.approx(200 / 255)
    away = crop_regions(image, [Region(900, -500, 10, 0)], 32, EDGE)
    assert float(away.min()) == pytest.approx(200 / 255)


@pytest.mark.parametrize("shape", [(1, 1), (8, 3), (3, 8), (1, 40_000), (40_000, 2)])
def test_pictures_of_any_shape_have_crops(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 100, np.uint8)
    longer = max(shape)
    crops = crop_regions(image, [Region(shape[1] / 2, shape[0] / 2, longer, 0), Region(0, 0, 2, 1)], 48, EDGE)
    assert crops.shape == (2, 48, 48, 3)
    np.testing.assert_allclose(crops.numpy(), 100 / 255, atol=1e-6)


def test_a_picture_that_is_much_larger_than_its_crop_is_not_seen_by_single_pixels() -> None:
    """Fine stripes become grey; a wide gradient stays where it is."""
    size = 32
    side = int(2 * SPARSE * size)
    stripes = np.zeros((side, side, 3), np.uint8)
    stripes[::2] = 255
    crop = crop_regions(stripes, [Region(side / 2, side / 2, side, 0)], size, EDGE).numpy()
    np.testing.assert_allclose(crop, 127.5 / 255, atol=2 / 255)
    wide = cv2.resize(gradient(64, 64), (side, side), interpolation=cv2.INTER_LINEAR)
    shrunk = crop_regions(wide, [Region(side / 2, side / 2, side, 0.4)], size, EDGE)[0].numpy()
    sampled = np.asarray(
        cv2.warpAffine(
            cv2.GaussianBlur(wide, (0, 0), side / size / 3),
            Region(side / 2, side / 2, side, 0.4).to_picture(size),
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )
    np.testing.assert_allclose(shrunk, sampled / 255, atol=4 / 255)


def test_a_view_of_a_picture_has_the_same_crops() -> None:
    image = gradient(120, 160)
    view = np.repeat(image, 2, axis=1)[:, ::2]
    flipped = image[:, ::-1][:, ::-1]
    region = [Region(80, 60, 100, 0.2)]
    for same in (view, flipped, np.asfortranarray(image)):
        assert np.array_equal(crop_regions(same, region, 64, EDGE), crop_regions(image, region, 64, EDGE))
