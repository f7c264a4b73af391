"""DexYCB's tree is read as it is laid out: the lists of s0 to s3, both sides, components, frames without a hand."""

from __future__ import annotations

import pickle
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmr_core.cli.main import main
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.entry import read_hands
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.data.plausibility import plausibility
from hmr_core.doctor import tree
from hmr_core.errors import HmrError, UsageError
from hmr_core.hand.joints import MANO_TO_OPENPOSE
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.mirror import mirrored
from hmr_core.hand.model import save_hand_model
from hmr_core.hand.pose_basis import PoseBasis
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.plugins.registry import discover
from hmr_core.testing import check_dataset
from hmr_datasets.dexycb.image_ids import image_ids
from hmr_datasets.dexycb.layout import SampleKey
from hmr_datasets.dexycb.reader import DexYCBReader
from hmr_datasets.dexycb.splits import RULES

sys.path.append(str(Path(__file__).parent))
look_alike: Any = import_module("dexycb_look_alike")
mano_models: Any = import_module("made_hand_models").mano_models

SUBJECT = look_alike.SUBJECTS[6]
"""All of val of s1."""

SERIAL = look_alike.SERIALS[0]


def basis(side: str) -> PoseBasis:
    mean, components = look_alike.components_of(side)
    return PoseBasis(side=side, source=f"MANO_{side.upper()}.pkl", mean=mean, components=components)


BASES = {side: basis(side) for side in ("right", "left")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All people, and of the frames those of one camera."""
    root = tmp_path_factory.mktemp("dexycb") / "whole"
    look_alike.make_dexycb(root, serials=look_alike.SERIALS[:1])
    return Path(root)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One person, and all cameras."""
    root = tmp_path_factory.mktemp("dexycb") / "one"
    return root, look_alike.make_dexycb(root, [SUBJECT])


@pytest.fixture
def changed(one: Any, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(one[0], tmp_path / "changed"))


def sample_id(number: int, frame: int, serial: str = SERIAL, subject: str = SUBJECT) -> str:
    return f"{subject}/{look_alike.session(number)}/{serial}/{frame:06d}-of-3"


def parts(ids: list[str]) -> set[tuple[int, int, int, int]]:
    """Subject, sequence, camera, all by their numbers, and frame."""
    keys = [SampleKey.from_id(name) for name in ids]
    assert len(keys) == len(set(ids))
    return {
        (look_alike.SUBJECTS.index(k.subject), int(k.session[-6:]), look_alike.SERIALS.index(k.serial), k.frame)
        for k in keys
    }


def test_it_keeps_the_contract_of_a_data_set(one: Any) -> None:
    check_dataset("dexycb", one[0])


def test_the_rules_are_the_toolkit_s() -> None:
    """Written out again, another way: for every split, where each of the 10 x 8 x 100 recordings is."""
    for subject in range(10):
        for serial in range(8):
            for sequence in range(100):
                grasped, last = sequence // 5, sequence % 5 == 4
                expected = {
                    "s0": "train" if not last else "val" if subject < 2 else "test",
                    "s1": "val" if subject == 6 else "test" if subject in (7, 8) else "train",
                    "s2": {6: "val", 7: "test"}.get(serial, "train"),
                    "s3": "val" if grasped in (3, 19) else "test" if grasped in (7, 11, 15) else "train",
                }
                for split, lists in RULES.items():
                    found = [
                        name
                        for name, rule in lists.items()
                        if subject in rule.subjects and serial in rule.serials and sequence in rule.sequences
                    ]
                    assert found == [expected[split]]


def test_lists_have_the_frames_with_a_hand_in_the_toolkit_s_order(whole: Path) -> None:
    reader = DexYCBReader(whole)
    assert list(reader.splits()) == ["s0", "s1", "s2", "s3"]
    assert reader.splits()["s0"] == ["train", "val", "train+val", "test", "test-right", "test-left"]
    cameras = range(8)
    expected = [(subject, 4, camera, frame) for subject in range(2, 10) for camera in cameras for frame in (0, 2)]
    test = reader.split_ids("s0", "test")
    assert test == [
        f"{look_alike.SUBJECTS[s]}/{look_alike.session(n)}/{look_alike.SERIALS[c]}/{f:06d}-of-3"
        for s, n, c, f in expected
    ]
    everybody = range(10)
    assert parts(reader.split_ids("s0", "train")) == {
        (s, n, c, f) for s in everybody for n in (0, 35) for c in cameras for f in (0, 2)
    }
    assert parts(reader.split_ids("s0", "val")) == {(s, 4, c, f) for s in (0, 1) for c in cameras for f in (0, 2)}
    assert reader.split_ids("s0", "train+val") == [*reader.split_ids("s0", "train"), *reader.split_ids("s0", "val")]
    assert {s for s, *_ in parts(reader.split_ids("s1", "test"))} == {7, 8}
    assert {c for _, _, c, _ in parts(reader.split_ids("s2", "test"))} == {7}
    assert {n for _, n, _, _ in parts(reader.split_ids("s3", "test"))} == {35}
    assert reader.split_ids("s0", "test-left") == test, "sequence 4 is of left hands"
    assert reader.split_ids("s0", "test-right") == []
    assert parts(reader.split_ids("s1", "test-left")) == {(s, 4, c, f) for s in (7, 8) for c in cameras for f in (0, 2)}
    assert "30 moments of 1000 sequences without an annotated hand left out, for all cameras" in reader.notes
    with pytest.raises(UsageError, match=r'has no split "s4"\. It has: s0, s1, s2, s3'):
        reader.split_ids("s4", "test")


def test_official_numbers_count_frames_without_a_hand(whole: Path) -> None:
    ids = DexYCBReader(whole).split_ids("s0", "test")
    with pytest.raises(
        HmrError, match="these are samples of 8 sequences, and test of s0 has 160: the official numbers"
    ):
        image_ids(ids, "s0")
    for split, subjects, numbers, serials in (
        ("s0", look_alike.SUBJECTS[2:], range(4, 100, 5), look_alike.SERIALS),
        ("s2", look_alike.SUBJECTS, range(100), look_alike.SERIALS[7:]),
    ):
        # Sequences of different lengths, each frame of which the toolkit numbers, camera by camera.
        every = [
            f"{subject}/{look_alike.session(number)}/{serial}/{frame:06d}-of-{2 + number % 3}"
            for subject in subjects
            for number in numbers
            for serial in serials
            for frame in range(2 + number % 3)
        ]
        assert image_ids(every[::-1], split) == list(range(len(every)))[::-1]
        with_hand = [(place, name) for place, name in enumerate(every) if "/000000-" not in name]
        assert image_ids([name for _, name in with_hand], split) == [place for place, _ in with_hand]


def test_hands_are_where_the_pictures_have_them(one: Any) -> None:
    root, made = one
    reader = DexYCBReader(root)
    for number, side in ((0, "right"), (4, "left")):
        for frame in (0, 2):
            sample = reader.read(sample_id(number, frame))
            hand = made[f"{SUBJECT}/{look_alike.session(number)}"][frame]
            points = sample.joints.astype(np.float64) @ sample.intrinsics.T
            pixels = points[:, :2] / points[:, 2:]
            assert np.abs(pixels - np.array(hand.joints_px)).max() < 0.5
            assert sample.joints_px is not None
            assert np.abs(pixels - sample.joints_px).max() < 0.5
            np.testing.assert_allclose(sample.joints, hand.joints, atol=1e-6)
            assert sample.joints[:, 2].min() > 0
            assert sample.side == side
            np.testing.assert_allclose(sample.betas, look_alike.BETAS, rtol=1e-6)
            assert reader.read_image(sample).shape == (480, 640, 3)
            assert sample.frame_number == frame
            assert sample.labels == {
                "sequence": f"{SUBJECT}/{look_alike.session(number)}",
                "subject": SUBJECT,
                "object": "002_master_chef_can",
                "view": SERIAL,
                "image": f"{look_alike.session(number)}/{SERIAL}/{frame}",
            }
            assert sample.object_pose is not None
            pose = np.vstack([look_alike.OBJECT, [0, 0, 0, 1]]) if frame == 0 else np.zeros((4, 4))
            np.testing.assert_array_equal(sample.object_pose, pose.astype(np.float32))


@pytest.mark.parametrize(("number", "side"), [(0, "right"), (4, "left")])
def test_components_become_rotations_relative_to_the_flat_hand(one: Any, number: int, side: str) -> None:
    root, made = one
    model = load_synthetic_hand()
    layer = HandLayer(model if side == "right" else mirrored(model), torch.float64)
    reader = DexYCBReader(root, BASES)
    for frame in (0, 2):
        sample, hand = (
            reader.read(sample_id(number, frame)),
            made[f"{SUBJECT}/{look_alike.session(number)}"][frame],
        )
        assert sample.pose_valid is True
        assert sample.rotations is not None
        pose, shape = torch.from_numpy(sample.rotations[None]).double(), torch.from_numpy(hand.betas[None])
        np.testing.assert_allclose(layer(pose, shape).verts[0].numpy() + hand.trans, hand.verts, atol=2e-6)


def test_poses_are_known_where_a_hand_model_of_the_side_is(one: Any) -> None:
    root, _ = one
    reader = DexYCBReader(root, {"right": BASES["right"]})
    right, left = reader.read(sample_id(0, 0)), reader.read(sample_id(4, 0))
    assert (right.pose_valid, left.pose_valid) == (True, False)
    assert left.rotations is not None
    assert reader.release == "DexYCB, rotations by MANO_RIGHT.pkl"
    left_out = "rotations and meshes of left hands are left out: poses are coefficients of"
    assert any(note.startswith(left_out) for note in reader.notes)
    reader = DexYCBReader(root)
    assert (reader.read(sample_id(0, 0)).rotations, reader.read(sample_id(0, 0)).pose_valid) == (None, None)
    assert reader.release == "DexYCB"


def test_it_is_packed(one: Any, tmp_path: Path) -> None:
    out = tmp_path / "dexycb.h5"
    write_pack(DexYCBReader(one[0], BASES), out, codec=codec_named("jpeg"))
    pack = Pack(out)
    assert pack.info.counts == {"s1": {"val": 48}}
    rows = pack.indices("s1", "val")
    assert pack.left(rows).sum() == 16
    assert pack.pose_valid(rows).all()
    assert set(pack.labels("object", rows)) == {"002_master_chef_can", "009_gelatin_box"}
    assert pack.info.labels == ("sequence", "subject", "object", "view", "image")


def test_the_commands_of_its_page_run(
    one: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dex-ycb").symlink_to(one[0])
    right, left = mano_models(look_alike.components_of("right"))
    save_hand_model(replace(right, source="MANO_RIGHT.pkl, sha256 12"), tmp_path / "hand.npz")
    save_hand_model(replace(left, source="MANO_LEFT.pkl, sha256 34"), tmp_path / "left.npz")
    page = (Path(__file__).parents[3] / "docs/datasets.md").read_text(encoding="utf-8")
    plain, posed = re.findall(r"^hmr (pack dexycb .*)$", page, flags=re.MULTILINE)
    assert main(shlex.split(plain)) == 0
    said = capfd.readouterr().err
    assert "note: the tree lacks 20200709-subject-01, 20200813-subject-02, " in said
    assert "note: 3 moments of 100 sequences without an annotated hand left out, for all cameras" in said
    assert "note: rotations and meshes of right and left hands are left out: " in said
    assert "rotations" not in Pack(tmp_path / "dexycb.h5").info.arrays
    assert main(shlex.split(posed.replace("s0", "s1"))) == 0, "of s0 this person has no whole list"
    said = capfd.readouterr().err
    assert "left out:" not in said
    assert "not known" not in said
    found = Pack(tmp_path / "dexycb-posed.h5").info
    assert {"rotations", "verts"} < set(found.arrays)
    assert found.release == "DexYCB, rotations and meshes by MANO_LEFT.pkl, sha256 34, MANO_RIGHT.pkl, sha256 12"


def test_a_copy_for_another_process_is_small(one: Any) -> None:
    reader = DexYCBReader(one[0], BASES)
    reader.split_ids("s1", "val")
    data = pickle.dumps(reader)
    assert len(data) < 60_000  # the components of two hands
    np.testing.assert_array_equal(pickle.loads(data).read(sample_id(0, 0)).joints, reader.read(sample_id(0, 0)).joints)


def test_missing_people_are_named(one: Any) -> None:
    reader = DexYCBReader(one[0])
    assert reader.splits() == {"s1": ["val"]}
    text = r"one lacks 20201002-subject-08, 20201015-subject-09, of which test of s1 has sequences\. Unpack the"
    with pytest.raises(HmrError, match=text):
        reader.split_ids("s1", "test")
    assert any(
        note.startswith("the tree lacks 20200709-subject-01, 20200813-subject-02, 20200820-subject-03 and 6 more: ")
        for note in reader.notes
    )


def test_missing_sequences_are_counted(changed: Path) -> None:
    shutil.rmtree(changed / SUBJECT / look_alike.session(50))
    with pytest.raises(
        HmrError, match=rf"{SUBJECT} has 99 of 100 sequences, whose places tell which lists they are in"
    ):
        DexYCBReader(changed).split_ids("s1", "val")


def test_what_is_no_tree_is_told(changed: Path, tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"nowhere is not a tree of DexYCB: there is no such folder\. Pass as root the"):
        DexYCBReader(tmp_path / "nowhere")
    (tmp_path / "empty/calibration").mkdir(parents=True)
    with pytest.raises(HmrError, match=r"it has none of the folders 20200709-subject-01 to 20201022-subject-10"):
        DexYCBReader(tmp_path / "empty")
    shutil.rmtree(changed / "calibration")
    with pytest.raises(HmrError, match=r"it has no folder calibration, which has an archive of its own"):
        DexYCBReader(changed)


@pytest.mark.parametrize(
    "name", ["a", f"{SUBJECT}/x/{SERIAL}/000000-of-3", sample_id(0, 0)[:-5], "b" + sample_id(0, 0)]
)
def test_ids_that_are_none_are_told(one: Any, name: str) -> None:
    with pytest.raises(
        HmrError, match=r"is not the id of a DexYCB sample, such as 20200709-subject-01/20200709_141754"
    ):
        DexYCBReader(one[0]).read(name)


def label(root: Path) -> Path:
    return root / SUBJECT / look_alike.session(0) / SERIAL / "labels_000000.npz"


def meta(root: Path) -> Path:
    return root / SUBJECT / look_alike.session(0) / "meta.yml"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda root: label(root).unlink(), r"sample .*: cannot read .*labels_000000\.npz: No such file"),
        (lambda root: label(root).write_bytes(b"PK nothing"), r"sample .*: .*labels_000000\.npz is damaged: "),
        (lambda root: label(root).write_bytes(b""), r"labels_000000\.npz is damaged: "),
        (
            lambda root: np.savez(label(root), joint_3d=np.zeros((21, 3))),
            r"labels_000000\.npz is damaged: joint_3d is not 1x21x3 finite numbers\. Unpack the subject's archive",
        ),
        (
            lambda root: np.savez(label(root), joint_3d=np.zeros((1, 21, 3))),
            r"labels_000000\.npz is damaged: .*joint_2d",
        ),
        (
            lambda root: shutil.copy(label(root).with_name("labels_000001.npz"), label(root)),
            r"labels_000000\.npz has no hand, and pose\.npz of its sequence has one in that frame",
        ),
        (lambda root: meta(root).unlink(), r"cannot read .*meta\.yml: No such file"),
        (lambda root: meta(root).write_text("mano_sides: [right"), r"meta\.yml is damaged: "),
        (
            lambda root: meta(root).write_text("!!python/object/apply:os.system ['exit 3']"),
            r"meta\.yml is damaged: could",
        ),
        (
            lambda root: meta(root).write_text(meta(root).read_text().replace("- 1\n", "- 0\n")),
            r"meta\.yml is damaged: 0 is missing",
        ),
        (lambda root: meta(root).write_text("mano_sides: [both]"), r"meta\.yml is damaged: 'num_frames' is missing"),
        (
            lambda root: meta(root).write_text(meta(root).read_text().replace("right", "both")),
            r"meta\.yml is damaged: it is not of one hand, right or left, and a number of frames",
        ),
        (
            lambda root: meta(root).write_text(meta(root).read_text().replace("- 21\n", "- 21\n- 3\n")),
            r"labels_000000\.npz is damaged: pose_y is not 3x3x4 finite numbers\. Unpack the subject's archive",
        ),
        (
            lambda root: meta(root).write_text(meta(root).read_text().replace("num_frames: 3", "num_frames: 4")),
            r"pose\.npz is damaged: pose_m is not 4x1x51 finite numbers",
        ),
        (lambda root: (meta(root).parent / "pose.npz").unlink(), r"cannot read .*pose\.npz: No such file"),
        (
            lambda root: (root / f"calibration/intrinsics/{SERIAL}_640x480.yml").write_text("color: {fx: 1}"),
            r"640x480\.yml is damaged: 'fy' is missing\. .* \(calibration\.tar\.gz\) again\.$",
        ),
        (
            lambda root: (root / "calibration/mano_20200514-subject-01/mano.yml").write_text("betas: [1, x]"),
            r"mano\.yml is damaged: betas is not 10 finite numbers\. .* \(calibration\.tar\.gz\) again\.$",
        ),
    ],
)
def test_damaged_files_are_named(changed: Path, damage: Callable[[Path], object], told: str) -> None:
    damage(changed)
    with pytest.raises(HmrError, match=told):
        DexYCBReader(changed).read(sample_id(0, 0))


def test_missing_files_are_found_without_opening_one(changed: Path) -> None:
    spec = discover().dataset("dexycb")
    assert spec.missing is not None
    reader = DexYCBReader(changed)
    ids = reader.split_ids("s1", "val")
    assert list(spec.missing(reader, ids)) == []
    label(changed).unlink()
    shutil.rmtree(changed / SUBJECT / look_alike.session(4) / look_alike.SERIALS[3])
    (found,) = spec.missing(reader, ids)
    assert (found.where, found.total) == (SUBJECT, 96)
    gone = f"{look_alike.session(4)}/{look_alike.SERIALS[3]}"
    assert sorted(found.names) == sorted([
        f"{look_alike.session(0)}/{SERIAL}/labels_000000.npz",
        *(f"{gone}/{name}" for n in (0, 2) for name in (f"color_{n:06d}.jpg", f"labels_{n:06d}.npz")),
    ])  # fmt: skip


def test_another_order_of_joints_is_not_packed(changed: Path, tmp_path: Path) -> None:
    """As if a reader took MANO's order for OpenPose's."""
    mano = np.argsort(MANO_TO_OPENPOSE)
    for path in (changed / SUBJECT).glob("*/*/labels_*.npz"):
        with np.load(path) as file:
            arrays = dict(file)
        arrays["joint_3d"], arrays["joint_2d"] = arrays["joint_3d"][:, mano], arrays["joint_2d"][:, mano]
        np.savez(path, **arrays)
    reader = DexYCBReader(changed)
    remarks = plausibility(read_hands([reader.read(name) for name in reader.split_ids("s1", "val")]))
    assert any(remark.level == "wrong" and "MANO's order" in remark.text for remark in remarks)
    with pytest.raises(HmrError, match="this data set is not packed"):
        write_pack(reader, tmp_path / "out.h5", codec=codec_named("jpeg"))


def examined(root: Path) -> list[tuple[str, str]]:
    """What the doctor says of a tree's samples."""
    reader = DexYCBReader(root)
    ids = reader.split_ids("s1", "val")
    found = tree.samples(root, discover().dataset("dexycb"), reader, ids, np.random.default_rng(0))
    return [(finding.level, finding.text) for finding in found]


def upside_down(arrays: dict[str, np.ndarray]) -> None:
    """As OpenGL has it: y up, z towards the viewer."""
    arrays["joint_3d"] = arrays["joint_3d"] * [1, -1, -1]


def fingers_reversed(arrays: dict[str, np.ndarray]) -> None:
    """In the image each finger keeps its order, in space its tip comes first."""
    order = [0, *(4 * finger + joint for finger in range(5) for joint in (4, 3, 2, 1))]
    arrays["joint_3d"] = arrays["joint_3d"][:, order]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (upside_down, "joints are behind the camera in 32 of 32 samples"),
        (fingers_reversed, "pixels from the annotated points in 32 of 32 samples"),
    ],
)
def test_the_doctor_sees_another_space_and_another_order(
    one: Any, changed: Path, change: Callable[[dict[str, np.ndarray]], None], told: str
) -> None:
    assert {level for level, _ in examined(one[0])} == {"ok"}
    assert any("are within 0.00 pixels of the annotated points in 32 samples" in text for _, text in examined(one[0]))
    for path in (changed / SUBJECT).glob("*/*/labels_*.npz"):
        with np.load(path) as file:
            arrays = dict(file)
        if (arrays["joint_3d"] != -1).any():
            change(arrays)
            np.savez(path, **arrays)
    assert any(level == "wrong" and told in text for level, text in examined(changed))
