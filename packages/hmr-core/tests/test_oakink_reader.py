from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy import ndarray

from hmr_core.data.oakink import OakInkReader, open_oakink
from hmr_core.data.oakink.layout import SampleKey
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, UsageError
from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.plugins.sample import LABELS

OAKINK = Path(__file__).parent / "data" / "oakink_mini" / "OakInk"
SAMPLE = "A01001_0001_0000__2021-09-26-19-59-58__0__12__0"
ANNO = Path("image") / "anno"


@pytest.fixture(scope="module")
def reader() -> OakInkReader:
    return open_oakink(OAKINK)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the data set, of links, in which a test may replace files."""
    return Path(shutil.copytree(OAKINK, tmp_path / "OakInk", copy_function=os.symlink))


def replace(path: Path, content: bytes | str) -> None:
    path.unlink()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def annotation(tree: Path, kind: str, sample_id: str = SAMPLE) -> Path:
    return tree / ANNO / kind / f"{sample_id}.pkl"


@pytest.mark.parametrize(
    ("split", "counts"),
    [("sp0", (57, 15, 72, 24)), ("sp1", (38, 10, 48, 48)), ("sp2", (38, 10, 48, 48)), ("sp0-ho", (28, 8, 36, 12))],
)
def test_counts(reader: OakInkReader, split: str, counts: tuple[int, ...]) -> None:
    found = [set(reader.split_ids(split, subset)) for subset in ("train", "val", "train+val", "test", "all")]
    assert tuple(len(ids) for ids in found) == (*counts, 96)
    train, val, both, test, everything = found
    assert train | val == both
    assert not train & val
    assert not both & test
    assert both | test <= everything
    assert list(reader.splits()) == ["sp0", "sp1", "sp2", "sp0-ho"]


def test_the_order_is_the_release_s(reader: OakInkReader) -> None:
    listed = json.loads((OAKINK / ANNO / "split" / "split1" / "seq_test.json").read_text())
    expected = ["__".join([entry[0].replace("/", "__"), *map(str, entry[1:])]) for entry in listed]
    assert reader.split_ids("subject", "test") == expected
    assert expected != sorted(expected), "the list is sorted, so that the test shows nothing"


def test_a_sample(reader: OakInkReader) -> None:
    sample = reader.read(SAMPLE)
    assert sample.id == SAMPLE
    expected = "A01001_0001_0000/2021-09-26-19-59-58/north_east_color_12.png"
    assert sample.image_path == OAKINK / "image" / "stream_release_v2" / expected
    for kind, value in {
        "cam_intr": sample.intrinsics,
        "hand_j": sample.joints,
        "hand_v": sample.verts,
        "obj_transf": sample.object_pose,
    }.items():
        np.testing.assert_array_equal(value, pickle.loads(annotation(OAKINK, kind).read_bytes()))
        assert value.dtype == np.float32
    info = pickle.loads(annotation(OAKINK, "general_info").read_bytes())
    np.testing.assert_array_equal(sample.betas, info["hand_anno"]["hand_shape"].numpy())
    assert (sample.side, sample.frame_size, sample.joints_valid) == ("right", (848, 480), None)
    image = reader.read_image(sample)
    assert (image.shape, image.dtype) == ((480, 848, 3), np.uint8)
    np.testing.assert_array_equal(image[..., ::-1], cv2.imread(str(sample.image_path)))


@pytest.mark.parametrize(
    ("camera", "view"), [(0, "north_east"), (1, "south_east"), (2, "north_west"), (3, "south_west")]
)
def test_cameras(reader: OakInkReader, camera: int, view: str) -> None:
    assert reader.read(f"{SAMPLE[:-1]}{camera}").image_path.name == f"{view}_color_12.png"


def test_two_hands_of_a_handover_frame_are_two_samples(reader: OakInkReader) -> None:
    giver, taker = (f"A02014_0004_0000_0007__2021-10-02-09-08-07__{hand}__26__1" for hand in (0, 1))
    assert {giver, taker} <= set(reader.split_ids("sp0", "all"))
    a, b = reader.read(giver), reader.read(taker)
    assert a.image_path == b.image_path
    assert np.abs(a.joints - b.joints).max() > 0.01


def rigid_rotation(a: ndarray, b: ndarray) -> ndarray:
    """The rotation that turns the points a, about their mean, into b."""
    u, _, vt = np.linalg.svd((a - a.mean(0)).T @ (b - b.mean(0)))
    sign = np.sign(np.linalg.det(u @ vt))
    return np.asarray((u @ np.diag([1, 1, sign]) @ vt).T)


def test_the_wrist_turns_with_the_camera(reader: OakInkReader) -> None:
    """Between two views of a frame the mesh turns by a rotation; the wrist's pose must turn by the same one."""
    frames = [i for i in reader.split_ids("sp0", "all") if i.endswith("__0")]
    for first in frames:
        a = reader.read(first)
        for camera in "123":
            b = reader.read(first[:-1] + camera)
            between = rigid_rotation(a.verts.astype(float), b.verts.astype(float))
            wrist_a, wrist_b = (axis_angle_to_matrix(torch.from_numpy(s.rotations[:1]))[0].numpy() for s in (a, b))
            np.testing.assert_allclose(between @ wrist_a, wrist_b, atol=2e-6)
            assert np.abs(between - np.eye(3)).max() > 0.1
            np.testing.assert_allclose(a.rotations[1:], b.rotations[1:], atol=1e-6)


def as_list(array: ndarray) -> Any:
    return array.tolist()


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.tensor, as_list])
def test_annotations_of_any_kind(tree: Path, reader: OakInkReader, kind: Callable[[Any], Any]) -> None:
    expected = reader.read(SAMPLE)
    for folder in ("hand_j", "hand_v", "cam_intr", "obj_transf"):
        path = annotation(tree, folder)
        replace(path, pickle.dumps(kind(pickle.loads(path.read_bytes()))))
    path = annotation(tree, "general_info")
    info = pickle.loads(path.read_bytes())
    info["hand_anno"] = {name: kind(value.numpy()) for name, value in info["hand_anno"].items()}
    info["cam_extr"] = kind(info["cam_extr"].numpy())
    replace(path, pickle.dumps(info))
    found = open_oakink(tree).read(SAMPLE)
    for name in ("joints", "verts", "intrinsics", "object_pose", "rotations", "betas"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize(
    ("folder", "value", "text"),
    [
        ("hand_j", np.zeros((20, 3)), "has shape (20, 3), not (21, 3)"),
        ("hand_v", np.full((778, 3), np.nan), "has numbers that are not finite"),
        ("cam_intr", "text", "is not an array of numbers (it holds text)"),
        ("cam_intr", np.eye(3).astype(str), "is not an array of numbers (it holds text)"),
        ("cam_intr", np.eye(3).astype(str).tolist(), "is not an array of numbers (it holds text)"),
        ("cam_intr", np.eye(3, dtype=bool), "is not an array of numbers (it holds true or false)"),
        ("hand_j", np.ones((21, 3), complex), "is not an array of numbers (it holds complex numbers)"),
        ("hand_j", torch.ones((21, 3), dtype=torch.bool), "is not an array of numbers (it holds true or false)"),
        ("obj_transf", [[1, 2], [3]], "is not an array of numbers"),
        ("general_info", {"cam_extr": 1}, "'hand_anno' is missing"),
        ("general_info", 7, "does not hold hand_anno"),
    ],
)
def test_wrong_annotations_name_sample_and_file(tree: Path, folder: str, value: Any, text: str) -> None:
    path = annotation(tree, folder)
    replace(path, pickle.dumps(value))
    with pytest.raises(HmrError) as error:
        open_oakink(tree).read(SAMPLE)
    assert str(error.value).startswith(f"sample {SAMPLE}: {path}")
    assert text in str(error.value)


@pytest.mark.parametrize("times", [1, 60_000])
def test_lists_that_share_lists(tree: Path, times: int) -> None:
    """A file of a few bytes for each of which there is a list twice as long."""
    value: Any = 0.0
    for _ in range(20):
        value = [value, value]
    replace(annotation(tree, "hand_j"), pickle.dumps([value] * times))
    with pytest.raises(HmrError, match=r"is not an array of numbers \(it holds more than 100000 numbers\)"):
        open_oakink(tree).read(SAMPLE)


def test_wrong_poses(tree: Path) -> None:
    path = annotation(tree, "general_info")
    info = pickle.loads(path.read_bytes())
    info["hand_anno"]["hand_pose"][3] = 0
    replace(path, pickle.dumps(info))
    with pytest.raises(HmrError, match="hand_pose has a quaternion of length zero"):
        open_oakink(tree).read(SAMPLE)
    info["hand_anno"]["hand_pose"] = np.zeros((15, 4))
    replace(path, pickle.dumps(info))
    with pytest.raises(HmrError, match=r"general_info/.*: hand_pose has shape \(15, 4\), not \(16, 4\)"):
        open_oakink(tree).read(SAMPLE)


def test_a_pickle_that_wants_os_system_names_the_sample(tree: Path) -> None:
    path = annotation(tree, "hand_j")
    replace(path, b"cos\nsystem\n(S'touch trace'\ntR.")
    with pytest.raises(HmrError) as error:
        open_oakink(tree).read(SAMPLE)
    assert str(error.value).startswith(f'sample {SAMPLE}: {path} is a pickle that names "os.system"')


def test_a_missing_annotation_names_sample_and_file(tree: Path) -> None:
    annotation(tree, "hand_v").unlink()
    with pytest.raises(HmrError) as error:
        open_oakink(tree).read(SAMPLE)
    assert str(error.value) == (
        f"sample {SAMPLE}: cannot read {annotation(tree, 'hand_v')}: No such file or directory. "
        "Unpack the release's annotations (image/anno) again."
    )


def test_images_that_are_wrong(tree: Path) -> None:
    reader = open_oakink(tree)
    sample = reader.read(SAMPLE)
    replace(sample.image_path, cv2.imencode(".png", np.zeros((240, 424, 3), np.uint8))[1].tobytes())
    with pytest.raises(HmrError) as error:
        reader.read_image(sample)
    assert str(error.value) == (
        f"sample {SAMPLE}: {sample.image_path} is 424x240 pixels, but the annotations of OakInk-Image v2.1 are for "
        "848x480. Use the release's own frames, not resized ones."
    )
    for content in (b"", b"no image"):
        replace(sample.image_path, content)
        with pytest.raises(HmrError, match=rf"sample {SAMPLE}: .*north_east_color_12.png is not a readable image"):
            reader.read_image(sample)
    sample.image_path.unlink()
    with pytest.raises(HmrError, match=rf"sample {SAMPLE}: cannot read .*color_12.png: No such file"):
        reader.read_image(sample)


def test_the_root_may_be_the_parent(tree: Path) -> None:
    assert open_oakink(tree.parent).root == tree


def test_what_is_not_a_tree(tmp_path: Path, tree: Path) -> None:
    with pytest.raises(
        HmrError, match=r"nowhere is not a tree of OakInk-Image v2\.1: there is no such folder\. Pass as root"
    ):
        open_oakink(tmp_path / "nowhere")
    shutil.rmtree(tree / "image" / "stream_release_v2")
    with pytest.raises(HmrError) as error:
        open_oakink(tree)
    assert str(error.value) == (
        f"{tree} is not a tree of OakInk-Image v2.1: image/stream_release_v2 not found there, nor in {tree}/OakInk. "
        "Pass as root the folder OakInk that holds image/anno and image/stream_release_v2 (the release, unpacked), "
        "or make a synthetic one: hmr synth DIR, then root=DIR/OakInk."
    )


def test_lists_that_are_missing_or_damaged(tree: Path) -> None:
    shutil.rmtree(tree / ANNO / "split" / "split2")
    shutil.rmtree(tree / ANNO / "split_train_val" / "split2")
    lists = tree / ANNO / "split" / "split0" / "seq_test.json"
    reader = open_oakink(tree)
    assert list(reader.splits()) == ["sp0", "sp1", "sp0-ho"]
    with pytest.raises(HmrError, match=r"cannot read .*split2/seq_test\.json: No such file"):
        reader.split_ids("sp2", "test")
    for content, text in {
        "[": "is damaged: not JSON",
        "{}": "is not a list of samples",
        '[["A/B", 0, 1, 0], ["A/B", 0, 1]]': "entry 1 is ['A/B', 0, 1], not [SEQ/TIME, hand, frame, camera]",
        '[["A/B", 0, 1, 4]]': "entry 0 is ['A/B', 0, 1, 4], not [SEQ/TIME, hand, frame, camera] with a camera below 4",
        '[["A", 0, 1, 1]]': "entry 0 is",
    }.items():
        replace(lists, content)
        with pytest.raises(HmrError) as error:
            reader.split_ids("sp0", "test")
        assert str(error.value).startswith(str(lists))
        assert text in str(error.value)


def test_a_made_up_tree_says_what_it_is(tree: Path, reader: OakInkReader) -> None:
    assert reader.release == "OakInk-Image v2.1"
    (tree / "release.txt").write_text("made up\n")
    assert open_oakink(tree).release == "made up"


@pytest.mark.parametrize("given", ["a", "a__b__0__1", "a__b__0__1__4", "a__b__x__1__0"])
def test_ids_that_are_none(reader: OakInkReader, given: str) -> None:
    with pytest.raises(HmrError, match=f'"{given}" is not the id of an OakInk-Image sample'):
        reader.read(given)


def test_names_of_splits_and_subsets(reader: OakInkReader) -> None:
    names = {"default": "sp0", "subject": "sp1", "object": "sp2", "handobject": "sp0-ho"}
    assert reader.aliases == names
    for alias, split in names.items():
        assert reader.split_ids(alias, "test") == reader.split_ids(split, "test")
    with pytest.raises(UsageError) as error:
        reader.split_ids("sp3", "test")
    assert str(error.value) == (
        'OakInk-Image v2.1 has no split "sp3". Did you mean "sp2"? '
        "It has: sp0 (default), sp1 (subject), sp2 (object), sp0-ho (handobject)."
    )
    with pytest.raises(UsageError) as error:
        reader.split_ids("sp0", "trainval")
    assert str(error.value) == (
        'OakInk-Image v2.1 has no subset "trainval" of sp0. Did you mean "train+val"? '
        "It has: train, val, train+val, test, all."
    )


def test_a_reader_can_be_sent_to_a_worker(reader: OakInkReader) -> None:
    data = pickle.dumps(reader)
    assert len(data) < 2000
    assert pickle.loads(data).read(SAMPLE).id == SAMPLE


def test_samples_say_what_they_belong_to() -> None:
    labels = SampleKey.from_id("A01001_0001_0000__2021-09-26-19-59-58__0__12__3").labels
    assert labels == {
        "sequence": "A01001_0001_0000/2021-09-26-19-59-58",
        "subject": "0000",
        "object": "A01001",
        "view": "south_west",
        "intent": "use",
        "image": "A01001_0001_0000/2021-09-26-19-59-58/3/12",
    }
    assert tuple(labels) == LABELS
    giver, receiver = (
        SampleKey.from_id(f"S10012_0004_0003_0007__2021-10-05-15-51-12__{hand}__103__1").labels for hand in (0, 1)
    )
    assert (giver["subject"], receiver["subject"]) == ("0003", "0007")
    assert giver["intent"] == "handover"
    assert giver["image"] == receiver["image"]
    for odd in ("lab", "A01001_0009_0000", "A01001_0004"):
        odd_labels = SampleKey.from_id(f"{odd}__2021__0__1__0").labels
        assert [odd_labels[name] for name in ("sequence", "subject", "object", "intent")] == [f"{odd}/2021", "", "", ""]


def test_a_pack_keeps_them(mini_pack: Pack) -> None:
    rows = mini_pack.indices("sp0", "all")
    keys = [SampleKey.from_id(sample) for sample in mini_pack.ids(rows)]
    assert mini_pack.info.labels == LABELS
    for name in LABELS:
        assert mini_pack.labels(name, rows) == [key.labels[name] for key in keys]
    assert mini_pack.array("frame_number", rows).tolist() == [key.frame for key in keys]
