"""The rasteriser: which pixels, which triangle, which depth."""

from __future__ import annotations

import numpy as np
import pytest

from hmr_core.render import raster
from hmr_core.render.raster import Fragments, rasterise

ONE = np.array([[0, 1, 2]])


def coverage(found: Fragments, width: int, height: int) -> np.ndarray:
    image = np.zeros((height, width), dtype=int)
    np.add.at(image, (found.rows, found.columns), 1)
    return image


def test_a_pixel_belongs_to_a_triangle_when_its_centre_at_integers_does() -> None:
    corners = np.array([[1.9, 0.9], [5.2, 0.9], [1.9, 4.2]])  # the long side is x + y = 6.1
    found = rasterise(corners, np.ones(3), ONE, (8, 6))
    expected = [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert coverage(found, 8, 6).tolist() == expected


def test_a_tiny_triangle_around_a_projected_point_covers_just_its_pixel() -> None:
    fx, fy, cx, cy = 600.0, 610.0, 420.5, 238.25
    point = np.array([0.05, -0.03, 0.7])
    u, v = fx * point[0] / point[2] + cx, fy * point[1] / point[2] + cy
    pixel = round(u), round(v)
    corners = np.array([pixel]) + np.array([[-0.2, -0.2], [0.3, -0.2], [0.0, 0.3]])
    found = rasterise(corners, np.full(3, 0.7), ONE, (848, 480))
    assert list(zip(found.columns.tolist(), found.rows.tolist(), strict=True)) == [pixel]


def test_either_winding_covers_the_same_pixels() -> None:
    corners = np.random.default_rng(0).uniform(0, 40, (3, 2))
    one = rasterise(corners, np.ones(3), ONE, (40, 40))
    other = rasterise(corners, np.ones(3), ONE[:, ::-1], (40, 40))
    np.testing.assert_array_equal(coverage(one, 40, 40), coverage(other, 40, 40))
    assert len(one.rows) > 20


@pytest.mark.parametrize("grain", [None, 1.0, 0.5], ids=["anywhere", "on pixel centres", "on half pixels"])
def test_a_triangle_covers_the_pixels_whose_centres_its_sides_enclose(grain: float | None) -> None:
    """Against the three half planes of each of 300 triangles: flat ones above and below, slivers, parts outside."""
    generator = np.random.default_rng(7)
    columns, rows = np.meshgrid(np.arange(24.0), np.arange(16.0))
    level = 0
    for _ in range(300):
        corners = generator.uniform(-6, 30, (3, 2))
        if grain:
            corners = np.round(corners / grain) * grain
            level += len(set(corners[:, 1])) < 3
        (ax, ay), (bx, by), (cx, cy) = corners
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0:
            continue
        sides = [(ax, ay, bx, by), (bx, by, cx, cy), (cx, cy, ax, ay)]
        inside = np.stack([((x2 - x1) * (rows - y1) - (y2 - y1) * (columns - x1)) / area for x1, y1, x2, y2 in sides])
        covered = coverage(rasterise(corners, np.ones(3), ONE, (24, 16)), 24, 16)
        np.testing.assert_array_equal(covered[inside.min(0) >= 0], 1)
        np.testing.assert_array_equal(covered[inside.min(0) < -1e-6], 0)
    assert level > 10 or not grain, "sides that are level were among them"


def test_no_triangles_cover_nothing() -> None:
    found = rasterise(np.zeros((3, 2)), np.ones(3), np.zeros((0, 3), dtype=np.int64), (8, 6))
    assert len(found.rows) == 0


def test_depth_and_weights_undo_perspective() -> None:
    """Against the intersection of each pixel's ray with the triangle's plane."""
    intrinsics = np.array([[300.0, 0, 32.0], [0, 310.0, 30.0], [0, 0, 1]])
    triangle = np.array([[-0.05, -0.04, 0.5], [0.09, -0.05, 1.1], [-0.01, 0.07, 0.8]])
    homogeneous = triangle @ intrinsics.T
    found = rasterise(homogeneous[:, :2] / homogeneous[:, 2:], triangle[:, 2], ONE, (64, 64))
    assert len(found.rows) > 100
    rays = np.stack([found.columns, found.rows, np.ones(len(found.rows))], 1) @ np.linalg.inv(intrinsics).T
    normal = np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])
    depth = (normal @ triangle[0]) / (rays @ normal)
    np.testing.assert_allclose(found.depth_m, depth, rtol=1e-9)
    np.testing.assert_allclose(found.weights @ triangle, rays * depth[:, None], atol=1e-9)


def test_the_nearer_of_two_crossing_triangles_shows_at_every_pixel() -> None:
    corners = np.array([[2.0, 2.0], [60.0, 5.0], [20.0, 60.0]])
    near_left = np.array([0.5, 1.0, 0.6])
    near_right = np.array([1.0, 0.5, 0.7])
    first = rasterise(corners, near_left, ONE, (64, 64))
    second = rasterise(corners, near_right, ONE, (64, 64))
    both = rasterise(
        np.concatenate([corners, corners]),
        np.concatenate([near_left, near_right]),
        np.array([[0, 1, 2], [3, 4, 5]]),
        (64, 64),
    )
    np.testing.assert_allclose(both.depth_m, np.minimum(first.depth_m, second.depth_m))
    assert set(both.face.tolist()) == {0, 1}


def test_neighbours_leave_no_gap_and_nothing_is_drawn_twice() -> None:
    generator = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.arange(9.0), np.arange(9.0)), -1) * 6 + 2
    grid[1:-1, 1:-1] += generator.uniform(-2, 2, (7, 7, 2))
    grid[2, 3] = np.round(grid[2, 3])  # a corner exactly on a pixel's centre
    index = np.arange(81).reshape(9, 9)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    found = rasterise(grid.reshape(-1, 2), np.ones(81), faces, (60, 60))
    expected = np.zeros((60, 60), dtype=int)
    expected[2:51, 2:51] = 1
    np.testing.assert_array_equal(coverage(found, 60, 60), expected)


def test_parts_outside_the_image_and_behind_the_camera_are_left_out() -> None:
    corners = np.array([[-50.0, -50.0], [100.0, -50.0], [-50.0, 100.0]])
    found = rasterise(corners, np.ones(3), ONE, (10, 10))
    assert len(found.rows) == 100
    assert len(rasterise(corners + 500, np.ones(3), ONE, (10, 10)).rows) == 0
    assert len(rasterise(corners, np.array([1.0, -0.1, 1.0]), ONE, (10, 10)).rows) == 0
    assert len(rasterise(np.zeros((3, 2)), np.ones(3), ONE, (10, 10)).rows) == 0


def test_little_memory_gives_the_same_image(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    corners, depth = generator.uniform(0, 50, (90, 2)), generator.uniform(0.5, 2, 90)
    faces = np.arange(90).reshape(30, 3)
    whole = rasterise(corners, depth, faces, (50, 50))
    monkeypatch.setattr(raster, "_CANDIDATES_AT_ONCE", 500)
    parts = rasterise(corners, depth, faces, (50, 50))
    np.testing.assert_array_equal(whole.face, parts.face)
    np.testing.assert_array_equal(whole.depth_m, parts.depth_m)
