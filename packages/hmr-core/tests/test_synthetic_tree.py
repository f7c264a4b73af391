"""The synthetic tree: complete, the same from the same seed, and true to the hand that it shows."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from hmr_core.cli.synth import synth
from hmr_core.data.oakink import open_oakink
from hmr_core.data.oakink.layout import SPLIT_FOLDERS
from hmr_core.data.synthetic.desk import paint_desk
from hmr_core.data.synthetic.objects import OBJECTS, object_named, object_text
from hmr_core.data.synthetic.picture import Painter
from hmr_core.data.synthetic.scene import CAMERAS, FRAME_SIZE, Spread, make_moment, make_sequence, to_camera
from hmr_core.data.synthetic.writer import SyntheticSummary, write_synthetic
from hmr_core.errors import HmrError, UsageError
from hmr_core.geometry.rotations import quaternion_to_matrix
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import load_hand_model
from hmr_core.hand.synthetic import load_synthetic_hand

SEQUENCES, FRAMES = 5, 2


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SyntheticSummary:
    return write_synthetic(tmp_path_factory.mktemp("made"), sequences=SEQUENCES, frames=FRAMES, seed=3)


def listed(made: SyntheticSummary, path: str) -> list[list[Any]]:
    content: list[list[Any]] = json.loads((made.root / "image" / "anno" / path).read_text())
    return content


def stem(item: list[Any]) -> str:
    return f"{item[0].replace('/', '__')}__{item[1]}__{item[2]}__{item[3]}"


def annotation(made: SyntheticSummary, kind: str, item: list[Any]) -> Any:
    return pickle.loads((made.root / "image" / "anno" / kind / f"{stem(item)}.pkl").read_bytes())


def contents(folder: Path) -> dict[str, str]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_every_file_of_every_sample_is_there(made: SyntheticSummary) -> None:
    items = listed(made, "seq_all.json")
    assert len(items) == made.samples == (SEQUENCES + 1) * FRAMES * 4, "one of the five sequences shows two hands"
    expected = {Path("image/stream_release_v2") / item[0] / f"{CAMERAS[item[3]]}_color_{item[2]}.png" for item in items}
    assert len(expected) == made.images == SEQUENCES * FRAMES * 4
    for kind in ("cam_intr", "hand_j", "hand_v", "obj_transf", "general_info"):
        expected |= {Path("image/anno") / kind / f"{stem(item)}.pkl" for item in items}
    found = {p.relative_to(made.root) for p in made.root.rglob("*") if p.suffix in (".png", ".pkl")}
    assert found == expected
    assert not list(made.root.parent.glob("*.part*"))
    for item in items[::7]:
        image = cv2.imread(
            str(made.root / "image/stream_release_v2" / item[0] / f"{CAMERAS[item[3]]}_color_{item[2]}.png")
        )
        assert image is not None
        assert image.shape == (480, 848, 3)


def test_splits_are_disjoint_and_complete(made: SyntheticSummary) -> None:
    everything = {stem(i) for i in listed(made, "seq_all.json")}
    assert set(json.loads((made.root / "image/anno/seq_status.json").read_text())) == {
        i[0] for i in listed(made, "seq_all.json")
    }
    held = set()
    for split in ("split0", "split1", "split2", "split0_ho"):
        parts = {
            "train+val": listed(made, f"split/{split}/seq_train.json"),
            "test": listed(made, f"split/{split}/seq_test.json"),
            "train": listed(made, f"split_train_val/{split}/example_split_train.json"),
            "val": listed(made, f"split_train_val/{split}/example_split_val.json"),
        }
        names = {part: {stem(i) for i in items} for part, items in parts.items()}
        assert all(len(names[part]) == len(items) > 0 for part, items in parts.items()), split
        assert not names["train+val"] & names["test"]
        assert names["train"] | names["val"] == names["train+val"]
        assert not names["train"] & names["val"]
        if split == "split0_ho":
            held = names["train+val"] | names["test"]
        else:
            assert names["train+val"] | names["test"] == everything
    assert held < everything
    assert 2 * len(held) == len(everything)


def test_splits_hold_out_a_view_a_subject_and_an_object(made: SyntheticSummary) -> None:
    def test_of(split: str) -> list[list[Any]]:
        return listed(made, f"split/{split}/seq_test.json")

    def train_of(split: str) -> list[list[Any]]:
        return listed(made, f"split/{split}/seq_train.json")

    views = {(i[0], i[3]) for i in test_of("split0")}
    assert len(views) == SEQUENCES
    assert not views & {(i[0], i[3]) for i in train_of("split0")}
    subjects = {s for i in test_of("split1") for s in i[0].split("/")[0].split("_")[2:]}
    assert subjects == {"0009"}
    assert not subjects & {s for i in train_of("split1") for s in i[0].split("/")[0].split("_")[2:]}
    objects = {i[0].split("_")[0] for i in test_of("split2")}
    assert objects == {"C12001"}
    assert not objects & {i[0].split("_")[0] for i in train_of("split2")}


def test_handover_shows_two_subjects(made: SyntheticSummary) -> None:
    two = [i for i in listed(made, "seq_all.json") if i[1] == 1]
    assert two
    for item in two[:2]:
        assert item[0].split("/")[0].split("_")[1] == "0004"
        other = [item[0], 0, *item[2:]]
        distance = np.linalg.norm(annotation(made, "hand_j", item) - annotation(made, "hand_j", other), axis=1)
        assert 0.1 < distance.mean() < 0.4
        shapes = [annotation(made, "general_info", i)["hand_anno"]["hand_shape"] for i in (item, other)]
        assert not torch.equal(*shapes)


def test_general_info_and_the_hand_file_give_the_annotations_again(made: SyntheticSummary) -> None:
    """The release's relations: layer(pose, shape) + translation in world space, then the camera's extrinsics."""
    layer = HandLayer(load_hand_model(made.hand_model), torch.float64)
    for item in listed(made, "seq_all.json"):
        info = annotation(made, "general_info", item)
        assert set(info) == {"hand_anno", "cam_extr", "cam_intr", "obj_anno"}
        anno = {name: value.double() for name, value in info["hand_anno"].items()}
        rotations = quaternion_to_matrix(anno["hand_pose"])
        posed = layer(rotations[None], anno["hand_shape"][None])
        extrinsics = info["cam_extr"].double()
        for name, points in (("hand_v", posed.verts[0]), ("hand_j", posed.joints[0])):
            camera = (points + anno["hand_tsl"]) @ extrinsics[:3, :3].T + extrinsics[:3, 3]
            stored = annotation(made, name, item)
            assert stored.dtype == np.float32
            assert np.abs(stored - camera.numpy()).max() < 1e-6
        assert (
            np.abs(annotation(made, "obj_transf", item) - (extrinsics @ info["obj_anno"].double()).numpy()).max() < 1e-6
        )
        np.testing.assert_array_equal(annotation(made, "cam_intr", item), info["cam_intr"].numpy())


def test_the_reader_of_the_release_reads_it(made: SyntheticSummary) -> None:
    reader = open_oakink(made.root.parent)
    assert set(reader.splits()) == set(SPLIT_FOLDERS)
    assert reader.release.startswith("synthetic 2, in OakInk-Image v2.1's layout (seed ")
    layer = HandLayer(load_synthetic_hand(), torch.float64)
    for sample_id in reader.split_ids("sp0", "test"):
        sample = reader.read(sample_id)
        assert reader.read_image(sample).shape == (480, 848, 3)
        rotations = torch.from_numpy(sample.rotations).double()
        verts = layer(rotations[None], torch.from_numpy(sample.betas).double()[None]).verts[0]
        centred = (verts - verts.mean(0)).numpy()
        assert np.abs(centred - (sample.verts - sample.verts.mean(0))).max() < 2e-6


def test_joints_project_into_the_silhouette() -> None:
    """The same pictures with two skin colours differ just where the hand is; its joints are there."""
    hand = load_synthetic_hand()
    sequence = make_sequence(0, 0, Spread())
    painter = Painter(hand, sequence, np.random.default_rng(0))
    for index in range(3):
        moment = make_moment(hand, sequence, index, 8, 0, Spread())
        shown = moment.hands[0]
        subject = replace(shown.subject, skin_rgb=1 - shown.subject.skin_rgb)
        changed = replace(moment, hands=(replace(shown, subject=subject),))
        for camera in sequence.cameras:
            one, two = (
                painter.paint(painter.scene(m, np.random.default_rng(1)), camera, np.random.default_rng(0)).astype(int)
                for m in (moment, changed)
            )
            silhouette = np.abs(one - two).max(2) > 8
            joints = to_camera(camera, shown.joints_m) @ camera.intrinsics.astype(float).T
            pixels = np.rint(joints[:, :2] / joints[:, 2:]).astype(int)
            tips = [4, 8, 12, 16, 20]
            inner = np.delete(pixels, [0, *tips], axis=0)  # the sleeve may cover the wrist, tips are on the outline
            assert silhouette[inner[:, 1], inner[:, 0]].all()
            near = cv2.dilate(silhouette.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            assert near[pixels[tips, 1], pixels[tips, 0]].all()
            box_px = pixels.max(0) - pixels.min(0)
            assert 60 < box_px.max() < 280
            found = np.argwhere(silhouette)
            assert np.abs(found.min(0)[::-1] - pixels.min(0)).max() < 60


def test_hands_stay_inside_the_images_and_at_arms_length(made: SyntheticSummary) -> None:
    for item in listed(made, "seq_all.json"):
        verts = annotation(made, "hand_v", item).astype(float)
        pixels = verts @ annotation(made, "cam_intr", item).astype(float).T
        pixels = pixels[:, :2] / pixels[:, 2:]
        assert pixels.min() > 0
        assert (pixels < np.array(FRAME_SIZE) - 1).all()
        assert 0.35 < verts[:, 2].min() < verts[:, 2].max() < 0.9


def test_a_spread_that_is_too_wide_is_an_error() -> None:
    wide = Spread(distance_m=(0.12, 0.13))
    with pytest.raises(HmrError, match=r"do not stay inside the images .*smaller offset_m or a larger distance_m"):
        make_moment(load_synthetic_hand(), make_sequence(0, 0, wide), 0, 1, 0, wide)


def test_the_same_seed_gives_the_same_bytes_with_two_workers(made: SyntheticSummary, tmp_path: Path) -> None:
    other = write_synthetic(tmp_path, sequences=SEQUENCES, frames=FRAMES, seed=3, workers=2)
    assert contents(other.root.parent) == contents(made.root.parent)


def test_another_seed_gives_other_hands(made: SyntheticSummary) -> None:
    hand = load_synthetic_hand()
    one, two = (make_moment(hand, make_sequence(0, s, Spread()), 0, 1, s, Spread()) for s in (0, 1))
    assert np.abs(one.hands[0].joints_m - two.hands[0].joints_m).max() > 0.01
    assert not np.array_equal(one.hands[0].subject.betas, two.hands[0].subject.betas)


def test_progress_counts_images(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write_synthetic(tmp_path, sequences=5, frames=1, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(4, 20), (8, 20), (12, 20), (16, 20), (20, 20)]


@pytest.mark.parametrize("name", ["OakInk", "hand.npz"])
def test_what_exists_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(HmrError, match=rf"{name} exists already\. Delete it, or choose another folder"):
        write_synthetic(tmp_path, sequences=5, frames=1)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_synthetic(tmp_path / "out", sequences=5, frames=1, on_progress=interrupt)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"sequences": 4}, "sequences 4: it must be 5 to 10000"),
        ({"sequences": 10**9}, "sequences 1000000000: it must be 5 to 10000"),
        ({"frames": 0}, "frames 0: it must be 1 to 10000"),
        ({"workers": 0}, "workers 0: it must be at least 1"),
        ({"seed": -1}, "seed -1: it must be 0 to 9223372036854775807"),
    ],
)
def test_impossible_numbers_are_refused(tmp_path: Path, numbers: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_synthetic(tmp_path / "out", **numbers)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_folder_that_can_not_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HmrError, match=r"cannot make the folder .*file/out/OakInk\.part: .*Choose another folder"):
        write_synthetic(tmp_path / "file" / "out", sequences=5, frames=1)


def test_desks_differ_and_have_structure() -> None:
    one, two = (paint_desk(np.random.default_rng(s)) for s in (0, 1))
    assert one.picture.shape == (1024, 1024, 3)
    assert one.picture.std() > 15
    assert np.abs(one.picture.astype(int) - two.picture).mean() > 20


def test_a_desk_ends_at_its_edge() -> None:
    """The rim between desk and floor, which is of one colour, lies where the desk says that it ends."""
    for seed in range(4):
        desk = paint_desk(np.random.default_rng(seed))
        along = np.array([-desk.out[1], desk.out[0]])
        edge = desk.reach * desk.out + (np.array([512.0, 512.0]) @ along) * along
        assert desk.room_m(edge) == pytest.approx(0)
        assert desk.room_m(edge - 100 * desk.out) == pytest.approx(0.175)
        beside = edge[:, None] + np.outer(along, np.linspace(-80, 80, 41))
        rim, floor = (
            np.array([desk.picture[int(y), int(x)] for x, y in (beside + shift * desk.out[:, None]).T], float)
            for shift in (-6, 60)
        )
        assert rim.std(0).max() < 3 < floor.std(0).max()


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_are_closed_meshes_that_face_outwards(name: str) -> None:
    lines = [line.split() for line in object_text(name).splitlines()]
    verts = np.array([[float(x) for x in line[1:]] for line in lines if line[0] == "v"])
    faces = np.array([[int(x) - 1 for x in line[1:]] for line in lines if line[0] == "f"])
    edges = {(f[i], f[(i + 1) % 3]) for f in faces.tolist() for i in range(3)}
    assert len(edges) == 3 * len(faces)
    assert all((b, a) in edges for a, b in edges)
    volume = np.einsum("fx,fx->", verts[faces[:, 0]], np.cross(verts[faces[:, 1]], verts[faces[:, 2]])) / 6
    assert volume > 1e-5
    corners = verts[faces]
    twice_area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    assert twice_area.min() > 1e-7, "no triangle is a line"


@pytest.mark.parametrize("name", OBJECTS)
def test_the_band_around_an_object_has_sharp_edges(name: str) -> None:
    shown = object_named(name)
    assert 0.2 < shown.banded.mean() < 0.8
    across = shown.banded[shown.faces].any(1) & ~shown.banded[shown.faces].all(1)
    assert across.sum() >= 32
    assert np.ptp(shown.verts_m[shown.faces[across], 2], axis=1).max() < 0.0005


def test_command_writes_the_tree_and_says_what_comes_next(tmp_path: Path) -> None:
    result = CliRunner().invoke(synth, [str(tmp_path / "d"), "--frames", "1", "--sequences", "5", "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert "20 images of 5 sequences, 24 samples" in result.output
    assert (
        f"next: hmr pack oakink --root {tmp_path / 'd' / 'OakInk'} --out {tmp_path / 'd' / 'oakink.h5'}"
        in result.output
    )
    assert (tmp_path / "d" / "hand.npz").is_file()
    assert f"a look at it: {tmp_path / 'd' / 'contact_sheet.png'}" in result.output
    sheet = cv2.imread(str(tmp_path / "d" / "contact_sheet.png"))
    assert sheet is not None
    assert sheet.shape[1] == 6 * 192
    plain, marked = sheet[-2 * 192 : -192].astype(int), sheet[-192:].astype(int)
    changed = (plain != marked).any(2).mean()
    assert 0.03 < changed < 0.3, "the last row is the one above it with joints"


def test_processes_that_cannot_be_started_are_not_told_as_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hmr_core.data.synthetic.workers.ProcessPoolExecutor", full)
    text = r"^2 worker processes cannot be started: .*No space left on device\. workers=1 needs none\.$"
    with pytest.raises(HmrError, match=text):
        write_synthetic(tmp_path / "out", sequences=SEQUENCES, frames=FRAMES, seed=3, workers=2)
    assert list(tmp_path.iterdir()) == []
