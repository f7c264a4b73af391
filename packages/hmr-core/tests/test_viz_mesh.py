"""Meshes over images: where they lie, how they look, and what must not break them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hmr_core.data.batch import Key
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.pack.reader import Pack
from hmr_core.geometry.camera import project
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.plugins.recipes import DataConfig
from hmr_core.viz.contact_sheet import TILE_PX, contact_sheet
from hmr_core.viz.mesh_overlay import draw_mesh

SIZE = 120
CAMERA = np.array([[300.0, 0, 60], [0, 300, 60], [0, 0, 1]])
TRIANGLE = np.array([[0, 0, 0.5], [0, 0.05, 0.5], [0.05, 0.05, 0.5]])  # 30 pixels each way, its right angle at the left
IMAGE = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def hand() -> tuple[np.ndarray, np.ndarray]:
    """A hand half a metre away, its palm's plane across the view, and its faces."""
    model = load_synthetic_hand()
    with torch.no_grad():
        turn = torch.zeros(1, 16, 3)
        turn[0, 0, 0] = np.pi / 2
        verts = HandLayer(model)(turn, torch.zeros(1, 10), centre=9).verts[0].numpy()
    return verts + np.array([0, 0, 0.5], np.float32), model.faces.numpy()


def covered(image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    mask: np.ndarray = (image != drawn).any(-1)
    return mask


def test_a_mesh_lies_where_its_camera_sees_it_and_the_rest_stays() -> None:
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    drawn = draw_mesh(image, TRIANGLE, np.array([[0, 1, 2]]), CAMERA)
    rows, columns = np.nonzero(covered(image, drawn))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (60, 90, 60, 90)
    assert covered(image, drawn)[75, 62]
    assert not covered(image, drawn)[62, 75]
    assert covered(image, drawn).sum() == pytest.approx(30 * 30 / 2, rel=0.15)  # partly covered pixels count
    assert not image.any()  # the image that was given is as it was


def test_a_mesh_about_a_pixel_s_middle_covers_as_much_on_either_side_of_it() -> None:
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 10.3 / 300
    square = np.concatenate([corners, np.ones((4, 1))], axis=1)
    drawn = draw_mesh(image, square, np.array([[0, 2, 1], [0, 3, 2]]), CAMERA)[50:71, 50:71]
    assert 0 < drawn[0, 10].sum() < drawn[10, 10].sum()
    np.testing.assert_array_equal(drawn, drawn[::-1])
    np.testing.assert_array_equal(drawn, drawn[:, ::-1])


def test_edges_are_smooth_and_what_is_not_covered_is_the_image_itself() -> None:
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    drawn = draw_mesh(image, TRIANGLE, np.array([[0, 1, 2]]), CAMERA)
    inside = int(drawn[80, 65].sum())
    across = [int(value) for value in drawn[75, 60:95].sum(-1)]
    assert inside > 60
    assert any(0.1 * inside < value < 0.9 * inside for value in across)
    noisy = draw_mesh(IMAGE, TRIANGLE, np.array([[0, 1, 2]]), CAMERA)
    np.testing.assert_array_equal(noisy[:55], IMAGE[:55])
    np.testing.assert_array_equal(noisy[:, :55], IMAGE[:, :55])


def test_a_hand_covers_its_own_outline_and_is_not_flat(hand: tuple[np.ndarray, np.ndarray]) -> None:
    verts, faces = hand
    image = np.full((SIZE, SIZE, 3), 90, np.uint8)
    drawn = draw_mesh(image, verts, faces, CAMERA)
    mask = covered(image, drawn)
    points = project(torch.from_numpy(verts).double(), torch.from_numpy(CAMERA)).numpy().round().astype(int)
    inside = points[((points > 0) & (points < SIZE - 1)).all(1)]
    assert len(inside) > 700
    assert mask[inside[:, 1], inside[:, 0]].mean() > 0.95
    assert 0.05 < mask.mean() < 0.6
    brightness = drawn[mask].astype(float).mean(-1)
    assert np.quantile(brightness, 0.95) - np.quantile(brightness, 0.05) > 40  # fingers can be told by their shading


def test_the_nearer_finger_hides_the_farther(hand: tuple[np.ndarray, np.ndarray]) -> None:
    near, far = TRIANGLE, TRIANGLE * 1.2
    both = draw_mesh(IMAGE, np.concatenate([far, near]), np.array([[0, 2, 1], [3, 5, 4]]), CAMERA)
    other = draw_mesh(IMAGE, np.concatenate([near, far]), np.array([[0, 2, 1], [3, 5, 4]]), CAMERA)
    np.testing.assert_array_equal(both, other)


@pytest.mark.parametrize(
    "place", ["partly outside", "outside", "behind", "around", "one point", "a line", "on the lens"]
)
def test_hands_that_cannot_be_seen_whole_do_no_harm(hand: tuple[np.ndarray, np.ndarray], place: str) -> None:
    verts, faces = hand
    moved = {
        "partly outside": verts + np.array([0.08, 0, 0]),
        "outside": verts + np.array([2, 0, 0]),
        "behind": verts - [0, 0, 1],
        "around": verts - [0, 0, 0.5],
        "one point": verts * 0 + [0, 0, 0.5],
        "a line": verts * [1, 0, 0] + [0, 0, 0.5],
        "on the lens": verts * 0,
    }[place]
    drawn = draw_mesh(IMAGE, moved.astype(np.float32), faces, CAMERA)
    assert drawn.shape == IMAGE.shape
    seen = covered(IMAGE, drawn).any()
    assert seen == (place in ("partly outside", "around"))


@pytest.fixture
def predicted(mini_pack: Pack) -> dict[str, Any]:
    """The truth of two samples, moved by a few millimetres, as what a sheet shows; the second is the better."""
    rows = mini_pack.indices("sp0", "test")[:2]
    off_m = np.array([0.008, 0.004], np.float32)[:, None, None]
    return {
        "dataset": ImageDataset(mini_pack, image_size=64, root_joint=9, data=DataConfig()),
        "rows": rows,
        "title": "small",
        "joints": mini_pack.array("joints", rows) + off_m,
        "errors_mm": np.array([8.0, 4.0]),
        "verts": mini_pack.array("verts", rows) + off_m,
    }


def test_the_third_picture_of_a_sample_is_its_mesh_in_its_place(
    predicted: dict[str, Any], hand: tuple[np.ndarray, np.ndarray]
) -> None:
    faces = hand[1]  # not this hand's, but they are between its vertices
    sheet = contact_sheet(**predicted, faces=faces)
    assert sheet.shape[1] == 2 * 3 * TILE_PX
    best = 1
    batch = predicted["dataset"].batch([Key(0, int(predicted["rows"][best]))])
    tile = sheet[2 * 26 : 2 * 26 + TILE_PX, 2 * TILE_PX : 3 * TILE_PX]
    camera = np.array([[3.0, 0, 1], [0, 3, 1], [0, 0, 1]]) @ batch.targets.intrinsics[0].double().numpy()
    crop = sheet[2 * 26 : 2 * 26 + TILE_PX, :TILE_PX]
    clean = contact_sheet(**{**predicted, "verts": predicted["verts"] * 0}, faces=faces)
    background = clean[2 * 26 : 2 * 26 + TILE_PX, 2 * TILE_PX : 3 * TILE_PX]
    np.testing.assert_array_equal(tile, draw_mesh(background, predicted["verts"][best], faces, camera))
    assert (crop == background).all(-1).mean() > 0.5


def test_without_faces_or_without_a_mesh_there_are_two_pictures(
    predicted: dict[str, Any], hand: tuple[np.ndarray, np.ndarray]
) -> None:
    plain = {**predicted, "verts": None}
    for sheet in (contact_sheet(**predicted), contact_sheet(**plain, faces=hand[1]), contact_sheet(**plain)):
        assert sheet.shape[1] == 2 * 2 * TILE_PX
