"""Data sets with MANO's parameters and no vertices get meshes by a hand model's file, where the joints agree."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmr_core.data.open_tree import open_tree
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.entry import read_hands
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.data.plausibility import plausibility
from hmr_core.doctor.examine import Subject, examine
from hmr_core.hand.mirror import mended
from hmr_core.hand.pose_basis import PoseBases, find_pose_bases
from hmr_core.plugins.registry import discover
from hmr_core.plugins.sample import DatasetReader
from hmr_core.testing import check_dataset
from hmr_datasets.dexycb.reader import DexYCBReader
from hmr_datasets.ho3d.reader import HO3DReader
from hmr_datasets.interhand.reader import InterHandReader

sys.path.append(str(Path(__file__).parent))
dexycb: Any = import_module("dexycb_look_alike")
ho3d: Any = import_module("ho3d_look_alike")
interhand: Any = import_module("interhand_look_alike")
hands: Any = import_module("made_hand_models")
python2_pickle: Any = import_module("python2_pickle")

EXACT_M = 5e-6
"""How far a mesh may be from the one that the look-alike was made with; trees have float32."""


@pytest.fixture(autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.getbasetemp() / "made_meshes_cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """MANO's hands; `left` is the mirrored right one, as look-alikes were made, `unmended` as MANO's file has it."""
    folder = tmp_path_factory.mktemp("hands")
    right, left = hands.mano_models((dexycb.MEAN_POSE, dexycb.COMPONENTS))
    longer = replace(right, template=right.template * 1.2)
    named = {"right": right, "left": left, "unmended": hands.unmended(left), "longer": longer}
    for name in named:
        (folder / name).mkdir()
    return {name: hands.saved(model, folder / name) for name, model in named.items()}


def bases(models: dict[str, Path], *names: str) -> PoseBases:
    return find_pose_bases([models[name] for name in names])


@pytest.fixture(scope="module")
def dexycb_tree(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("meshes") / "dexycb"
    return root, dexycb.make_dexycb(root, [dexycb.SUBJECTS[6]])


@pytest.fixture(scope="module")
def interhand_tree(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("meshes") / "interhand"
    return root, interhand.make_interhand(root)


def dexycb_hands(tree: Any) -> dict[str, Any]:
    """The hands of DexYCB's look-alike by id."""
    _, made = tree
    return {
        f"{sequence}/{dexycb.SERIALS[0]}/{frame:06d}-of-3": hand
        for sequence, shown in made.items()
        for frame, hand in enumerate(shown)
        if hand is not None
    }


def interhand_hands(tree: Any) -> dict[str, Any]:
    """The hands of InterHand2.6M's look-alike that have a fit, by id."""
    _, made = tree
    return {
        f"{part}/{frame.name}-{side}": hand
        for part, frames in made.items()
        for frame in frames
        for side, hand in frame.hands.items()
        if frame.fitted and not {0, 9} & set(frame.unknown.get(side, []))
    }


def known(reader: DatasetReader, made: dict[str, Any]) -> set[str]:
    """The hands whose meshes are known, each of which is checked."""
    there = set()
    for name, hand in made.items():
        sample = reader.read(name)
        if sample.verts_valid:
            np.testing.assert_allclose(sample.verts, hand.verts, atol=EXACT_M)
            there.add(name)
    return there


def of_side(made: dict[str, Any], side: str) -> set[str]:
    return {name for name, hand in made.items() if hand.side == side}


def test_dexycb_gets_meshes_of_either_side(dexycb_tree: Any, models: dict[str, Path]) -> None:
    root, made = dexycb_tree[0], dexycb_hands(dexycb_tree)
    both = DexYCBReader(root, bases(models, "right", "left"))
    assert known(both, made) == set(made)
    assert len(of_side(made, "left")) == 2
    assert any(
        note.startswith("meshes are made of MANO's parameters, and kept where the joints") for note in both.notes
    )
    assert known(DexYCBReader(root, bases(models, "right")), made) == of_side(made, "right")
    assert DexYCBReader(root).read(next(iter(made))).verts is None
    check_dataset("dexycb", root)


def test_dexycb_s_left_hands_are_of_the_left_model_as_its_file_has_it(
    dexycb_tree: Any, models: dict[str, Path]
) -> None:
    """Here they were made with the mended one, so that the joints of the other are told apart."""
    root, made = dexycb_tree[0], dexycb_hands(dexycb_tree)
    assert known(DexYCBReader(root, bases(models, "right", "unmended")), made) == of_side(made, "right")


@pytest.mark.parametrize("version", [2, 3])
def test_ho3d_gets_meshes_of_training_frames(tmp_path: Path, models: dict[str, Path], version: int) -> None:
    tree = ho3d.make_ho3d(tmp_path / "tree", version)
    reader = HO3DReader(tree.root, bases=bases(models, "right"))
    assert known(reader, tree.hands) == set(tree.hands), "those of evaluation are the public ones"
    assert reader.release == f"HO-3D v{version}, meshes by mano, right"
    assert any("hand model are within 1 mm of the annotated ones on average" in note for note in reader.notes)
    again = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(again.read("train/ABF10/0000").verts, reader.read("train/ABF10/0000").verts)
    assert len(pickle.dumps(reader)) < 64_000
    left = HO3DReader(tree.root, bases=bases(models, "left"))
    assert left.read("train/ABF10/0000").verts_valid is False
    assert left.release == f"HO-3D v{version}"


def test_ho3d_s_public_meshes_win(tmp_path: Path, models: dict[str, Path]) -> None:
    tree = ho3d.make_ho3d(tmp_path / "tree", 3)
    path = tree.root / "evaluation_verts.json"
    moved = np.array(json.loads(path.read_text())) + 0.001
    path.write_text(json.dumps(moved.tolist()))
    reader = HO3DReader(tree.root, bases=bases(models, "right"))
    sample = reader.read("evaluation/SM1/0000")
    np.testing.assert_allclose(sample.verts, moved[0] * [1, -1, -1], atol=EXACT_M)
    path.unlink()
    sample = HO3DReader(tree.root, bases=bases(models, "right")).read("evaluation/SM1/0000")
    assert (sample.verts_valid, sample.pose_valid) == (False, False), "evaluation frames have no parameters"


def test_a_mesh_whose_joints_are_elsewhere_is_left_out_and_counted(tmp_path: Path, models: dict[str, Path]) -> None:
    """Of one frame the place is another's, as after a mix-up."""
    tree = ho3d.make_ho3d(tmp_path / "tree", 2)
    meta = ho3d.training(tree.hands["train/ND2/0000"])
    meta["handTrans"] = meta["handTrans"] + [0, 0.002, 0]
    (tree.root / "train/ND2/meta/0000.pkl").write_bytes(python2_pickle.dump(meta))
    reader = HO3DReader(tree.root, bases=bases(models, "right"))
    assert known(reader, tree.hands) == set(tree.hands) - {"train/ND2/0000"}
    summary = write_pack(reader, tmp_path / "out.h5", codec=codec_named("jpeg"))
    assert "verts of 1 of 12 samples are not known" in summary.notes
    assert "rotations and betas of 2 of 12 samples are not known" in summary.notes
    pack = Pack(tmp_path / "out.h5")
    assert pack.verts_valid(range(12)).sum() == 11


def test_another_hand_s_file_makes_no_mesh(dexycb_tree: Any, models: dict[str, Path]) -> None:
    root, made = dexycb_tree[0], dexycb_hands(dexycb_tree)
    assert known(DexYCBReader(root, bases(models, "longer")), made) == set()


@pytest.mark.parametrize("left", ["left", "unmended"])
def test_interhand_gets_meshes_of_its_fits(interhand_tree: Any, models: dict[str, Path], left: str) -> None:
    root, made = interhand_tree[0], interhand_hands(interhand_tree)
    reader = InterHandReader(root, bases(models, "right", left))
    assert known(reader, made) == set(made)
    assert any("hand model are within 10 mm of the annotated ones on average" in note for note in reader.notes)
    assert reader.read("val/Capture0/0001_made_up/cam400001/image6-right").verts_valid is False, "there is no fit"


def test_interhand_s_left_hands_need_the_right_model(interhand_tree: Any, models: dict[str, Path]) -> None:
    """With the left one alone nobody can tell whether its shape directions were mended."""
    root, made = interhand_tree[0], interhand_hands(interhand_tree)
    reader = InterHandReader(root, bases(models, "left"))
    left = next(iter(sorted(of_side(made, "left"))))
    assert (reader.read(left).verts, reader.read(left).pose_valid) == (None, True)
    assert known(InterHandReader(root, bases(models, "right")), made) == of_side(made, "right")


def _off_by(millimetres: float) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for moments in content.values():
            for fits in moments.values():
                for fit in fits.values():
                    if fit is not None:
                        fit["trans"] = [fit["trans"][0], fit["trans"][1], fit["trans"][2] + millimetres / 1000]

    return change


@pytest.mark.parametrize(("off_mm", "kept"), [(6.0, True), (11.0, False)])
def test_interhand_s_fits_may_be_off_by_as_much_as_fits_are(
    tmp_path: Path, models: dict[str, Path], off_mm: float, kept: bool
) -> None:
    interhand.make_interhand(tmp_path / "tree")
    for part in ("train", "val", "test"):
        path = tmp_path / f"tree/annotations/{part}/InterHand2.6M_{part}_MANO_NeuralAnnot.json"
        content = json.loads(path.read_text())
        _off_by(off_mm)(content)
        path.write_text(json.dumps(content))
    reader = InterHandReader(tmp_path / "tree", bases(models, "right", "left"))
    samples = [reader.read(name) for name in reader.split_ids("interhand", "train")]
    assert {sample.verts_valid for sample in samples} == {kept}
    said = list(plausibility(read_hands(samples)))
    assert [remark.text for remark in said if remark.level == "wrong"] == []
    if kept:
        note = "the finger tips are 6.0 mm from the meshes' on average: meshes that were fitted to joints, and do not"
        assert any(remark.level == "note" and remark.text.startswith(note) for remark in said)


@pytest.mark.parametrize("name", ["dexycb", "ho3d", "interhand"])
def test_the_doctor_knows_a_pack_with_made_meshes_for_its_tree_s(
    name: str, dexycb_tree: Any, interhand_tree: Any, models: dict[str, Path], tmp_path: Path
) -> None:
    root = {
        "dexycb": lambda: dexycb_tree[0],
        "ho3d": lambda: ho3d.make_ho3d(tmp_path / "tree", 3).root,
        "interhand": lambda: interhand_tree[0],
    }[name]()
    reader = open_tree(discover().dataset(name), root, [models["right"], models["left"]])
    out = tmp_path / "out.h5"
    write_pack(reader, out, codec=codec_named("jpeg"))
    subject = Subject(root=root, data=out, data_named=True, hand_model=None, hand_model_named=False)
    said = [(line.level, line.text) for line in examine(subject, discover()) if line.section == "root and data"]
    assert [text for level, text in said if level == "wrong"] == []
    made = {"dexycb": "verts and rotations", "ho3d": "verts", "interhand": "verts and rotations and betas"}[name]
    assert ("note", f"the pack's {made} were made with a hand model, and are not compared with the tree") in said


def test_a_left_model_is_mended_once() -> None:
    right, left = hands.mano_models((dexycb.MEAN_POSE, dexycb.COMPONENTS))
    assert mended(left, right) is left
    torch.testing.assert_close(mended(hands.unmended(left), right).shape_dirs, left.shape_dirs)
