"""Lit surfaces: edges, light, what is hidden, and that no pixel is missed and no seam shows."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from hmr_core.data.synthetic.solids import Turned, sphere_profile
from hmr_core.render import lit
from hmr_core.render.lit import Lighting, Surface
from hmr_core.render.shading import vertex_normals

INTRINSICS = np.array([[400.0, 0, 60.3], [0, 400.0, 50.8], [0, 0, 1]])
LIGHTING = Lighting(
    lamp=np.array([0.6, 0.0, -0.8]),
    lamp_rgb=np.full(3, 0.7),
    up=np.array([0.0, 0.0, -1.0]),
    sky_rgb=np.full(3, 0.3),
    ground_rgb=np.full(3, 0.1),
)
RED, BLUE = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])


def ball(x: float, depth: float, radius: float, rgb: np.ndarray) -> Surface:
    verts, faces = Turned(sphere_profile(radius)).mesh()
    count = len(verts)
    placed = verts @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]]) + (x, 0, depth)
    return Surface(
        verts_m=placed,
        normals=vertex_normals(placed, faces),
        faces=faces,
        colours=np.tile(rgb, (count, 1)),
        ambient=np.ones(count),
        direct=np.ones(count),
    )


def draw_lit(image: np.ndarray, surfaces: list[Surface], blur_px: float = 0.0) -> np.ndarray:
    """A copy of an RGB image with surfaces over it."""
    drawn = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    lit.draw_lit(drawn, surfaces, INTRINSICS, LIGHTING, blur_px=blur_px)
    assert (drawn[..., 3] == 255).all()
    return drawn[..., :3]


def blank() -> np.ndarray:
    return np.zeros((100, 120, 3), dtype=np.uint8)


def hull(surface: Surface) -> np.ndarray:
    """The convex outline of a projected surface."""
    projected = surface.verts_m @ INTRINSICS.T
    return cv2.convexHull((projected[:, :2] / projected[:, 2:]).astype(np.float32))


def test_every_pixel_inside_is_covered_and_none_outside() -> None:
    one = ball(0.01, 0.5, 0.04, np.ones(3))
    outline = hull(one)
    drawn = draw_lit(blank(), [one]).max(2)
    full = draw_lit(np.full((100, 120, 3), 255, np.uint8), [one]).max(2)
    inside = 0
    for y in range(100):
        for x in range(120):
            distance = cv2.pointPolygonTest(outline, (float(x), float(y)), True)
            if distance > 0.75:
                inside += 1
                assert drawn[y, x] > 60
                assert drawn[y, x] == full[y, x], "what lies behind does not shine through"
            elif distance < -0.75:
                assert drawn[y, x] == 0
    assert inside > 2500


def test_edges_have_values_in_between() -> None:
    drawn = draw_lit(blank(), [ball(0.0, 0.5, 0.04, np.ones(3))]).max(2)
    inner = cv2.erode(drawn, np.ones((3, 3), np.uint8))
    rim = (drawn > 0) & (inner == 0)
    shares = drawn[rim] / 255
    assert ((shares > 0.1) & (shares < 0.45)).mean() > 0.2
    assert len(np.unique(drawn[rim])) > 10


def test_blur_is_of_what_is_drawn_and_of_the_pixels_beside_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    one = ball(0.0, 0.5, 0.04, np.ones(3))
    sharp, soft = draw_lit(image, [one]), draw_lit(image, [one], blur_px=0.7)
    drawn = (draw_lit(blank(), [one]).max(2) > 0).astype(np.uint8)
    beside = cv2.dilate(drawn, np.ones((5, 5), np.uint8)) > 0
    np.testing.assert_array_equal(soft[~beside], image[~beside])
    expected = cv2.GaussianBlur(sharp, (3, 3), 0.7)
    np.testing.assert_array_equal(soft[drawn > 0], expected[drawn > 0])
    assert (soft != sharp)[drawn > 0].mean() > 0.1


def test_the_light_varies_without_steps() -> None:
    """Across the faces of a coarse ball, neighbours differ by no more than the light's own slope allows."""
    drawn = draw_lit(blank(), [ball(0.0, 0.5, 0.05, np.full(3, 0.5))])[..., 1].astype(int)
    solid = cv2.erode((drawn > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    steps = np.abs(np.diff(drawn, axis=1))[solid[:, 1:] & solid[:, :-1]]
    bends = np.abs(np.diff(drawn, 2, axis=1))[solid[:, 2:] & solid[:, :-2]]
    assert steps.max() <= 9
    assert np.quantile(bends, 0.99) <= 3
    assert np.ptp(drawn[solid]) > 60


def test_the_nearer_surface_hides_the_other_whatever_their_order() -> None:
    near, far = ball(-0.01, 0.4, 0.02, RED), ball(0.01, 0.5, 0.04, BLUE)
    one = draw_lit(blank(), [near, far])
    other = draw_lit(blank(), [far, near])
    np.testing.assert_array_equal(one, other)
    assert one[51, 50, 0] > 80
    assert one[51, 50, 2] == 0
    assert one[51, 95, 2] > 80
    behind = draw_lit(blank(), [replace(near, verts_m=near.verts_m + np.array([0, 0, 0.3])), far])
    assert (behind[..., 0] == 0).all(), "a small ball behind a large one does not show"


def test_the_lamp_and_its_shade() -> None:
    one = ball(0.0, 0.5, 0.04, np.full(3, 0.5))
    drawn = draw_lit(blank(), [one]).astype(int)
    assert drawn[51, 78].min() > drawn[51, 42].max() + 20, "the lamp is on the right"
    shaded = draw_lit(blank(), [replace(one, direct=np.zeros(len(one.verts_m)))]).astype(int)
    assert np.abs(shaded[51, 78] - shaded[51, 42]).max() < 12
    shiny = draw_lit(blank(), [replace(one, gloss=0.5)]).astype(int)
    assert (shiny - drawn).max() > 40
    assert (shiny >= drawn).all()


def test_what_lies_outside_the_image_or_behind_the_camera_is_left_out() -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    for surface in (ball(1.0, 0.5, 0.04, RED), ball(0.0, -0.5, 0.04, RED)):
        np.testing.assert_array_equal(draw_lit(image, [surface]), image)
