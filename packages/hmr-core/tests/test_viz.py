"""The contact sheet: whose joints are drawn where, in which order, in which colours."""

from __future__ import annotations

import types
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from hmr_core.data.batch import Key
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.reader import Pack
from hmr_core.evaluation.report import sheet_title
from hmr_core.geometry.camera import project
from hmr_core.hand.joints import BONES
from hmr_core.plugins.recipes import DataConfig
from hmr_core.viz.contact_sheet import PER_ROW, TILE_PX, contact_sheet
from hmr_core.viz.skeleton import FINGER_COLORS, WRIST_COLOR, draw_skeleton
from hmr_core.viz.tiles import Tile, banner
from hmr_core.viz.tree_sheet import tree_sheet

SIZE = 64
LITTLE_TIP = 20  # drawn last, so that nothing covers it
HEADER_PX = 26
STRIDE_PX = HEADER_PX + TILE_PX + 18  # a row of tiles: its banner, the pictures, the captions


@pytest.fixture
def predicted(mini_pack: Pack) -> dict[str, Any]:
    """Predictions that are off sideways, each by its own distance, in an order that is not the pack's."""
    rows = mini_pack.indices("sp0", "test")
    joints = mini_pack.array("joints", rows).copy()
    errors_mm = np.random.default_rng(0).permutation(len(rows)).astype(np.float64)
    joints[..., 0] += (errors_mm * 1e-3)[:, None]
    data = ImageDataset(mini_pack, image_size=SIZE, root_joint=9, data=DataConfig())
    return {"dataset": data, "rows": rows, "joints": joints, "errors_mm": errors_mm}


def test_the_best_the_median_and_the_worst_are_drawn_truth_left_and_prediction_right(predicted: dict[str, Any]) -> None:
    sheet = contact_sheet(**predicted, title="small")
    assert sheet.shape == (HEADER_PX + 3 * STRIDE_PX, PER_ROW[2] * 2 * TILE_PX, 3)
    order = np.argsort(predicted["errors_mm"])
    first = (len(order) - PER_ROW[2]) // 2
    for row, picks in enumerate((order[: PER_ROW[2]], order[first : first + PER_ROW[2]], order[-PER_ROW[2] :])):
        for column, i in enumerate(picks):
            top, left = HEADER_PX + row * STRIDE_PX + HEADER_PX, column * 2 * TILE_PX
            tile = sheet[top : top + TILE_PX, left : left + 2 * TILE_PX]
            batch = predicted["dataset"].batch([Key(0, int(predicted["rows"][i]))])
            joints = torch.from_numpy(predicted["joints"][i]).double()
            points = (  # of the truth by the targets, of the prediction by the camera
                batch.targets.joints_uvd[0, LITTLE_TIP, :2] * TILE_PX + 1,  # a pixel x of 64 is 3 x + 1 of 192
                project(joints, batch.targets.intrinsics[0].double())[LITTLE_TIP] * TILE_PX / SIZE + 1,
            )
            for half, point in zip(np.split(tile, 2, axis=1), points, strict=True):
                x, y = (round(float(value)) for value in point)
                if 0 <= x < TILE_PX and 0 <= y < TILE_PX:
                    assert tuple(half[y, x]) == FINGER_COLORS[4]
            crop = cv2.resize(batch.image[0].numpy(), (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
            for half in np.split(tile, 2, axis=1):
                assert (half == crop).all(-1).mean() > 0.5  # the sample's own picture, but for the skeleton


def test_a_mesh_is_drawn_where_there_are_faces(predicted: dict[str, Any], mini_pack: Pack) -> None:
    verts = mini_pack.array("verts", predicted["rows"]).astype(np.float32)
    without = contact_sheet(**predicted, title="small", verts=verts)
    np.testing.assert_array_equal(without, contact_sheet(**predicted, title="small"))
    assert contact_sheet(**predicted, title="small", verts=verts, faces=np.array([[0, 1, 2]])).shape == (
        HEADER_PX + 3 * STRIDE_PX,
        PER_ROW[3] * 3 * TILE_PX,
        3,
    )


def test_the_title_of_an_evaluation_on_synthetic_data_says_so() -> None:
    report: dict[str, Any] = {"model": "small", "split": "sp0", "subset": "test", "synthetic": False}
    report["metrics"] = {"mpjpe_mm": 11.5, "mpvpe_mm": None}
    assert sheet_title(report) == "small, sp0 test, MPJPE 11.50 mm"
    report |= {"synthetic": True, "solver": {"name": "flat"}, "metrics": {"mpjpe_mm": 11.5, "mpvpe_mm": 12.25}}
    assert sheet_title(report) == "small + flat, sp0 test, MPJPE 11.50 mm, MPVPE 12.25 mm (synthetic data)"


def test_each_finger_has_its_colour() -> None:
    angles = np.deg2rad(np.linspace(-60, 60, 5))
    fan = [(100 + r * np.sin(angle), 190 - r * np.cos(angle)) for angle in angles for r in (60, 90, 120, 150)]
    joints = np.array([(100.0, 190.0), *fan])
    image = np.zeros((200, 260, 3), np.uint8)
    draw_skeleton(image, joints)
    assert tuple(image[190, 100]) == WRIST_COLOR
    for parent, child in BONES:
        inside = (joints[parent] + joints[child]) / 2
        if 0 <= inside[0] < 260:
            x, y = inside.round().astype(int)
            assert tuple(image[y, x]) == FINGER_COLORS[(child - 1) // 4], (parent, child)


class Blob(ImageDataset):
    """A crop of the given size with one bright blob, where its camera sees all the joints."""

    pack = SimpleNamespace(left=lambda rows: [False] * len(rows))

    def __init__(self, size: int) -> None:
        self.image_size = size

    def batch(self, keys: Sequence[Key]) -> Any:
        size = self.image_size
        intrinsics = torch.tensor([[2.0 * size, 0, 0.5 * size], [0, 2.0 * size, 0.5 * size], [0, 0, 1]])
        joints = torch.tensor([0.011, -0.017, 0.5]).repeat(1, 21, 1)
        x, y = project(joints[0, :1], intrinsics)[0].tolist()
        rows, columns = np.mgrid[:size, :size]
        image = 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (size / 20) ** 2))
        picture = torch.from_numpy(image.round().astype(np.uint8))[None, ..., None].repeat(1, 1, 1, 3)
        targets = types.SimpleNamespace(intrinsics=intrinsics[None], joints=joints, joints_known=torch.ones(1, 21))
        return types.SimpleNamespace(image=picture, targets=targets)


@pytest.mark.parametrize("size", [32, 64, 96, 192, 224, 256])
def test_a_tile_s_camera_sees_a_point_where_the_tile_shows_it(size: int) -> None:
    tile = Tile.of(Blob(size), 0)
    weight = tile.image[..., 0].astype(np.float64)
    rows, columns = np.mgrid[:TILE_PX, :TILE_PX]
    shown = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    seen = project(torch.from_numpy(tile.true_joints).double(), torch.from_numpy(tile.intrinsics))[0].numpy()
    np.testing.assert_allclose(seen, shown, atol=0.1)  # half a tile's pixel would be 0.5


def test_points_nowhere_near_the_image_do_no_harm() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    draw_skeleton(image, np.full((21, 2), [np.inf, 1e30]))


def test_joints_that_are_not_known_are_not_drawn() -> None:
    image = np.zeros((120, 120, 3), np.uint8)
    joints = np.array([[60.0, 110], *((20 * finger, 20 * joint) for finger in range(1, 6) for joint in range(1, 5))])
    joints[7] = np.nan  # the index finger's are at x = 40
    draw_skeleton(image, joints)
    seen = [tuple(image[y, 40]) == FINGER_COLORS[1] for y in (20, 30, 40, 50, 60, 70, 80)]
    assert seen == [True, True, True, False, False, False, True]


def test_the_title_of_a_tree_s_sheet_says_which_samples_it_counts(
    mini_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []

    def remembering(text: str, width: int) -> np.ndarray:
        said.append(text)
        return banner(text, width)

    monkeypatch.setattr("hmr_core.viz.tree_sheet.banner", remembering)
    reader = open_oakink(mini_tree)
    tree_sheet(reader)
    assert said == [f"{reader.release}: 72 samples, train+val of sp0; below, with the true joints"]
