"""What the doctor says of the hand model, and of a pack's meshes beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmr_core.data.pack.reader import Pack
from hmr_core.doctor import hand as doctor
from hmr_core.doctor.finding import Finding
from hmr_core.hand.mirror import mirrored
from hmr_core.hand.source import HandModelSource, find_hand_model, packaged_hand


@pytest.fixture
def source(mini_hand_path: Path) -> HandModelSource:
    return find_hand_model(mini_hand_path)


def of_pack(source: HandModelSource, pack: Pack, *, given: bool = True) -> Finding:
    (only,) = doctor.of_pack(source, pack, np.random.default_rng(0), given=given)
    return only


def test_a_hand_model_of_mano_s(source: HandModelSource) -> None:
    opens, sound = doctor.contents(source)
    assert (opens.level, opens.text) == ("ok", f"{source.path} (mano, right) opens")
    assert sound.level == "ok"
    assert sound.text.startswith(
        "778 vertices, 1538 faces, 16 joints of 778 vertices; rows of weights and regressor sum to 1 (off by "
    )


def test_the_synthetic_hand_is_called_so() -> None:
    opens, note, sound = doctor.contents(packaged_hand())
    assert opens.text == "the synthetic right hand (no hand model was given, and HMR_HAND_MODEL names none) opens"
    assert (note.level, sound.level) == ("note", "ok")
    assert (
        note.remedy
        == "hmr mano import MANO_RIGHT.pkl --out hand.npz, then export HMR_HAND_MODEL=$PWD/hand.npz, for MANO's"
    )


def test_a_left_hand(source: HandModelSource) -> None:
    *_, last = doctor.contents(replace(source, model=mirrored(source.model)))
    assert last.level == "wrong"
    assert last.text == "the hand model is of a left hand; hmr poses right ones, and mirrors a data set's left ones"
    assert last.remedy == doctor.GET


def test_a_file_that_calls_a_left_hand_right(source: HandModelSource) -> None:
    *_, last = doctor.contents(replace(source, model=replace(mirrored(source.model), side="right")))
    assert last.level == "wrong"
    assert last.text == "the file says that it is of a right hand, and its shape is a left one's"


def test_the_annotations_own_hand(source: HandModelSource, mini_pack: Pack) -> None:
    found = of_pack(source, mini_pack)
    assert found.level == "ok"
    assert found.text == (
        f"it makes the meshes of {mini_pack.path} from their poses and shapes: 0.00 mm apart on average, 0.00 mm at "
        "most (64 samples)"
    )


def test_meshes_of_which_a_few_are_another_hand_s(source: HandModelSource, mini_pack: Pack) -> None:
    """A part of one mesh out of 64, far off: little on average."""

    class Altered(Pack):
        def array(self, name: str, rows: Any) -> Any:
            values = super().array(name, rows)
            if name == "verts":
                values = values.copy()
                values[:1, 100:110] += 0.4
            return values

    altered = Altered(mini_pack.path)
    found = of_pack(source, altered)
    assert found.level == "wrong"
    assert found.text.startswith(
        f"1 of 64 meshes of {mini_pack.path} are not what it makes of their poses and shapes "
        f"({mini_pack.ids([0])[0]}): 0.14 mm apart on average, 692.82 mm at most"
    )
    assert found.remedy == doctor.COMPARE


def test_a_hand_that_is_a_little_different(source: HandModelSource, mini_pack: Pack) -> None:
    larger = replace(source.model, template=source.model.template * 1.06)
    found = of_pack(replace(source, model=larger), mini_pack)
    assert found.level == "warning"
    assert found.text.startswith(f"it does not quite make the meshes of {mini_pack.path}: ")
    assert found.remedy == doctor.GET


def test_another_hand(mini_pack: Pack) -> None:
    found = of_pack(packaged_hand(), mini_pack)
    assert found.level == "wrong"
    assert found.text.startswith(f"it is not the hand of the annotations of {mini_pack.path}: ")
    assert found.text.endswith(" mm at most (64 samples)")
    assert found.remedy == (
        "Give the annotations' own by --hand-model or HMR_HAND_MODEL: `hmr mano import MANO_RIGHT.pkl --out hand.npz` "
        "makes MANO's, `hmr synth DIR` leaves DIR/hand.npz."
    )


def test_another_hand_that_nobody_chose(mini_pack: Pack) -> None:
    found = of_pack(packaged_hand(), mini_pack, given=False)
    assert found.level == "warning"
    assert found.text.endswith(
        "; what poses hands (IKNet, solvers) refuses this pack without theirs, the rest does not need it"
    )
