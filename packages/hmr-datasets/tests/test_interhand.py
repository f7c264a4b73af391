"""InterHand2.6M's tree is read as it is laid out: world to camera, joint order, masks, two hands of a frame, fits."""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
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
from hmr_core.doctor import tree as doctor
from hmr_core.errors import HmrError, UsageError
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.mirror import mirrored
from hmr_core.hand.pose_basis import PoseBasis
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.plugins.registry import discover
from hmr_core.plugins.sample import Sample
from hmr_core.testing import check_dataset
from hmr_datasets.interhand import annotations
from hmr_datasets.interhand.reader import InterHandReader
from hmr_datasets.orders import TIP_FIRST, inverse

sys.path.append(str(Path(__file__).parent))
look_alike: Any = import_module("interhand_look_alike")

SHARED = Path(os.environ.get("HMR_SHARED") or Path(__file__).resolve().parents[4] / "shared")
REAL = SHARED / "datasets/interhand2.6m"

CAMERA = "Capture0/0001_made_up/cam400001"

BASES = {
    side: PoseBasis(
        side=side, source=f"MANO_{side.upper()}.pkl", mean=look_alike.mean_pose(side), components=np.eye(45)
    )
    for side in ("right", "left")
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What is kept is kept for the tests of this module alone."""
    folder = tmp_path_factory.getbasetemp() / "interhand_cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("HOME", str(folder))
    return folder / "hmr/datasets"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("interhand") / "InterHand2.6M_5fps_batch1"
    return root, look_alike.make_interhand(root)


@pytest.fixture(scope="module")
def root(tree: Any) -> Path:
    return Path(tree[0])


@pytest.fixture
def changed(root: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(root, tmp_path / "changed"))


def edit(root: Path, part: str, name: str, change: Callable[[Any], object]) -> None:
    path = root / "annotations" / part / f"InterHand2.6M_{part}_{name}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def projected(sample: Sample) -> np.ndarray:
    points = sample.joints.astype(np.float64) @ sample.intrinsics.T
    return np.asarray(points[:, :2] / points[:, 2:])


def every_id(reader: InterHandReader) -> list[str]:
    return [*reader.split_ids("interhand", "train+val"), *reader.split_ids("interhand", "test")]


@pytest.mark.skipif(
    not REAL.is_dir(), reason=f"no {REAL}: its licence keeps it out of the project; HMR_SHARED names the folder above"
)
def test_real_hands_are_where_their_annotated_boxes_are(tmp_path: Path) -> None:
    (tmp_path / "annotations/test").mkdir(parents=True)
    (tmp_path / "images/test").mkdir(parents=True)
    for name in ("data", "camera", "joint_3d"):
        target = tmp_path / "annotations/test" / f"InterHand2.6M_test_{name}.json"
        target.symlink_to(REAL / f"test_interhand2.6m_{name}.json")
    for picture in REAL.glob("*.jpg"):
        (tmp_path / "images/test" / picture.name).symlink_to(picture)
    reader = InterHandReader(tmp_path)
    assert reader.split_ids("interhand", "test-single") == ["test/image29590-left", "test/image2017-right"]
    assert len(reader.split_ids("interhand", "test-interacting")) == 4
    check_dataset(discover().dataset("interhand"), tmp_path)
    samples = [reader.read(sample_id) for sample_id in reader.split_ids("interhand", "test")]
    remarks = list(plausibility(read_hands(samples)))
    assert [remark for remark in remarks if remark.level != "ok"] == []
    content = json.loads((REAL / "test_interhand2.6m_data.json").read_text())
    boxes = {entry["image_id"]: entry["bbox"] for entry in content["annotations"]}
    for image in content["images"]:
        seen = []
        for sample in (s for s in samples if s.image_path.name == image["file_name"]):
            pixels = projected(sample)
            assert sample.joints_valid is not None
            assert sample.joints_valid.all()
            assert (pixels > 0).all()
            assert (pixels < np.array(sample.frame_size) - 1).all()
            assert sample.joints[:, 2].min() > 0.5
            assert reader.read_image(sample).shape[:2] == (image["height"], image["width"])
            seen.append(pixels)
        low, high = np.concatenate(seen).min(0), np.concatenate(seen).max(0)
        x, y, width, height = boxes[image["id"]]
        # The authors' box is the joints', a tenth longer at each end.
        np.testing.assert_allclose(
            [*(low - 0.1 * (high - low)), *(1.2 * (high - low))], [x, y, width, height], atol=0.1
        )


def test_it_keeps_the_contract_of_a_data_set(root: Path) -> None:
    check_dataset("interhand", root)


def test_the_order_of_joints_goes_there_and_back() -> None:
    joints = np.arange(21)
    assert (joints[look_alike.TIPS_FIRST][list(TIP_FIRST)] == joints).all()
    assert tuple(look_alike.TIPS_FIRST) == inverse(TIP_FIRST)


def test_two_hands_of_a_frame_are_two_samples(root: Path) -> None:
    reader = InterHandReader(root)
    assert reader.splits() == {"interhand": ["train", "val", "train+val", "test", "test-single", "test-interacting"]}
    train = [f"train/{CAMERA}/image{name}" for name in ("10-right", "28-left", "46-right", "46-left", "64-right")]
    val = [f"val/{CAMERA}/image6-right"]
    test = [f"test/{CAMERA}/image{name}" for name in ("6-left", "12-right", "12-left")]
    assert reader.split_ids("interhand", "train") == train
    assert reader.split_ids("interhand", "train+val") == train + val
    assert reader.split_ids("interhand", "test") == test
    assert reader.split_ids("interhand", "test-single") == test[:1]
    assert reader.split_ids("interhand", "test-interacting") == test[1:]
    with pytest.raises(UsageError, match=r'has no subset "tset" of interhand\. Did you mean "test"'):
        reader.split_ids("interhand", "tset")


def test_hands_without_a_root_are_left_out_and_counted(root: Path) -> None:
    reader = InterHandReader(root)
    assert not any("left out" in note for note in reader.notes if "hand without" in note), "nothing was listed"
    reader.split_ids("interhand", "train")
    assert "train: 1 hand without a known wrist or middle knuckle left out" in reader.notes
    assert not any(note.startswith("test") for note in reader.notes), "test was not asked for, and not read"
    without_wrist = reader.read(f"train/{CAMERA}/image64-left").joints_valid
    assert without_wrist is not None
    assert not without_wrist.any(), "relative to the wrist nothing is known"
    reader.split_ids("interhand", "test")
    assert "test: 1 hand without a known wrist or middle knuckle left out" in reader.notes


def test_hands_are_where_the_pictures_have_them(tree: Any) -> None:
    root, made = tree
    reader = InterHandReader(root)
    frames = {f"{part}/{frame.name}": frame for part, each in made.items() for frame in each}
    ids = every_id(reader)
    assert len(ids) == 9
    for sample_id in ids:
        sample = reader.read(sample_id)
        name, _, side = sample_id.rpartition("-")
        frame = frames[name]
        hand = frame.hands[side]
        assert np.abs(projected(sample) - np.array(hand.joints_px)).max() < 0.5
        np.testing.assert_allclose(sample.joints, hand.joints, atol=1e-6)
        assert sample.joints[:, 2].min() > 0
        assert sample.side == side
        assert sample.frame_size == (334, 512)
        unknown = frame.unknown.get(side, [])
        assert sample.joints_valid is not None
        assert np.flatnonzero(~sample.joints_valid).tolist() == unknown
        assert sample.frame_number == frame.number
        part = name.partition("/")[0]
        assert sample.labels == {
            "sequence": f"{part}/Capture0/0001_made_up",
            "subject": "7",
            "view": "400001",
            "intent": "interacting" if len(frame.hands) == 2 else "single",
            "image": f"{part}/Capture0/400001/{frame.number}",
        }


@pytest.mark.parametrize("side", ["right", "left"])
def test_fits_are_turned_to_the_camera_and_the_flat_hand(tree: Any, side: str) -> None:
    root, made = tree
    model = load_synthetic_hand()
    layer = HandLayer(model if side == "right" else mirrored(model), torch.float64)
    reader = InterHandReader(root, BASES)
    for frame in made["train"]:
        if side not in frame.hands or side in frame.unknown:
            continue
        hand, sample = frame.hands[side], reader.read(f"train/{frame.name}-{side}")
        assert sample.pose_valid is True
        assert sample.rotations is not None
        assert sample.betas is not None
        pose, shape = (torch.from_numpy(array[None]).double() for array in (sample.rotations, sample.betas))
        np.testing.assert_allclose(layer(pose, shape).verts[0].numpy() + hand.trans, hand.verts, atol=2e-6)


def test_poses_are_known_where_a_fit_and_a_hand_model_are(root: Path) -> None:
    ids = {side: f"train/{CAMERA}/image46-{side}" for side in ("right", "left")}
    null = f"val/{CAMERA}/image6-right"
    for bases, known in ((BASES, {"right", "left"}), ({"right": BASES["right"]}, {"right"})):
        reader = InterHandReader(root, bases)
        assert {side for side in ids if reader.read(ids[side]).pose_valid} == known
        assert reader.read(null).pose_valid is False
        assert reader.read(null).rotations is not None
        sources = ", ".join(f"MANO_{side.upper()}.pkl" for side in ("left", "right") if side in known)
        assert reader.release == f"InterHand2.6M v1.0, rotations by {sources}"
    left_out = "the poses and meshes of left hands are left out: they are relative to"
    assert any(note.startswith(left_out) for note in reader.notes)
    reader = InterHandReader(root)
    sample = reader.read(ids["right"])
    assert (sample.rotations, sample.betas, sample.pose_valid) == (None, None, None)
    assert reader.release == "InterHand2.6M v1.0"
    assert any(note.startswith("the poses and meshes of right and left hands are left out: ") for note in reader.notes)


def test_without_fits_there_are_no_poses(changed: Path) -> None:
    for path in changed.glob("annotations/*/*NeuralAnnot.json"):
        path.unlink()
    sample = InterHandReader(changed, BASES).read(f"train/{CAMERA}/image10-right")
    assert (sample.rotations, sample.betas, sample.pose_valid) == (None, None, None)
    assert InterHandReader(changed, BASES).notes == []


def test_it_is_packed(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "interhand.h5"
    write_pack(InterHandReader(root.parent, BASES), out, codec=codec_named("jpeg"))
    pack = Pack(out)
    assert pack.info.counts["interhand"] == {
        "train": 5, "val": 1, "train+val": 6, "test": 3, "test-single": 1, "test-interacting": 2,
    }  # fmt: skip
    assert pack.info.labels == ("sequence", "subject", "view", "intent", "image")
    rows = pack.indices("interhand", "train+val")
    assert pack.pose_valid(rows).sum() == 5
    assert pack.joints_valid(rows).sum() == 6 * 21 - 2
    assert pack.left(rows).sum() == 2


def test_the_commands_of_its_page_run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / root.name).symlink_to(root)
    page = (Path(__file__).parents[3] / "docs/datasets.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^hmr (pack interhand .*)$", page, flags=re.MULTILINE)
    assert main(shlex.split(command)) == 0
    said = capfd.readouterr().err
    assert "note: train: 1 hand without a known wrist or middle knuckle left out" in said
    assert "note: the poses and meshes of right and left hands are left out: they are relative to" in said
    assert set(Pack(tmp_path / "interhand.h5").info.arrays) >= {"joints", "joints_valid", "frame_number", "label_image"}


def test_what_was_read_is_kept_for_other_processes(changed: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = annotations._read

    def counted(files: Any) -> Any:
        read.append(1)
        return real(files)

    monkeypatch.setattr(annotations, "_read", counted)
    name = f"train/{CAMERA}/image10-right"
    reader = InterHandReader(changed, BASES)
    before = reader.read(name).joints
    data = pickle.dumps(reader)
    assert len(data) < 60_000  # the components of two hands
    np.testing.assert_array_equal(pickle.loads(data).read(name).joints, before)
    assert len(read) == 1
    edit(changed, "train", "camera", lambda content: content["0"]["campos"]["400001"].reverse())
    assert np.abs(InterHandReader(changed).read(name).joints - before).max() > 0.1, "the file was changed"
    assert len(read) == 2
    for count, damage in enumerate((b"nothing", b""), 3):
        for path in cache.glob("interhand-*/world.npy"):
            path.write_bytes(damage)
        InterHandReader(changed).read(name)
        assert len(read) == count, "damaged"
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    monkeypatch.setenv("HOME", "/dev/null")
    InterHandReader(changed).read(name)
    assert len(read) == 5, "there is nowhere to keep it"


def test_a_long_reading_is_told(
    changed: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hmr_datasets.kept_arrays.LARGE_BYTES", 10_000)
    for _ in range(2):
        InterHandReader(changed).split_ids("interhand", "train")
        assert capsys.readouterr().err == f"reading 0 MB of annotations in {changed / 'annotations/train'}, once\n"
        shutil.rmtree(cache)
    InterHandReader(changed).split_ids("interhand", "val")
    assert capsys.readouterr().err == ""


def forget_the_order(content: Any) -> None:
    """Write the joints so that they come out as they are in the release: tips first, the wrist last."""
    for moment in content["0"].values():
        both = np.array(moment["world_coord"]).reshape(2, 21, 3)
        moment["world_coord"] = both[:, look_alike.TIPS_FIRST].reshape(42, 3).tolist()


def forget_the_camera(content: Any) -> None:
    content["0"]["camrot"]["400001"] = np.eye(3).tolist()
    content["0"]["campos"]["400001"] = [0, 0, 0]


def in_metres(content: Any) -> None:
    for moment in content["0"].values():
        moment["world_coord"] = (np.array(moment["world_coord"]) / 1000).tolist()


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("camera", forget_the_camera, "no joint is in the frame in|joints are behind the camera in"),
        (
            "joint_3d",
            forget_the_order,
            "the joints look like an order with each finger from its tip and the wrist last",
        ),
        ("joint_3d", in_metres, "joints are no hands in metres: from the wrist to joint 9"),
    ],
)
def test_what_is_in_another_space_is_not_packed(
    changed: Path, tmp_path: Path, name: str, change: Callable[[Any], None], told: str
) -> None:
    for part in ("train", "val", "test"):
        edit(changed, part, name, change)
    with pytest.raises(HmrError, match=f"this data set is not packed, since .*({told})"):
        write_pack(InterHandReader(changed), tmp_path / "out.h5", codec=codec_named("jpeg"))


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("camera", forget_the_camera, "no joint is in the frame in|joints are behind the camera in"),
        (
            "joint_3d",
            forget_the_order,
            "the joints look like an order with each finger from its tip and the wrist last",
        ),
    ],
)
def test_the_doctor_sees_another_space_and_another_order(
    root: Path, changed: Path, name: str, change: Callable[[Any], None], told: str
) -> None:
    for part in ("train", "val", "test"):
        edit(changed, part, name, change)
    spec, levels = discover().dataset("interhand"), {}
    for folder in (root, changed):
        reader = InterHandReader(folder)
        findings = list(doctor.samples(folder, spec, reader, every_id(reader), np.random.default_rng(0)))
        levels[folder] = {finding.level for finding in findings}
    assert levels[root] == {"ok"}
    assert any(finding.level == "wrong" and re.search(told, finding.text) for finding in findings)


def test_trees_are_told_apart(changed: Path, root: Path, tmp_path: Path) -> None:
    assert InterHandReader(root.parent).root == root, "the folder above will do"
    with pytest.raises(
        HmrError, match=r"nowhere is not a tree of InterHand2\.6M v1\.0: there is no such folder\. Pass as"
    ):
        InterHandReader(tmp_path / "nowhere")
    with pytest.raises(HmrError, match=r"it has no annotations/train/InterHand2\.6M_train_data\.json, nor that of val"):
        InterHandReader(tmp_path)
    for name in ("InterHand2.6M_5fps_batch1", "InterHand2.6M_30fps_batch1"):
        shutil.copytree(changed / "annotations", tmp_path / "both" / name / "annotations")
    with pytest.raises(
        HmrError, match=r"holds both frame rates, .*5fps_batch1 and .*30fps_batch1\. Pass one of them as"
    ):
        InterHandReader(tmp_path / "both")
    (changed / "annotations").rename(changed / "elsewhere")
    (changed / "annotations/all").mkdir(parents=True)
    with pytest.raises(HmrError, match=r"its annotations are those of version 0\.0, in annotations/all"):
        InterHandReader(changed)


def test_a_missing_file_of_annotations_is_named(changed: Path) -> None:
    (changed / "annotations/test/InterHand2.6M_test_joint_3d.json").unlink()
    with pytest.raises(HmrError, match=r"annotations/test lacks InterHand2\.6M_test_joint_3d\.json\. Unpack the"):
        InterHandReader(changed)


def test_a_part_that_is_not_there_has_no_subsets(changed: Path) -> None:
    shutil.rmtree(changed / "annotations/val")
    reader = InterHandReader(changed)
    assert reader.splits() == {"interhand": ["train", "test", "test-single", "test-interacting"]}
    for ask in (lambda: reader.split_ids("interhand", "train+val"), lambda: reader.read(f"val/{CAMERA}/image6-right")):
        with pytest.raises(
            HmrError, match=r"has no annotations of val: there is no .*val_data\.json\. The archives are"
        ):
            ask()


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("data", lambda c: c["images"][0].pop("camera"), r"train_data\.json is damaged: entry 1010 is no image"),
        ("data", lambda c: c["annotations"][1].update(joint_valid=[1]), r"a joint_valid is not 42 numbers"),
        ("data", lambda c: c["annotations"][1].update(hand_type="both"), r"entry 2028 is no image or annotation"),
        ("data", lambda c: c["images"][1].update(frame_idx=2**31), "2147483648 is no whole number from 0"),
        ("data", lambda c: c["annotations"][1].update(image_id=[5]), r"\[5\] is no whole number from 0"),
        ("data", lambda c: c["annotations"][1].update(image_id=5), "an annotation is of no image"),
        ("data", lambda c: c.clear(), "it has no lists of images and annotations"),
        ("camera", lambda c: c["0"]["focal"].clear(), r"camera\.json is damaged: it has no camera 400001 of capture 0"),
        ("camera", lambda c: c["0"]["focal"].update({"400001": [1]}), "camera 400001 of capture 0: a focal is not 2"),
        ("joint_3d", lambda c: c["0"].pop("28"), r"joint_3d\.json is damaged: it has no frame 28 of capture 0"),
        ("joint_3d", lambda c: c["0"]["28"].pop("world_coord"), "frame 28 of capture 0 has no points"),
        (
            "MANO_NeuralAnnot",
            lambda c: c["0"]["28"]["left"].update(pose=[0]),
            "Annot.json is damaged: a pose is not 48",
        ),
    ],
)
def test_damaged_annotations_are_named(changed: Path, name: str, change: Callable[[Any], object], told: str) -> None:
    edit(changed, "train", name, change)
    with pytest.raises(HmrError, match=told + r".*\. Unpack the release's annotations \(.*\.zip or .*\) again\.$"):
        InterHandReader(changed).split_ids("interhand", "train")


def test_a_file_that_was_cut_short_is_named(changed: Path) -> None:
    path = changed / "annotations/train/InterHand2.6M_train_data.json"
    path.write_text(path.read_text()[:-100])
    with pytest.raises(HmrError, match=r"train_data\.json is damaged: not JSON"):
        InterHandReader(changed).split_ids("interhand", "train")


@pytest.mark.parametrize("sample_id", ["train/image1", "all/image1-right", "image1-right", "train/image1-both"])
def test_ids_that_are_none_are_told(root: Path, sample_id: str) -> None:
    with pytest.raises(HmrError, match=r"is not the id of an InterHand2\.6M sample, such as test/Capture0/SEQUENCE"):
        InterHandReader(root).read(sample_id)


def test_an_image_that_is_not_listed_is_told(root: Path) -> None:
    for name in ("image11", "image1", "zzz"):
        with pytest.raises(HmrError, match=rf"sample train/{name}-right: .*train_data\.json has no image {name}\.jpg"):
            InterHandReader(root).read(f"train/{name}-right")


def test_missing_images_are_found_without_opening_one(changed: Path) -> None:
    spec = discover().dataset("interhand")
    assert spec.missing is not None
    reader = InterHandReader(changed)
    ids = every_id(reader)
    assert list(spec.missing(reader, ids)) == []
    (changed / "images/train" / CAMERA / "image46.jpg").unlink()
    shutil.rmtree(changed / "images/test")
    (found,) = spec.missing(reader, ids)
    assert (found.where, found.total) == ("images", 7)
    assert sorted(found.names) == [
        f"{part}/{CAMERA}/image{n}.jpg" for part, n in (("test", 12), ("test", 6), ("train", 46))
    ]
    with pytest.raises(
        HmrError, match=r"image46-left: cannot read .*image46\.jpg: No such file .* Unpack the release's im"
    ):
        reader.read_image(reader.read(f"train/{CAMERA}/image46-left"))
