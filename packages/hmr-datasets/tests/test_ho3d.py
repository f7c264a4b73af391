"""HO-3D's trees are read as they are laid out: version, frame, order, frames without annotation, evaluation."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.entry import read_hands
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.data.plausibility import plausibility
from hmr_core.data.remarks import misleading
from hmr_core.errors import HmrError, UsageError
from hmr_core.hand.joints import MANO_TO_OPENPOSE
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.plugins.registry import discover
from hmr_core.testing import check_dataset
from hmr_datasets.ho3d.reader import HO3DReader
from hmr_datasets.orders import inverse

sys.path.append(str(Path(__file__).parent))
look_alike: Any = import_module("ho3d_look_alike")
python2_pickle: Any = import_module("python2_pickle")

TESTED = ["evaluation/SM1/0000", "evaluation/SM1/0003"]


@pytest.fixture(scope="module", params=[2, 3])
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return look_alike.make_ho3d(tmp_path_factory.mktemp("ho3d") / "HO3D", request.param)


@pytest.fixture(scope="module")
def v2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 2, without the public annotations of evaluation."""
    return Path(look_alike.make_ho3d(tmp_path_factory.mktemp("ho3d") / "HO3D_v2", 2, truth=False).root)


@pytest.fixture
def changed(v2: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(v2, tmp_path / "changed"))


def test_it_keeps_the_contract_of_a_data_set(tree: Any, v2: Path) -> None:
    check_dataset("ho3d", tree.root)
    check_dataset("ho3d", v2)


def test_versions_are_told_apart_by_their_frames(tree: Any) -> None:
    reader = HO3DReader(tree.root)
    number = reader.version.number
    assert reader.release == f"HO-3D v{number}"
    assert reader.splits() == {f"ho3d-v{number}": ["train", "val", "train+val", "test"]}
    assert reader.aliases == {"ho3d": f"ho3d-v{number}"}
    sample = reader.read("train/ABF10/0000")
    assert sample.image_path.name == ("0000.png" if number == 2 else "0000.jpg")
    assert reader.read_image(sample).shape == (480, 640, 3)


def test_val_is_of_whole_recordings_by_all_their_cameras(tree: Any) -> None:
    reader = HO3DReader(tree.root)
    every = [f"train/{name}/0000" for name in look_alike.TRAINED]
    assert reader.split_ids("ho3d", "train+val") == every
    held_out = [
        "train/ABF10/0000",
        "train/ABF11/0000",
        "train/SiBF10/0000",
    ]  # of nine recordings the first, and the ninth
    assert reader.split_ids("ho3d", "val") == held_out
    assert reader.split_ids("ho3d", "train") == [name for name in every if name not in held_out]
    assert reader.split_ids("ho3d", "test") == TESTED


def test_frames_without_annotation_are_left_out_and_counted(tree: Any) -> None:
    reader = HO3DReader(tree.root)
    assert look_alike.UNANNOTATED not in reader.split_ids("ho3d", "train+val")
    left_out, _ = reader.notes
    assert left_out == "1 of 11 frames of train have no annotation: left out (train/MC1/0001)"
    with pytest.raises(HmrError, match=r"sample train/MC1/0001: .*0001\.pkl has no annotation"):
        reader.read(look_alike.UNANNOTATED)


def test_hands_are_where_the_pictures_have_them(tree: Any) -> None:
    reader = HO3DReader(tree.root)
    for sample_id, hand in tree.hands.items():
        sample = reader.read(sample_id)
        projected = sample.joints @ sample.intrinsics.T
        apart = projected[:, :2] / projected[:, 2:] - np.array(hand.joints_px)
        assert np.abs(apart).max() < 0.5
        assert sample.joints[:, 2].min() > 0
        np.testing.assert_allclose(sample.joints, hand.joints, atol=1e-6)
        assert sample.box_px is not None
        left, top, width, height = sample.box_px.tolist()
        pixels = np.array(hand.joints_px)
        edge = 11 if sample_id in TESTED else 0.01  # whole pixels, 10 of them beside the hand, or computed
        np.testing.assert_allclose([left, top], pixels.min(0), atol=edge)
        np.testing.assert_allclose([left + width, top + height], pixels.max(0), atol=edge)


def test_rotations_pose_the_hand_in_our_camera_space(tree: Any) -> None:
    reader = HO3DReader(tree.root)
    layer = HandLayer(load_synthetic_hand(), torch.float64)
    for sample_id, hand in tree.hands.items():
        sample = reader.read(sample_id)
        assert sample.pose_valid == (sample_id not in TESTED)
        if sample.pose_valid:
            assert sample.rotations is not None
            assert sample.betas is not None
            pose, shape = (torch.from_numpy(array[None]).double() for array in (sample.rotations, sample.betas))
            np.testing.assert_allclose(layer(pose, shape).verts[0].numpy() + hand.trans, hand.verts, atol=1e-5)


def test_only_evaluation_has_meshes(tree: Any) -> None:
    reader = HO3DReader(tree.root)
    for sample_id, hand in tree.hands.items():
        sample = reader.read(sample_id)
        assert sample.joints_valid is None
        assert sample.verts_valid == (sample_id in TESTED)
        if sample.verts_valid:
            np.testing.assert_allclose(sample.verts, hand.verts, atol=1e-6)


def test_what_a_sample_belongs_to(tree: Any) -> None:
    reader = HO3DReader(tree.root)
    sample = reader.read("train/SiBF10/0000")
    assert sample.labels == {"sequence": "SiBF10", "subject": "Si", "object": "011_banana"}
    assert reader.read("evaluation/SM1/0003").frame_number == 3
    assert [reader.read(f"train/{name}/0000").labels["subject"] for name in ("ABF10", "ShSu10", "ND2")] == [
        "A",
        "Sh",
        "N",
    ]
    turn, place = look_alike.OBJECT
    assert sample.object_pose is not None
    np.testing.assert_allclose(sample.object_pose[:3, 3], place * [1, -1, -1], rtol=1e-6)
    angle = np.arccos((np.trace(np.diag([1, -1, -1]) @ sample.object_pose[:3, :3]) - 1) / 2)
    np.testing.assert_allclose(angle, np.linalg.norm(turn), rtol=1e-5)


def test_it_is_packed(tree: Any, tmp_path: Path) -> None:
    out = tmp_path / "ho3d.h5"
    write_pack(HO3DReader(tree.root), out, codec=codec_named("jpeg"))
    pack = Pack(out)
    (split,) = pack.info.counts
    assert pack.info.counts[split] == {"train": 7, "val": 3, "train+val": 10, "test": 2}
    tested = pack.indices(split, "test")
    assert pack.verts_valid(tested).all()
    assert not pack.pose_valid(tested).any()
    trained = pack.indices(split, "train")
    assert pack.pose_valid(trained).all()
    assert not pack.verts_valid(trained).any()
    assert pack.labels("sequence", tested) == ["SM1", "SM1"]


def test_evaluation_without_annotations_has_wrist_and_box(v2: Path, tmp_path: Path) -> None:
    reader = HO3DReader(v2)
    sample = reader.read(TESTED[0])
    assert sample.joints_valid is not None
    assert sample.joints_valid.tolist() == [True] + [False] * 20
    assert sample.joints[0, 2] > 0
    assert sample.verts is None
    assert reader.read("train/ABF10/0000").joints_valid.all()  # type: ignore[union-attr]
    (note,) = [note for note in reader.notes if "test" in note]
    assert note.startswith("test has the wrist and a box of each hand alone, since there is no ")
    assert "public since November 2024: see the README of https://github.com/shreyashampali/ho3d" in note
    write_pack(reader, tmp_path / "out.h5", subset="test", codec=codec_named("jpeg"))
    pack = Pack(tmp_path / "out.h5")
    assert pack.joints_valid([0, 1]).sum() == 2
    window = pack.array("window_px", [0])[0]
    left, top, width, height = sample.box_px.tolist()  # type: ignore[union-attr]
    assert window[0] <= left
    assert window[1] <= top
    assert window[0] + window[2] >= left + width
    assert window[1] + window[3] >= top + height


def test_what_is_evaluated_must_be_of_the_same_version(changed: Path) -> None:
    (changed / "evaluation_xyz.json").write_text(json.dumps(np.zeros((3, 21, 3)).tolist()), encoding="ascii")
    text = (
        r"evaluation_xyz\.json holds 3 hands, and evaluation\.txt lists 2 frames: it is of another version than "
        r"HO-3D v2, or cut short\. They are public since November 2024"
    )
    with pytest.raises(HmrError, match=text):
        HO3DReader(changed).read(TESTED[0])


def test_what_is_evaluated_must_be_in_the_order_of_the_list(tmp_path: Path) -> None:
    root = look_alike.make_ho3d(tmp_path / "tree", 2).root
    path = root / "evaluation_xyz.json"
    path.write_text(json.dumps(json.loads(path.read_text())[::-1]), encoding="ascii")
    text = (
        r"^sample evaluation/SM1/0000: the wrist is \d+ mm from where .*SM1/meta/0000\.pkl has it: "
        r".*evaluation_xyz\.json is not in the order of evaluation\.txt, or of another version than HO-3D v2\."
    )
    with pytest.raises(HmrError, match=text):
        HO3DReader(root).read(TESTED[0])


def test_version_2_is_not_taken_for_version_3(changed: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r'HO-3D v2 has no split "ho3d-v3"\..* It has: ho3d-v2 \(ho3d\)'):
        HO3DReader(changed).split_ids("ho3d-v3", "test")
    (changed / "calibration").mkdir()
    text = (
        r"has the frames of HO-3D v2 \(png\) and calibration, which only version 3 has: its annotations would be "
        r"taken for the other version's\. Unpack version 2 and version 3 into folders of their own\."
    )
    with pytest.raises(HmrError, match=text):
        HO3DReader(changed)


def test_a_tree_of_both_versions_is_refused(changed: Path, tmp_path: Path) -> None:
    newer = look_alike.make_ho3d(tmp_path / "v3", 3).root
    shutil.copytree(newer / "evaluation", changed / "evaluation", dirs_exist_ok=True)
    text = (
        r"holds frames of two versions of HO-3D: evaluation/SM1/rgb has png \(version 2\), evaluation/SM1/rgb jpg "
        r"\(version 3\)\. Their annotations differ under the same names\. Unpack version 2 and"
    )
    with pytest.raises(HmrError, match=text):
        HO3DReader(changed)


def test_a_missing_annotation_file_is_named(changed: Path) -> None:
    (changed / "train/BB12/meta/0000.pkl").unlink()
    reader = HO3DReader(changed)
    assert "train/BB12/0000" in reader.split_ids("ho3d", "train")
    text = r"sample train/BB12/0000: cannot read .*BB12/meta/0000\.pkl: No such file or directory\. Unpack HO-3D"
    with pytest.raises(HmrError, match=text):
        reader.read("train/BB12/0000")
    spec = discover().dataset("ho3d")
    assert spec.missing is not None
    (changed / "evaluation/SM1/rgb/0003.png").unlink()
    found = list(spec.missing(reader, [*reader.split_ids("ho3d", "train+val"), *TESTED]))
    assert [(where, list(names), total) for where, names, total, _ in found] == [
        ("train/BB12/meta", ["0000.pkl"], 1),
        ("evaluation/SM1/rgb", ["0003.png"], 2),
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"handJoints3D": np.zeros((16, 3))}, r"handJoints3D has shape \(16, 3\), not \(21, 3\)"),
        ({"handPose": None}, r"0000\.pkl has no handPose"),
        ({"camMat": "none"}, "camMat is not an array of numbers"),
        ({"handBeta": np.full(10, np.nan)}, "handBeta has numbers that are not finite"),
    ],
)
def test_annotations_that_are_none_are_named(changed: Path, change: dict[str, Any], text: str) -> None:
    path = changed / "train/BB12/meta/0000.pkl"
    hand = look_alike.training(look_alike.posed_hands(1, look_alike.CAMERA, 0.6)[0])
    path.write_bytes(python2_pickle.dump({**hand, **change}))
    with pytest.raises(HmrError, match=f"^sample train/BB12/0000: .*{text}"):
        HO3DReader(changed).read("train/BB12/0000")


def test_a_pickle_that_would_run_something_is_refused(changed: Path, tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    (changed / "train/BB12/meta/0000.pkl").write_bytes(pickle.dumps({"objRot": Runs(), "handJoints3D": 0}))
    with pytest.raises(HmrError, match="which is not on the list of what such a file may use"):
        HO3DReader(changed).read("train/BB12/0000")
    assert not (tmp_path / "ran").exists()


def test_what_is_no_tree_is_told(tmp_path: Path, changed: Path) -> None:
    with pytest.raises(HmrError, match=r"is not a tree of HO-3D: it has no train\.txt or evaluation\.txt"):
        HO3DReader(tmp_path / "changed/train")
    (changed / "train.txt").write_text("ABF10/0000\nABF10 0001\n", encoding="ascii")
    with pytest.raises(HmrError, match=r'train\.txt: line 2 is "ABF10 0001", not SEQUENCE/FRAME'):
        HO3DReader(changed).split_ids("ho3d", "train")


def test_a_wrong_order_and_a_forgotten_flip_are_seen_without_meshes(v2: Path) -> None:
    reader = HO3DReader(v2)
    samples = [reader.read(sample_id) for sample_id in reader.split_ids("ho3d", "train+val")]
    assert misleading(plausibility(read_hands(samples))) == ""
    in_mano = [replace(sample, joints=sample.joints[list(inverse(MANO_TO_OPENPOSE))]) for sample in samples]
    said = misleading(plausibility(read_hands(in_mano)))
    assert said == "the joints look like MANO's order (16 joints, then the tips); here they are in OpenPose order"
    flipped = [replace(sample, joints=sample.joints * np.float32([1, -1, -1])) for sample in samples]
    said = misleading(plausibility(read_hands(flipped)))
    assert "the camera seems to look along -z, as in OpenGL: here z is away from it" in said


def test_a_tree_says_which_lists_and_meshes_it_lacks(tmp_path: Path) -> None:
    root = look_alike.make_ho3d(tmp_path / "tree", 3).root
    left_out, no_meshes = HO3DReader(root).notes
    assert left_out == "1 of 11 frames of train have no annotation: left out (train/MC1/0001)"
    assert no_meshes.startswith("train and val have no meshes: HO-3D gives MANO's parameters, of which a hand model")
    (root / "train.txt").unlink()
    (root / "evaluation_verts.json").unlink()
    first, second = HO3DReader(root).notes
    assert first == f"there is no train and no val, since there is no {root / 'train.txt'}"
    assert second.startswith(f"test has no meshes, since there is no {root / 'evaluation_verts.json'}. They are public")
