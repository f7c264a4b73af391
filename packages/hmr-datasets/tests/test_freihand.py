"""FreiHAND's tree is read as it is laid out: versions, lists, meshes, poses; what is missing is named."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmr_core.data.open_tree import open_tree
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError, UsageError
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.plugins.registry import discover
from hmr_core.testing import check_dataset
from hmr_datasets.freihand.layout import DOCUMENTED, SampleKey, list_ids
from hmr_datasets.freihand.reader import FreiHANDReader

sys.path.append(str(Path(__file__).parent))
look_alike: Any = import_module("freihand_look_alike")

IDS = [f"training/{number:08d}-{version}" for version in ("gs", "hom", "sample", "auto") for number in (0, 1)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("freihand") / "FreiHAND_pub_v2"
    return root, look_alike.make_freihand(root)


@pytest.fixture(scope="module")
def root(tree: Any) -> Path:
    return Path(tree[0])


@pytest.fixture
def changed(root: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(root, tmp_path / "changed"))


def test_it_keeps_the_contract_of_a_data_set(root: Path) -> None:
    check_dataset("freihand", root)


def test_lists_are_of_one_several_or_all_versions(root: Path) -> None:
    reader = FreiHANDReader(root)
    assert reader.splits() == {
        split: ["train", "val", "train+val", "test"]
        for split in ("freihand", "freihand-gs", "freihand-hom", "freihand-sample", "freihand-auto")
    }
    assert reader.split_ids("freihand", "train+val") == IDS
    assert reader.split_ids("freihand", "val") == IDS[::2]  # photo 0, in all of its versions
    assert reader.split_ids("freihand", "train") == IDS[1::2]
    assert reader.split_ids("freihand-sample", "train+val") == IDS[4:6]
    assert reader.split_ids("freihand-sample", "test") == ["evaluation/00000000"]
    with pytest.raises(UsageError, match=r'has no subset "tset" of freihand\. Did you mean "test"'):
        reader.split_ids("freihand", "tset")


def test_documented_counts_are_those_of_the_release_s_numbers() -> None:
    photos = {"training": 32_560, "evaluation": 3_960}
    for split, subsets in DOCUMENTED.items():
        assert {subset: len(list_ids(split, subset, photos)) for subset in subsets} == subsets
    assert DOCUMENTED["freihand"]["train+val"] == 130_240


@pytest.mark.parametrize(("version", "file"), [("gs", 1), ("hom", 3), ("sample", 5), ("auto", 7)])
def test_the_four_versions_are_frames_of_one_hand(root: Path, version: str, file: int) -> None:
    reader = FreiHANDReader(root)
    sample = reader.read(f"training/00000001-{version}")
    assert sample.image_path == root / "training/rgb" / f"{file:08d}.jpg"
    assert reader.read_image(sample).shape == (224, 224, 3)
    np.testing.assert_array_equal(sample.joints, reader.read("training/00000001-gs").joints)
    assert len(list((root / "training/rgb").iterdir())) == 4 * len(json.loads((root / "training_K.json").read_text()))


def test_hands_are_where_the_pictures_have_them(tree: Any) -> None:
    root, hands = tree
    reader = FreiHANDReader(root)
    for sample_id in (*IDS, "evaluation/00000000"):
        sample, key = reader.read(sample_id), SampleKey.from_id(sample_id)
        hand = hands[key.part][key.number]
        projected = sample.joints @ sample.intrinsics.T
        apart = projected[:, :2] / projected[:, 2:] - np.array(hand.joints_px)
        assert np.abs(apart).max() < 0.5
        assert sample.joints[:, 2].min() > 0
        assert sample.verts is not None
        assert sample.verts[:, 2].min() > 0
        np.testing.assert_allclose(sample.verts, hand.verts, atol=1e-6)
        assert sample.side == "right"


def test_rotations_are_relative_to_the_flat_hand_where_the_mean_pose_is_known(tree: Any) -> None:
    root, hands = tree
    reader = FreiHANDReader(root, look_alike.BASIS)
    layer = HandLayer(load_synthetic_hand(), torch.float64)
    for number, hand in enumerate(hands["training"]):
        sample = reader.read(f"training/{number:08d}-gs")
        assert sample.rotations is not None
        assert sample.betas is not None
        pose, shape = (torch.from_numpy(array[None]).double() for array in (sample.rotations, sample.betas))
        posed = layer(pose, shape).verts[0].numpy() + hand.trans
        np.testing.assert_allclose(posed, hand.verts, atol=1e-5)
    assert "rotations" not in " ".join(reader.notes)


def test_without_the_mean_pose_rotations_are_left_out_and_it_is_said(root: Path) -> None:
    reader = FreiHANDReader(root)
    sample = reader.read(IDS[0])
    assert sample.rotations is None
    assert sample.betas is not None
    assert any(
        note.startswith("rotations are left out: FreiHAND's are relative to MANO's mean") for note in reader.notes
    )


def test_the_installed_data_set_takes_a_hand_model_for_rotations(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    spec = discover().dataset("freihand")
    assert spec.open_posed is not None
    assert spec.open_posed(root, {"right": look_alike.BASIS}).read(IDS[0]).rotations is not None
    assert spec.open_posed(root, {"left": look_alike.BASIS}).read(IDS[0]).rotations is None
    assert open_tree(spec, root).read(IDS[0]).rotations is None


def test_a_copy_for_another_process_is_small_and_reads_for_itself(root: Path) -> None:
    reader = FreiHANDReader(root, look_alike.BASIS)
    before = reader.read(IDS[0])
    data = pickle.dumps(reader)
    assert len(data) < 20_000  # the components of the pose space; no hand
    np.testing.assert_array_equal(pickle.loads(data).read(IDS[0]).joints, before.joints)


def test_a_file_is_parsed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("hmr_datasets.freihand.reader")
    parsed: list[str] = []
    real = module.kept_rows

    def counted(path: Path, *given: Any, **named: Any) -> Any:
        parsed.append(path.name)
        return real(path, *given, **named)

    monkeypatch.setattr(module, "kept_rows", counted)
    reader = FreiHANDReader(root)
    for sample_id in IDS:
        reader.read(sample_id)
    expected = ["evaluation_K.json", *(f"training_{name}.json" for name in ("K", "mano", "verts", "xyz"))]
    assert sorted(parsed) == expected


def test_it_is_packed(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "freihand.h5"
    write_pack(FreiHANDReader(root, look_alike.BASIS), out, splits=["freihand"], codec=codec_named("jpeg"))
    info = Pack(out).info
    assert info.counts == {"freihand": {"train": 4, "val": 4, "train+val": 8, "test": 1}}
    assert info.release == "FreiHAND v2"
    assert {"joints", "verts", "rotations", "betas"} < set(info.arrays)


def test_evaluation_without_annotations_is_no_test(changed: Path) -> None:
    (changed / "evaluation_xyz.json").unlink()
    (changed / "evaluation_verts.json").unlink()
    reader = FreiHANDReader(changed)
    assert reader.splits()["freihand"] == ["train", "val", "train+val"]
    text = (
        r"lacks evaluation_xyz\.json, evaluation_verts\.json, without which the evaluation photos have no "
        r'annotations\. They are public now: see "Update" in the README of https://github\.com/lmb-freiburg/freihand, '
        r"and put the files beside evaluation_K\.json\.$"
    )
    with pytest.raises(HmrError, match=text):
        reader.split_ids("freihand", "test")
    assert any(note.startswith("there is no test: ") for note in reader.notes)
    for path in changed.glob("training_*.json"):
        path.unlink()
    with pytest.raises(HmrError, match=text):
        FreiHANDReader(changed).splits()


def test_version_1_is_named(changed: Path) -> None:
    (changed / "training_verts.json").unlink()
    with pytest.raises(HmrError, match=r"is FreiHAND before version 2: it has no training_verts\.json"):
        FreiHANDReader(changed)


def test_a_missing_annotation_file_is_named(changed: Path) -> None:
    (changed / "training_xyz.json").unlink()
    with pytest.raises(HmrError, match=r"lacks training_xyz\.json\. Unpack FreiHAND_pub_v2\.zip again\.$"):
        FreiHANDReader(changed)


def test_what_is_no_tree_is_told(tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"is not a tree of FreiHAND v2: there is no such folder\. Pass as root"):
        FreiHANDReader(tmp_path / "nowhere")
    with pytest.raises(HmrError, match=r"it has no training_K\.json or evaluation_K\.json"):
        FreiHANDReader(tmp_path)


def test_files_that_do_not_fit_together_are_named(changed: Path) -> None:
    path = changed / "training_mano.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:1]), encoding="ascii")
    with pytest.raises(HmrError, match=r"training_mano\.json holds 1 entries, and training_K\.json 2"):
        FreiHANDReader(changed).read(IDS[0])


@pytest.mark.parametrize("sample_id", ["training/00000000", "training/00000000-gray", "evaluation/00000000-gs", "0"])
def test_ids_that_are_none_are_told(root: Path, sample_id: str) -> None:
    with pytest.raises(HmrError, match=r"is not the id of a FreiHAND sample: training/00000007-VERSION"):
        FreiHANDReader(root).read(sample_id)


def test_a_photo_that_is_not_annotated_is_told(root: Path) -> None:
    with pytest.raises(HmrError, match=r"sample training/00000002-gs: training_K\.json has 2 photos"):
        FreiHANDReader(root).read("training/00000002-gs")


def test_missing_frames_are_found_without_opening_one(changed: Path) -> None:
    spec = discover().dataset("freihand")
    assert spec.missing is not None
    reader = spec.open(changed)
    ids = [*IDS, "evaluation/00000000"]
    assert list(spec.missing(reader, ids)) == []
    (changed / "training/rgb/00000003.jpg").unlink()
    (found,) = spec.missing(reader, ids)
    assert (found.where, list(found.names), found.total) == ("training/rgb", ["00000003.jpg"], 8)


def test_a_wrong_order_of_joints_is_not_packed(changed: Path, tmp_path: Path) -> None:
    path = changed / "training_xyz.json"
    mano = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20]
    hands = [[hand[joint] for joint in mano] for hand in json.loads(path.read_text())]
    path.write_text(json.dumps(hands), encoding="ascii")
    with pytest.raises(HmrError, match="the joints look like MANO's order"):
        write_pack(FreiHANDReader(changed), tmp_path / "out.h5", codec=codec_named("jpeg"))


def test_a_tree_without_anything_to_train_on_says_so(changed: Path) -> None:
    (changed / "training_K.json").unlink()
    reader = FreiHANDReader(changed)
    assert reader.splits() == {"freihand": ["test"]}
    assert f"there is no train and no val, since there is no {changed / 'training_K.json'}" in reader.notes
