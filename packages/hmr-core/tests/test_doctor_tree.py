"""What the doctor says of a release's tree, and of a pack beside it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace as replace_fields
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from hmr_core import builtin
from hmr_core.data.oakink import open_oakink
from hmr_core.data.oakink.layout import RELEASE
from hmr_core.data.pack import format as fmt
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.data.projection import projection_remarks
from hmr_core.doctor import tree as doctor
from hmr_core.doctor.counts import counts
from hmr_core.doctor.find_tree import find_tree, unknown
from hmr_core.doctor.finding import Finding
from hmr_core.doctor.match import match
from hmr_core.errors import HmrError, UsageError
from hmr_core.hand.joints import MANO_TO_OPENPOSE
from hmr_core.plugins.sample import DatasetReader

OAKINK = builtin.hmr_datasets()[0]
SAMPLE = "A01001_0001_0000__2021-09-26-19-59-58__0__12__0"
FRAME = "A01001_0001_0000/2021-09-26-19-59-58/north_east_color_12.png"


@pytest.fixture
def tree(mini_tree: Path, tmp_path: Path) -> Path:
    """A copy of the data set, of links, in which a test may replace files."""
    return Path(shutil.copytree(mini_tree, tmp_path / "OakInk", copy_function=os.symlink))


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def amiss(findings: Iterator[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.level, finding.text, finding.remedy) for finding in findings if finding.level != "ok"]


def contents(tree: Path) -> list[tuple[str, str, str]]:
    reader = open_oakink(tree)
    return amiss(doctor.contents(tree, OAKINK, reader, doctor.read_lists(reader)))


def every(reader: DatasetReader) -> list[str]:
    return doctor.every_id(doctor.read_lists(reader))


def files(tree: Path) -> list[tuple[str, str, str]]:
    reader = open_oakink(tree)
    return amiss(doctor.files(OAKINK, reader, every(reader)))


def samples(tree: Path) -> list[tuple[str, str, str]]:
    """What is amiss with thirty samples, SAMPLE among them; all are looked at."""
    reader = open_oakink(tree)
    others = [name for name in every(reader) if name[:-1] != SAMPLE[:-1]]
    return amiss(doctor.samples(tree, OAKINK, reader, [SAMPLE, *others[:29]], np.random.default_rng(0)))


def test_lists_that_are_missing_or_empty(tree: Path) -> None:
    shutil.rmtree(tree / "image" / "anno" / "split" / "split1")
    replace(tree / "image" / "anno" / "split" / "split0" / "seq_test.json", b"[]")
    (tree / "image" / "anno" / "seq_all.json").unlink()
    found = [(level, text) for level, text, _ in contents(tree) if level == "warning"]
    assert ("warning", "sp0: the tree has no list of all") in found
    assert ("warning", "sp0: nothing is listed in test") in found
    assert ("warning", "sp1: the tree has no list of train+val, test, all") in found
    assert ("warning", "sp2: the tree has no list of all") in found


def test_the_counts_are_shown_beside_the_documented_ones(tree: Path) -> None:
    found = contents(tree)
    assert found[0] == (
        "warning",
        "sp0: train 57, val 15, train+val 72, test 24, all 96 (documented: train 216,579, val 15,470, "
        "train+val 232,049, test 77,330, all 314,404); train, val, train+val, test, all differ",
        "Unpack the release's annotations again (image/anno/split, split_train_val, seq_all.json).",
    )
    assert [text.split(";")[0].split("(")[1] for _, text, _ in found] == [
        "documented: train 216,579, val 15,470, train+val 232,049, test 77,330, all 314,404)",
        "documented: train 177,490, val 6,151, train+val 192,532, test 83,503, all 314,404)",
        "documented: train 214,630, val 16,202, train+val 230,832, test 78,547, all 314,404)",
    ]


def test_the_release_s_own_counts_are_right() -> None:
    there = {split: dict(counts) for split, counts in OAKINK.expected(RELEASE).items()}
    assert amiss(counts("root", OAKINK, RELEASE, there, "again")) == []
    there["sp1"]["test"] += 1
    ((level, text, remedy),) = amiss(counts("root", OAKINK, RELEASE, there, "again"))
    assert (level, remedy) == ("warning", "again")
    assert text.endswith("train+val 192,532, test 83,503, all 314,404); test differ")
    part = {"sp2": {"test": 78_547}}  # a pack of a subset lacks the others, and they are not missed
    assert amiss(counts("data", OAKINK, RELEASE, part, "again")) == []


def test_a_tree_that_is_something_else_is_not_expected_to_have_them(tree: Path) -> None:
    (tree / "release.txt").write_text("synthetic, in OakInk-Image v2.1's layout (seed 0)")
    text = f"the tree is not {RELEASE}, so that its counts are not compared with documented ones"
    assert contents(tree) == [("note", text, "")]


def edit_list(tree: Path, name: str, change: str) -> None:
    path = tree / "image/anno" / name
    entries = json.loads(path.read_text())
    other = json.loads((tree / "image/anno/split/split0/seq_test.json").read_text())
    entries = {"leak": [*entries, other[0]], "twice": [*entries, entries[0]], "lose": entries[1:]}[change]
    replace(path, json.dumps(entries).encode())


@pytest.mark.parametrize(
    ("name", "change", "texts"),
    [
        (
            "split/split0/seq_train.json",
            "leak",
            [
                "sp0: 1 samples of test are trained on, too ({})",
                "sp0: 1 samples of train+val are in neither train nor val ({})",
            ],
        ),
        ("split/split1/seq_test.json", "twice", ["sp1: test lists 1 samples twice"]),
        (
            "split_train_val/split2/example_split_val.json",
            "lose",
            ["sp2: 1 samples of train+val are in neither train nor val ("],
        ),
    ],
)
def test_lists_that_do_not_fit_together(tree: Path, name: str, change: str, texts: list[str]) -> None:
    leaked = open_oakink(tree).split_ids("sp0", "test")[0]
    edit_list(tree, name, change)
    found = [(level, text) for level, text, _ in contents(tree) if level != "warning"]
    assert len(found) == len(texts)
    for (level, text), expected in zip(found, texts, strict=True):
        assert level == ("note" if "neither" in expected else "wrong")
        assert text.startswith(expected.format(leaked))


def test_train_and_val_that_share_a_sample(tree: Path) -> None:
    anno = tree / "image/anno/split_train_val/split0"
    train = json.loads((anno / "example_split_train.json").read_text())
    val = json.loads((anno / "example_split_val.json").read_text())
    replace(anno / "example_split_val.json", json.dumps([*val, train[0]]).encode())
    texts = [text for level, text, _ in contents(tree) if level == "wrong"]
    assert len(texts) == 1
    assert texts[0].startswith("sp0: 1 samples are in train and in val (")


def test_train_and_val_of_subjects_need_not_be_train_and_val_together(tree: Path) -> None:
    """In the release they are not: frames of two hands with subjects on both sides are in neither."""
    edit_list(tree, "split_train_val/split1/example_split_val.json", "lose")
    assert not [text for level, text, _ in contents(tree) if level == "wrong"]
    path = tree / "image/anno/split_train_val/split1/example_split_val.json"
    tested = json.loads((tree / "image/anno/split/split1/seq_test.json").read_text())
    replace(path, json.dumps([*json.loads(path.read_text()), tested[0]]).encode())
    texts = [text for level, text, _ in contents(tree) if level == "wrong"]
    assert [text.partition(" (")[0] for text in texts] == [
        "sp1: 1 samples of test are trained on, too",
        "sp1: 1 samples of train and val are not in train+val",
    ]


def test_a_tree_without_lists(tree: Path) -> None:
    for folder in ("split", "split_train_val"):
        shutil.rmtree(tree / "image/anno" / folder)
    assert contents(tree)[0][:2] == ("wrong", "the tree has no list of any split")


def test_a_whole_tree_lacks_no_file(mini_tree: Path) -> None:
    assert files(mini_tree) == []
    reader = open_oakink(mini_tree)
    (only,) = doctor.files(OAKINK, reader, every(reader))
    assert only.text == "the 96 listed samples have all of their files"


@pytest.mark.parametrize("folder", ["cam_intr", "hand_j", "hand_v", "obj_transf", "general_info"])
def test_a_missing_annotation_file_is_named(tree: Path, folder: str) -> None:
    (tree / f"image/anno/{folder}/{SAMPLE}.pkl").unlink()
    text = f"image/anno/{folder} lacks 1 of 96 files: {SAMPLE}.pkl"
    assert files(tree) == [("wrong", text, f"Unpack image/anno/{folder} again.")]


def test_a_missing_folder_of_annotations(tree: Path) -> None:
    shutil.rmtree(tree / "image/anno/hand_v")
    ((_, text, _),) = files(tree)
    assert text.startswith("image/anno/hand_v lacks 96 of 96 files: ")
    assert text.endswith(" and 93 more")


def test_missing_frames_are_named(tree: Path) -> None:
    frames = tree / "image/stream_release_v2"
    (frames / FRAME).unlink()
    assert files(tree) == [
        (
            "wrong",
            f"image/stream_release_v2 lacks 1 of 80 files: {FRAME}",
            "Unpack image/stream_release_v2 again: it is an archive in several parts, all of which are needed.",
        )
    ]
    shutil.rmtree(frames / "A01001_0001_0000")
    ((_, text, _),) = files(tree)
    assert text.startswith("image/stream_release_v2 lacks 16 of 80 files: A01001_0001_0000/")


def test_samples_that_can_be_read(mini_tree: Path) -> None:
    assert samples(mini_tree) == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"no image", "is not a readable image."),
        (
            cv2.imencode(".png", np.zeros((240, 424, 3), np.uint8))[1].tobytes(),
            "is 424x240 pixels, but the annotations",
        ),
    ],
)
def test_frames_that_are_wrong(tree: Path, content: bytes, text: str) -> None:
    replace(tree / "image/stream_release_v2" / FRAME, content)
    ((level, found, remedy),) = samples(tree)
    assert level == "wrong"
    assert found.startswith(f"1 of 30 samples looked at cannot be read ({SAMPLE}); the first: sample {SAMPLE}: ")
    assert text in found
    assert remedy == "Unpack again what the error names."


def test_a_pickle_that_is_no_annotation(tree: Path) -> None:
    replace(tree / f"image/anno/hand_j/{SAMPLE}.pkl", pickle.dumps(np.zeros((20, 3))))
    ((_, text, _),) = samples(tree)
    assert text.endswith("has shape (20, 3), not (21, 3). Unpack the release's annotations (image/anno) again.")


def test_annotations_of_a_tree_are_measured(tree: Path) -> None:
    path = tree / f"image/anno/hand_j/{SAMPLE}.pkl"
    joints = pickle.loads(path.read_bytes())
    joints[4] += 0.01
    replace(path, pickle.dumps(joints))
    ((level, text, remedy),) = samples(tree)
    assert level == "wrong"
    assert text == f"the thumb's tip, joint 4, is up to 17.3 mm from vertex 745, in 1 of 30 samples ({SAMPLE})"
    assert remedy == "Use the annotations as released, and unpack them again if they are."


def test_a_damaged_list_is_an_error_of_our_own(tree: Path) -> None:
    replace(tree / "image/anno/split/split0/seq_test.json", b"[")
    with pytest.raises(HmrError, match="is damaged: not JSON"):
        doctor.read_lists(open_oakink(tree))


def matched(tree: Path, pack: Path) -> list[Finding]:
    reader = open_oakink(tree)
    return list(match(tree, reader, doctor.read_lists(reader), Pack(pack), np.random.default_rng(0)))


def test_a_pack_of_the_tree(mini_tree: Path, mini_pack_path: Path) -> None:
    found = matched(mini_tree, mini_pack_path)
    assert [(finding.level, finding.text) for finding in found][:2] == [
        ("ok", "the 20 lists of the pack are the tree's, sample by sample"),
        ("ok", "annotations of 64 samples are the tree's"),
    ]
    with h5py.File(mini_pack_path) as file:
        recorded = fmt.SOURCE in file
    assert recorded
    assert found[2].text == "frames of 64 samples are, byte for byte, those that were packed"


def test_a_tree_that_was_changed_after_packing(tree: Path, mini_pack_path: Path) -> None:
    names = every(open_oakink(tree))
    for name in names:  # whichever are looked at
        path = tree / f"image/anno/cam_intr/{name}.pkl"
        replace(path, pickle.dumps(pickle.loads(path.read_bytes()) * 2))
    for path in (tree / "image/stream_release_v2").rglob("*.png"):
        content = path.read_bytes()
        replace(path, content + b"\0")
    found = [(finding.level, finding.text, finding.remedy) for finding in matched(tree, mini_pack_path)]
    remedy = f"Give the tree that was packed, or pack this one: hmr pack oakink --root {tree} --out FILE"
    assert [level for level, _, _ in found] == ["ok", "wrong", "wrong"]
    assert found[1][1].startswith("annotations of 64 of 64 samples are not the tree's: ")
    assert found[2][1].startswith("frames of 64 of 64 samples are gone, or others than were packed: ")
    assert {again for _, _, again in found[1:]} == {remedy}


def test_a_tree_that_has_lost_files_since(tree: Path, mini_pack_path: Path) -> None:
    for path in (tree / "image/stream_release_v2").rglob("*.png"):
        path.unlink()
    for name in every(open_oakink(tree))[:90]:
        (tree / f"image/anno/hand_v/{name}.pkl").unlink()
    found = [(finding.level, finding.text, finding.remedy) for finding in matched(tree, mini_pack_path)]
    assert [level for level, _, _ in found] == ["ok", "wrong", "ok", "wrong"]
    left = int(found[2][1].split()[2])
    assert found[1][1:] == (
        f"{64 - left} of 64 samples of the pack cannot be read in the tree",
        "See what is said of root above.",
    )
    assert found[3][1].startswith(f"frames of {left} of {left} samples are gone, or others than were packed: ")


def test_a_pack_of_another_tree(tree: Path, mini_pack_path: Path) -> None:
    (tree / "release.txt").write_text("another")
    edit_list(tree, "split/split0/seq_train.json", "lose")
    shutil.rmtree(tree / "image/anno/split_train_val/split2")
    path = tree / "image/anno/split/split1/seq_test.json"
    replace(path, json.dumps(json.loads(path.read_text())[::-1]).encode())
    path = tree / "image/anno/split/split2/seq_test.json"
    entries = json.loads(path.read_text())
    replace(
        path,
        json.dumps(
            [json.loads((tree / "image/anno/split/split2/seq_train.json").read_text())[0], *entries[1:]]
        ).encode(),
    )
    first, second, *_ = [(finding.level, finding.text) for finding in matched(tree, mini_pack_path)]
    assert first == ("wrong", f'the pack is of "{RELEASE}", the tree is "another"')
    assert second == (
        "wrong",
        "5 of 20 lists of the pack are not the tree's: train+val of sp0 (72 samples, the tree 71), test of sp1 "
        "(another order), train of sp2 (the tree has no such list) and 2 more",
    )


def test_a_pack_of_other_samples(tree: Path, mini_tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "val.h5"
    write_pack(open_oakink(mini_tree), out, splits=["sp0"], subset="val", codec=codec_named("jpeg:50"))
    anno = tree / "image/anno"
    for path in [anno / "seq_all.json", *anno.glob("split*/*/*.json")]:
        replace(path, json.dumps([["X/Y", 0, 1, 2]]).encode())
    found = [(finding.level, finding.text) for finding in matched(tree, out)]
    assert found == [
        ("wrong", "1 of 1 lists of the pack are not the tree's: val of sp0 (15 samples, the tree 1)"),
        ("wrong", "none of the pack's samples that were looked at is in the tree's lists"),
    ]


def test_a_tree_is_opened_by_the_data_set_that_takes_it(mini_tree: Path, tmp_path: Path) -> None:
    def refuse(root: Path) -> DatasetReader:
        raise HmrError(f"{root} has no file index.json.")

    other = replace_fields(OAKINK, name="other", open=refuse)
    specs = {"other": other, "oakink": OAKINK}
    found = find_tree(mini_tree, specs, None)
    assert found is not None
    assert (found[0], found[1].name) == (OAKINK, "oakink")
    with pytest.raises(HmrError, match=r"has no file index\.json\.$"):
        find_tree(mini_tree, specs, "other")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert find_tree(empty, specs, None) is None
    first, *tried = unknown(empty, specs)
    assert (first.level, first.text) == (
        "wrong",
        f"{empty} is a tree of no data set that is known here; tried: other, oakink",
    )
    assert f"`hmr doctor --root {empty} --dataset other`, or with another of their names" in first.remedy
    marks = "image/anno or image/stream_release_v2 or OakInk/image/anno"
    assert [(line.level, line.text) for line in tried] == [
        ("note", f"other looks for {marks}"),
        ("note", f"oakink looks for {marks}"),
    ]
    no_marks = {"other": replace_fields(other, marks=())}
    assert [line.text for line in unknown(empty, no_marks)][1:] == [f"other is {OAKINK.summary}"]


def test_a_tree_that_is_not_whole_is_told_by_its_own_reader(tmp_path: Path) -> None:
    root = tmp_path / "half"
    (root / "image/anno").mkdir(parents=True)
    specs = {"oakink": OAKINK, "other": replace_fields(OAKINK, name="other", marks=("index.json",))}
    with pytest.raises(HmrError, match=r"half is not a tree of .*image/stream_release_v2 not found there"):
        find_tree(root, specs, None)
    (root / "index.json").touch()
    with pytest.raises(UsageError, match=r"half looks like a tree of several data sets, and is none that is"):
        find_tree(root, specs, None)


@pytest.mark.parametrize("given", ["..", "image"])
def test_a_tree_nearby_is_named(given: str, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    (root / "image/anno").mkdir(parents=True)
    folder = tmp_path if given == ".." else root / given
    assert find_tree(folder, {"oakink": replace_fields(OAKINK, marks=("image/anno",))}, None) is None
    line = next(unknown(folder, {"oakink": OAKINK}))
    assert line.remedy == f"{root} looks like one: hmr doctor --root {root}"


def test_projected_joints_are_held_against_the_annotated_points(mini_tree: Path) -> None:
    reader = open_oakink(mini_tree)
    read = [reader.read(name) for name in every(reader)[:4]]
    assert list(projection_remarks(read)) == []
    pixels = [sample.joints.astype(np.float64) @ sample.intrinsics.T for sample in read]
    seen = [np.float32(points[:, :2] / points[:, 2:]) for points in pixels]
    right = [replace_fields(sample, joints_px=points) for sample, points in zip(read, seen, strict=True)]
    (fine,) = projection_remarks(right)
    assert (fine.level, fine.text.endswith("pixels of the annotated points in 4 samples")) == ("ok", True)
    partly = seen[0].copy()
    partly[3:] = np.nan
    (one,) = projection_remarks([*right[1:], replace_fields(right[0], joints_px=partly + np.float32(1))])
    assert (one.level, one.misleads) == ("warning", False)
    assert one.text.startswith(
        f"projected joints are up to 1.4 pixels from the annotated points in 1 of 4 samples ({read[0].id})"
    )
    order = list(MANO_TO_OPENPOSE)
    for wrong in (
        [replace_fields(sample, joints=sample.joints[order]) for sample in right],
        [replace_fields(sample, joints=sample.joints * np.float32([1, -1, -1])) for sample in right],
    ):
        (found,) = projection_remarks(wrong)
        assert (found.level, found.misleads) == ("wrong", True)
