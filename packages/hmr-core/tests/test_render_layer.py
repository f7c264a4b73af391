"""Smooth edges and shading within a face, against what is computed the long way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hmr_core.hand.layer import HandLayer
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.render import shading
from hmr_core.render.raster import Triangles, narrowed
from hmr_core.render.shading import RenderMesh, draw

LIGHT = np.array([0.4, -0.6, -0.75])
COLOUR = np.array([0.74, 0.86, 1.0])
SIZE = 180


def hand(seed: int, long_px: float, depth: float = 0.5) -> tuple[RenderMesh, np.ndarray]:
    """A hand turned anywhere, and the camera in whose picture it has this size, in the middle of SIZE pixels."""
    generator = np.random.default_rng(seed)
    model = load_synthetic_hand()
    turns = np.concatenate([generator.normal(0, 2, (1, 3)), generator.normal(0, 0.5, (15, 3))])
    verts = HandLayer(model)(torch.from_numpy(turns[None]).float(), torch.zeros(1, 10)).verts[0].double().numpy()
    verts = verts - verts.mean(0) + np.array([0, 0, depth])
    seen = verts[:, :2] / verts[:, 2:]
    focal = long_px / np.ptp(seen, axis=0).max()
    cx, cy = SIZE / 2 - focal * (seen.max(0) + seen.min(0)) / 2
    return RenderMesh(verts, model.faces.numpy(), COLOUR), np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1]])


def noise(height: int = SIZE, width: int = SIZE) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def drawn_large(image: np.ndarray, mesh: RenderMesh, camera: np.ndarray, k: int) -> np.ndarray:
    """The picture drawn k times as large, all of it, and its means."""
    scaled = np.array([[k, 0, (k - 1) / 2], [0, k, (k - 1) / 2], [0, 0, 1]]) @ camera
    large = draw(image.repeat(k, 0).repeat(k, 1), [mesh], scaled, LIGHT, ambient=0.2, opacity=0.9)
    height, width = image.shape[:2]
    return large.reshape(height, k, width, k, 3).astype(float).mean((1, 3))


@pytest.mark.parametrize("long_px", [100, 160, 420], ids=["small", "large", "beyond the picture"])
def test_smooth_edges_are_the_means_of_a_larger_picture(long_px: float) -> None:
    for seed in range(4):
        mesh, camera = hand(seed, long_px)
        smooth = draw(noise(), [mesh], camera, LIGHT, ambient=0.2, opacity=0.9, supersampling=3)
        expected = drawn_large(noise(), mesh, camera, 3)
        off = np.abs(smooth - expected).max(-1)
        assert (off > 1.5).sum() <= 3, "parts of the hand may lie between the middles of pixels"
        assert off.mean() < 0.3
        plain = draw(noise(), [mesh], camera, LIGHT, ambient=0.2, opacity=0.9)
        assert (np.abs(plain - expected).max(-1) > 8).sum() > 50, "edges that are not smoothed differ"


def test_a_finger_before_the_palm_and_the_hole_of_the_wrist_have_smooth_edges() -> None:
    """Within the hand, away from its outline."""
    rough = 0
    for seed in range(6):
        mesh, camera = hand(seed, 160)
        covered = (draw(noise(), [mesh], camera, LIGHT) != noise()).any(-1)
        inner = np.zeros_like(covered)
        inner[2:-2, 2:-2] = np.lib.stride_tricks.sliding_window_view(covered, (5, 5)).all((2, 3))
        smooth = draw(noise(), [mesh], camera, LIGHT, ambient=0.2, supersampling=3)
        plain = draw(noise(), [mesh], camera, LIGHT, ambient=0.2)
        off = np.abs(smooth - drawn_large_opaque(mesh, camera))[inner].max(-1)
        assert (off > 1.5).sum() <= 2
        rough += int((np.abs(smooth.astype(int) - plain)[inner].max(-1) > 8).sum())
    assert rough > 100


def drawn_large_opaque(mesh: RenderMesh, camera: np.ndarray) -> np.ndarray:
    scaled = np.array([[3, 0, 1], [0, 3, 1], [0, 0, 1.0]]) @ camera
    large = draw(noise().repeat(3, 0).repeat(3, 1), [mesh], scaled, LIGHT, ambient=0.2)
    means: np.ndarray = large.reshape(SIZE, 3, SIZE, 3, 3).astype(float).mean((1, 3))
    return means


def test_normals_are_interpolated_in_space_and_not_in_the_picture() -> None:
    """Two faces, one end ten times as far as the other, against each pixel's ray, in double precision."""
    verts = np.array([[-0.1, -0.1, 0.3], [0.1, -0.1, 0.3], [0.9, 0.9, 3.0], [-0.9, 0.9, 3.0]])
    verts += np.array([[0.02, 0, 0.1], [0, 0, 0], [0, 0, 1.4], [0, 0, 0]])
    bent = RenderMesh(verts, np.array([[0, 3, 1], [1, 3, 2]]), np.ones(3))
    light = np.array([0.9, 0.7, -0.2])
    camera = np.array([[160.0, 0, 60], [0, 160, 60], [0, 0, 1]])
    image = np.zeros((120, 120, 3), np.uint8)
    picture = draw(image, [bent], camera, light, ambient=0.1)
    normals = shading.vertex_normals(bent.verts_m, bent.faces)
    towards = light / np.linalg.norm(light)
    rows, columns = np.nonzero(picture.any(-1))
    rays = np.stack([columns, rows, np.ones(len(rows))], 1) @ np.linalg.inv(camera).T
    expected = np.full(len(rows), np.nan)
    for face in bent.faces:
        weights = rays @ np.linalg.inv(verts[face])  # of the corners, to a common factor
        inside = (weights > 1e-9).all(1)
        normal = weights @ normals[face]
        if np.linalg.det(verts[face]) > 0:  # seen from behind
            normal = -normal
        cosine = normal @ towards / np.linalg.norm(normal, axis=1)
        expected[inside] = (255 * (0.1 + 0.9 * cosine.clip(0)))[inside]
    known = ~np.isnan(expected)
    assert known.sum() > 2000
    assert np.ptp(expected[known]) > 20
    np.testing.assert_allclose(picture[rows, columns, 0][known], expected[known], atol=0.8)


def test_bands_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh, camera = hand(2, 160)
    whole = draw(noise(), [mesh], camera, LIGHT, supersampling=3)
    monkeypatch.setattr(shading, "_BAND_PIXELS", 7 * SIZE)
    banded = draw(noise(), [mesh], camera, LIGHT, supersampling=3)
    np.testing.assert_allclose(banded.astype(int), whole, atol=1)  # rounding differs


def test_opacity_shows_the_picture_below() -> None:
    mesh, camera = hand(0, 160)
    solid = draw(noise(), [mesh], camera, LIGHT, supersampling=3)
    half = draw(noise(), [mesh], camera, LIGHT, supersampling=3, opacity=0.5)
    np.testing.assert_allclose(half, (solid.astype(float) + noise()) / 2, atol=1.0)
    np.testing.assert_array_equal(draw(noise(), [mesh], camera, LIGHT, supersampling=3, opacity=0.0), noise())


def test_a_face_that_covers_all_of_the_picture_has_no_edge() -> None:
    verts = np.array([[-9.0, -9, 1], [-9, 9, 1], [20, 0, 1]])
    mesh = RenderMesh(verts, np.array([[0, 1, 2]]), np.ones(3))
    camera = np.array([[20.0, 0, 20], [0, 20, 20], [0, 0, 1]])
    drawn = draw(noise(40, 40), [mesh], camera, np.array([0, 0, -1.0]), supersampling=3)
    assert (drawn == 255).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_faces_with_a_corner_that_is_nowhere_are_left_out(value: float) -> None:
    mesh, camera = hand(0, 160)
    verts = mesh.verts_m.copy()
    verts[700, 0] = value
    drawn = draw(noise(), [RenderMesh(verts, mesh.faces, COLOUR)], camera, LIGHT, supersampling=3)
    assert (drawn != draw(noise(), [mesh], camera, LIGHT, supersampling=3)).any(-1).mean() < 0.3


def test_no_mesh_draws_nothing() -> None:
    nothing = RenderMesh(np.zeros((3, 3)), np.zeros((0, 3), dtype=np.int64), COLOUR)
    np.testing.assert_array_equal(draw(noise(), [nothing], np.eye(3), LIGHT, supersampling=3), noise())


def test_narrowed_spans_still_cover_the_parts_of_a_mask_s_pixels() -> None:
    generator = np.random.default_rng(0)
    corners, depth = generator.uniform(-20, 140, (60, 2)), generator.uniform(0.5, 2, 60)
    faces = np.arange(60).reshape(20, 3)
    k, width, height = 3, 40, 34
    fine = Triangles(corners, depth, faces, (k * width, k * height))
    mask = generator.uniform(size=(height, width)) < 0.05
    part = mask.repeat(k, 0).repeat(k, 1)
    spans = fine.spans()
    less = narrowed(spans, mask, k)
    assert 0 < less.length.sum() < 0.9 * spans.length.sum()
    expected, seen = (
        np.where(near.keys > 0, 1 + of.tri[near.keys & near.mask], 0)
        for near, of in ((fine.nearest(spans), spans), (fine.nearest(less), less))
    )
    np.testing.assert_array_equal(seen[part], expected[part])
    assert len(narrowed(spans, np.zeros_like(mask), k).tri) == 0
