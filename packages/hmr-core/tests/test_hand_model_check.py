"""Whether a hand model is told from the one that the annotations were made with."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from hmr_core.data.hand_model_check import (
    ANOTHER_HAND_MM,
    TOLERANCE_MM,
    check_hand_model,
    hand_model_mismatch_mm,
    mismatch_note,
)
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.source import HandModelSource
from hmr_core.hand.synthetic import load_synthetic_hand


@pytest.fixture
def synthetic_pack(synthetic_pack_path: Path) -> Pack:
    return Pack(synthetic_pack_path)


def scaled(hand: HandModel, factor: float) -> HandModelSource:
    """A hand model that is somewhat larger in all its parts but the corrections of bent joints."""
    larger = replace(hand, template=hand.template * factor, shape_dirs=hand.shape_dirs * factor)
    return HandModelSource(model=larger, path=Path("larger.npz"), digest="0")


def test_the_hand_of_the_annotations_fits_and_a_scaled_one_does_not(synthetic_pack: Pack) -> None:
    rows, hand = np.arange(20), load_synthetic_hand()
    assert hand_model_mismatch_mm(HandLayer(hand), synthetic_pack, rows) < 0.01
    verts, joints = (synthetic_pack.array(name, rows) for name in ("verts", "joints"))
    reach_mm = float(np.linalg.norm(verts - joints[:, 9:10], axis=-1).mean()) * 1000
    found = hand_model_mismatch_mm(HandLayer(scaled(hand, 1.1).model), synthetic_pack, rows)
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


def test_a_hand_that_fits_somewhat_is_taken_and_another_is_refused(mini_pack: Pack, mini_hand: HandModel) -> None:
    rows = mini_pack.indices("sp0", "train")
    somewhat = scaled(mini_hand, 1.06)
    mismatch_mm = check_hand_model(somewhat, HandLayer(somewhat.model), mini_pack, rows)
    assert TOLERANCE_MM < mismatch_mm < ANOTHER_HAND_MM

    other = scaled(mini_hand, 1.5)
    found_mm = hand_model_mismatch_mm(HandLayer(other.model), mini_pack, rows)
    assert found_mm > ANOTHER_HAND_MM
    text = (
        f"the hand model in use, {other.label}, is not the one that the annotations of {mini_pack.path} were made "
        f"with: their meshes are {found_mm:.1f} mm apart on average, and beyond 10 mm they are of different hands. "
        "Give theirs with hand_model (`hmr mano import MANO_RIGHT.pkl --out hand.npz` makes MANO's; `hmr synth "
        "DIR` leaves DIR/hand.npz)."
    )
    with pytest.raises(HmrError) as caught:
        check_hand_model(other, HandLayer(other.model), mini_pack, rows)
    assert str(caught.value) == text
    with pytest.raises(HmrError) as caught:
        check_hand_model(other, HandLayer(other.model), mini_pack, rows, otherwise="Or go home.")
    assert str(caught.value) == f"{text} Or go home."


def test_a_left_hand_is_refused_for_its_side(mini_pack: Pack, mini_hand: HandModel) -> None:
    left = replace(scaled(mini_hand, 1), model=replace(mini_hand, side="left"))
    with pytest.raises(HmrError, match=r"posing the hands of .* needs a right hand, and .* is of a left one\."):
        check_hand_model(left, HandLayer(left.model), mini_pack, mini_pack.indices("sp0", "train"))


def test_only_a_mismatch_that_matters_is_told() -> None:
    assert mismatch_note(TOLERANCE_MM) is None
    assert mismatch_note(3.456) == (
        "the hand model and the annotations do not quite agree (3.5 mm apart on average): meshes are off by about as "
        "much; if the annotations were made with another hand model, use that one"
    )


def with_verts(pack: Pack, path: Path, row: int, value: float) -> Pack:
    """A copy of a pack in which a vertex's coordinate of a row is another; its checksum stays."""
    shutil.copy(pack.path, path)
    with h5py.File(path, "r+", locking=False) as file:
        file["samples/verts"][row, 7, 2] = value
    return Pack(path)


def test_damaged_annotations_are_refused_by_name(mini_pack: Pack, mini_hand: HandModel, tmp_path: Path) -> None:
    rows = mini_pack.indices("sp0", "test")
    damaged = with_verts(mini_pack, tmp_path / "bad.h5", int(rows[3]), 1e9)
    own = scaled(mini_hand, 1)
    text = rf"^the annotations of sample {mini_pack.ids(rows[3:4])[0]} in .*bad\.h5 are damaged: they do not have"
    with pytest.raises(HmrError, match=text):
        check_hand_model(own, HandLayer(own.model), damaged, rows)


def test_annotations_that_are_no_numbers_are_refused_by_name(
    mini_pack: Pack, mini_hand: HandModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = mini_pack.indices("sp0", "test")
    pack = with_verts(mini_pack, tmp_path / "nan.h5", int(rows[3]), np.nan)
    monkeypatch.setattr(pack, "verify_annotations", lambda rows: None)  # as if they had been packed so
    own = scaled(mini_hand, 1)
    with pytest.raises(HmrError) as caught:
        check_hand_model(own, HandLayer(own.model), pack, rows)
    assert str(caught.value) == (
        f"the mesh of sample {mini_pack.ids(rows[3:4])[0]} in {pack.path} cannot be compared with the hand model's: "
        f"how far they are apart is no finite number, in 1 of {len(rows)} samples looked at. `hmr doctor "
        f"--data {pack.path}` tells whether its annotations are hands."
    )
