"""Evaluations side by side: what the picture shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.evaluation.predictions import Predictions
from hmr_core.evaluation.saved import SavedEvaluation, draw_comparison
from hmr_core.plugins.recipes import DataConfig
from hmr_core.viz.comparison import SAMPLES
from hmr_core.viz.tiles import TILE_PX, Tile, caption, wrapped

HEADER_PX = 26
FACES = np.array([[0, 1, 2]])


def caption_px(evaluated: SavedEvaluation) -> int:
    """The height of the captions: the ids of all samples are of the same length."""
    return len(caption(wrapped(evaluated.predictions.ids[0], TILE_PX), TILE_PX))


def figures(mpjpe_mm: float) -> dict[str, float | None]:
    return {"mpjpe_mm": mpjpe_mm, "pck_auc_0_50mm": 0.5, "mpvpe_mm": None, "pa_mpjpe_mm": 1.5, "pa_mpvpe_mm": None}


@pytest.fixture
def joints_alone(mini_pack: Pack) -> SavedEvaluation:
    """Joints that are off sideways, sample i by i millimetres."""
    rows = mini_pack.indices("sp0", "test")
    joints = mini_pack.array("joints", rows).astype(np.float32)
    joints[..., 0] += np.arange(len(rows), dtype=np.float32)[:, None] * 1e-3
    report = {
        "model": "small", "split": "sp0", "subset": "test", "samples": len(rows), "synthetic": True, "solver": None,
        "protocol": "published", "metrics": figures(11.5), "published": figures(8.14),
        "baseline": {"subset": "train", "metrics": figures(30.0)},
    }  # fmt: skip
    predictions = Predictions(
        model="small", split="sp0", subset="test", pack=mini_pack.info.digest, ids=mini_pack.ids(rows), joints=joints
    )
    return SavedEvaluation(folder=Path("small"), report=report, predictions=predictions)


@pytest.fixture
def with_mesh(mini_pack: Pack, joints_alone: SavedEvaluation) -> SavedEvaluation:
    """The true joints, and a mesh from a solver."""
    rows = mini_pack.indices("sp0", "test")
    report = {**joints_alone.report, "solver": {"name": "flat"}, "protocol": "best", "metrics": figures(0.0)}
    arrays = {name: mini_pack.array(name, rows).astype(np.float32) for name in ("joints", "verts")}
    return SavedEvaluation(folder=Path("small"), report=report, predictions=replace(joints_alone.predictions, **arrays))


def test_the_picture_has_a_row_for_each_chosen_sample_from_easy_to_hard(
    mini_pack: Pack, joints_alone: SavedEvaluation, with_mesh: SavedEvaluation
) -> None:
    sheet = draw_comparison([joints_alone, with_mesh], mini_pack, FACES)
    stride = TILE_PX + caption_px(joints_alone)
    assert sheet.shape == (HEADER_PX + SAMPLES * stride, (1 + 1 + 2) * TILE_PX, 3)
    rows = mini_pack.indices("sp0", "test")
    dataset = ImageDataset(mini_pack, image_size=TILE_PX, root_joint=0, data=DataConfig())
    # Sample i is off by i mm in one model and by nothing in the other.
    for place, sample in enumerate([1, 5, 9, 14, 18, 22]):
        tile = Tile.of(dataset, int(rows[sample]))
        top = HEADER_PX + place * stride
        parts = np.split(sheet[top : top + TILE_PX], 4, axis=1)
        np.testing.assert_array_equal(parts[0], tile.with_joints(tile.true_joints))
        np.testing.assert_array_equal(parts[1], tile.with_joints(joints_alone.predictions.joints[sample]))
        np.testing.assert_array_equal(parts[2], parts[0])
        assert with_mesh.predictions.verts is not None
        np.testing.assert_array_equal(parts[3], tile.with_mesh(with_mesh.predictions.verts[sample], FACES))


def test_every_id_is_there_to_its_last_character(mini_pack: Pack, with_mesh: SavedEvaluation) -> None:
    sheet, height = draw_comparison([with_mesh], mini_pack, FACES), caption_px(with_mesh)
    for place, sample in enumerate([1, 5, 9, 14, 18, 22]):  # in the pack's order: no error is larger than another
        bottom = HEADER_PX + (place + 1) * (TILE_PX + height)
        lines = wrapped(with_mesh.predictions.ids[sample], TILE_PX)
        shown = sheet[bottom - height : bottom, :TILE_PX]
        np.testing.assert_array_equal(shown, caption(lines, 10 * TILE_PX)[:, :TILE_PX])
        assert (caption(lines, 10 * TILE_PX)[:, TILE_PX:] == shown[0, 0]).all(), "it is cut off"


@pytest.mark.parametrize("text", ["C12001_0001_0007_0009__2021-10-04-15-20-09__1__103__3", "x" * 60, "short", "a_b"])
def test_captions_are_broken_where_they_no_longer_fit_after_underscores(text: str) -> None:
    lines = wrapped(text, TILE_PX).split("\n")
    assert "".join(lines) == text
    assert (len(lines) > 1) == (len(text) > 10)
    assert all(line.endswith("_") for line in lines[:-1]) or "_" not in text
    for line in lines:
        assert (caption(line, 10 * TILE_PX)[:, TILE_PX:] == caption("", 1)).all()


def test_another_pack_is_refused(mini_pack: Pack, joints_alone: SavedEvaluation) -> None:
    other = replace(joints_alone, predictions=replace(joints_alone.predictions, pack="another"))
    with pytest.raises(HmrError, match=r"are not of .*mini\.h5 \(its digest is another\). Give theirs with data"):
        draw_comparison([other], mini_pack, FACES)
