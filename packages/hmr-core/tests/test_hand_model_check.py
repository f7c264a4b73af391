"""Whether a hand model is told from the one that the annotations were made with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.data.synthetic.writer import write_synthetic
from hmr_core.engine.hand_model_check import TOLERANCE_MM, hand_model_mismatch_mm, mismatch_note
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.synthetic import load_synthetic_hand


@pytest.fixture(scope="module")
def synthetic_pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    folder = tmp_path_factory.mktemp("synthetic")
    tree = write_synthetic(folder / "tree", sequences=5, frames=1, seed=0)
    write_pack(open_oakink(tree.root), folder / "pack.h5", codec=codec_named("jpeg"))
    return Pack(folder / "pack.h5")


def test_the_hand_of_the_annotations_fits_and_a_scaled_one_does_not(synthetic_pack: Pack) -> None:
    rows, hand = np.arange(20), load_synthetic_hand()
    assert hand_model_mismatch_mm(HandLayer(hand), synthetic_pack, rows) < 0.01
    larger = replace(hand, template=hand.template * 1.1, shape_dirs=hand.shape_dirs * 1.1)
    verts, joints = (synthetic_pack.array(name, rows) for name in ("verts", "joints"))
    reach_mm = float(np.linalg.norm(verts - joints[:, 9:10], axis=-1).mean()) * 1000
    found = hand_model_mismatch_mm(HandLayer(larger), synthetic_pack, rows)
    assert found == pytest.approx(0.1 * reach_mm, rel=0.05)  # pose_dirs alone are as they were


def test_the_made_up_data_set_fits_its_own_hand_model(mini_pack: Pack, mini_hand: HandModel) -> None:
    rows = mini_pack.indices("sp0", "all")
    assert hand_model_mismatch_mm(HandLayer(mini_hand), mini_pack, rows) < 0.001


def test_another_hand_than_the_annotations_is_far_off(mini_pack: Pack) -> None:
    layer = HandLayer(load_synthetic_hand())
    rows = mini_pack.indices("sp0", "test")
    assert hand_model_mismatch_mm(layer, mini_pack, rows) > 5 * TOLERANCE_MM
    assert hand_model_mismatch_mm(layer, mini_pack, rows[:1]) > TOLERANCE_MM


def test_the_samples_that_are_looked_at_are_spread_over_the_rows(
    mini_pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[np.ndarray] = []
    array = mini_pack.array
    monkeypatch.setattr(mini_pack, "array", lambda name, rows: asked.append(rows) or array(name, rows))
    hand_model_mismatch_mm(HandLayer(load_synthetic_hand()), mini_pack, np.arange(96))
    assert len(asked[0]) == 64
    assert (asked[0][0], asked[0][-1]) == (0, 95)
    assert np.diff(asked[0]).max() == 2


def test_only_a_mismatch_that_matters_is_told() -> None:
    assert mismatch_note(TOLERANCE_MM) is None
    assert mismatch_note(12.345) == (
        "the annotations were not made with this hand model (12.3 mm apart on average): mesh figures mean little; "
        "give theirs with --hand-model"
    )
