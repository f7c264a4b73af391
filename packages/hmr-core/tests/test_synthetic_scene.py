"""Objects, grasps and what is drawn of them; the sizes of data sets."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import product

import cv2
import numpy as np
import pytest
import torch

from hmr_core.data.synthetic.grasp import grasp
from hmr_core.data.synthetic.lists import list_files
from hmr_core.data.synthetic.objects import OBJECTS, object_named, object_text
from hmr_core.data.synthetic.picture import Painter
from hmr_core.data.synthetic.scene import Moment, Sequence, Spread, make_moment, make_sequence, to_camera
from hmr_core.data.synthetic.sizes import SIZES
from hmr_core.errors import HmrError
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.render.raster import rasterise

MODEL = load_synthetic_hand()


def moment_of(number: int, index: int) -> tuple[Sequence, Moment]:
    sequence = make_sequence(number, 0, Spread(), subjects=10, objects=12)
    return sequence, make_moment(MODEL, sequence, index, 4, 0, Spread())


@pytest.mark.parametrize("name", OBJECTS)
def test_distances_agree_with_the_mesh(name: str) -> None:
    shown = object_named(name)
    corners = shown.verts_m[shown.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    centres = corners.mean(1)
    assert np.abs(shown.solid.distance_m(shown.verts_m)).max() < 6e-4
    # A ring of 24 sides is a little inside the round shape.
    assert np.abs(shown.solid.distance_m(centres)).max() < 1e-3
    assert (shown.solid.distance_m(centres + 0.004 * normals) > 0.001).mean() > 0.97
    assert (shown.solid.distance_m(centres - 0.001 * normals) < 0).all()
    far = np.array([[0.3, 0.2, -0.4]])
    exact = np.linalg.norm(far - shown.verts_m, axis=1).min()
    assert abs(shown.solid.distance_m(far)[0] - exact) < 0.02


def bone_gap_m(joints: np.ndarray, first: tuple[int, int], second: tuple[int, int]) -> float:
    """The least distance between two bones, given by their joints."""
    share = np.linspace(0, 1, 20)[:, None]
    one, two = (joints[a] + share * (joints[b] - joints[a]) for a, b in (first, second))
    return float(np.linalg.norm(one[:, None] - two, axis=-1).min())


def test_hands_touch_what_they_hold_from_both_sides_and_hardly_sink_in() -> None:
    """All bounds are with some slack: what is measured is in docs/synthetic.md."""
    layer = HandLayer(MODEL, torch.float64)
    strongest = MODEL.skin_weights.numpy().argmax(1)
    fingers = [np.isin(strongest, (3 * f + 1, 3 * f + 2, 3 * f + 3)) for f in range(5)]
    gaps, thumb_ends = [], []
    for number, name in enumerate(3 * OBJECTS):
        held, generator = object_named(name), np.random.default_rng(number)
        betas = torch.from_numpy(generator.uniform(-1.5, 1.5, 10))
        rotations, pose = grasp(layer, betas, held, generator)
        posed = layer(rotations[None], betas[None])
        distance = held.solid.distance_m((posed.verts[0].numpy() - pose[:3, 3]) @ pose[:3, :3])
        assert distance.min() > -0.005, name
        joints = posed.joints[0].numpy()
        thumb_index = [bone_gap_m(joints, (a, a + 1), (b, b + 1)) for a in (2, 3) for b in (5, 6, 7)]
        assert min(thumb_index) > 0.008, name
        gaps.append([distance[own].min() for own in fingers])
        thumb_ends.append(distance[strongest == 15].min())
    touching = np.array(gaps) < 0.003
    assert touching.sum(1).min() >= 2
    assert (touching.sum(1) >= 3).mean() > 0.93
    assert (touching[:, :2].mean(0) > 0.9).all(), "index and middle finger"
    assert (np.array(thumb_ends) < 0.003).mean() > 0.75
    assert (np.array(thumb_ends) > 0.01).mean() < 0.1


def test_an_unknown_object_is_an_error() -> None:
    with pytest.raises(HmrError, match="there is no synthetic object X1; there are A01001, "):
        object_named("X1")


@pytest.mark.parametrize(("number", "index"), [(0, 3), (1, 0), (5, 2)])
def test_the_object_is_drawn_where_it_is_annotated(number: int, index: int) -> None:
    """The OBJ file's mesh, posed by obj_transf and projected, covers what changes with the object's colour."""
    sequence, moment = moment_of(number, index)
    other = Painter(MODEL, sequence, np.random.default_rng(0))
    painter = Painter(MODEL, sequence, np.random.default_rng(0))
    other._sequence = _recoloured(sequence)
    lines = [line.split() for line in object_text(sequence.object_name).splitlines()]
    verts = np.array([[float(x) for x in line[1:]] for line in lines if line[0] == "v"])
    faces = np.array([[int(x) - 1 for x in line[1:]] for line in lines if line[0] == "f"])
    for camera in sequence.cameras:
        one, two = (
            p.paint(p.scene(moment, np.random.default_rng(1)), camera, np.random.default_rng(2)).astype(int)
            for p in (painter, other)
        )
        drawn = np.abs(one - two).max(2) > 12
        pose = camera.extrinsics.astype(float) @ moment.object_pose
        placed = verts @ pose[:3, :3].T + pose[:3, 3]
        projected = placed @ camera.intrinsics.astype(float).T
        found = rasterise(projected[:, :2] / projected[:, 2:], placed[:, 2], faces, (848, 480))
        covered = np.zeros((480, 848), np.uint8)
        covered[found.rows, found.columns] = 1
        assert drawn.sum() > 0.2 * covered.sum() > 40
        assert not (drawn & (cv2.dilate(covered, np.ones((5, 5), np.uint8)) == 0)).any()
        if not moment.held:
            assert drawn[cv2.erode(covered, np.ones((5, 5), np.uint8)) > 0].mean() > 0.5


def _recoloured(sequence: Sequence) -> Sequence:
    return replace(sequence, object_rgb=1 - sequence.object_rgb)


def test_held_objects_are_in_the_hand_and_others_on_the_desk() -> None:
    for number in range(4):
        for index in (0, 3):
            sequence, moment = moment_of(number, index)
            shown = object_named(sequence.object_name)
            pose = moment.object_pose.astype(float)
            distance = shown.solid.distance_m((moment.hands[0].verts_m - pose[:3, 3]) @ pose[:3, :3])
            lowest = (shown.verts_m @ pose[:3, :3].T + pose[:3, 3])[:, 2].min()
            assert moment.held == (index == 3)
            if moment.held:
                assert -0.012 < distance.min() < 0.003
            else:
                assert distance.min() > 0.004
                assert abs(lowest - sequence.desk_m) < 1e-5


def test_fingers_before_an_object_hide_it_and_the_object_hides_the_palm() -> None:
    sequence, moment = moment_of(0, 3)
    painter = Painter(MODEL, sequence, np.random.default_rng(0))
    scene = painter.scene(moment, np.random.default_rng(1))
    hand, held = scene.surfaces[0], scene.surfaces[-1]
    camera = sequence.cameras[0]
    faces = np.concatenate([hand.faces, held.faces + len(hand.verts_m)])
    verts = to_camera(camera, np.concatenate([hand.verts_m, held.verts_m]))
    projected = verts @ camera.intrinsics.astype(float).T
    pixels = projected[:, :2] / projected[:, 2:]
    alone = [rasterise(pixels, verts[:, 2], part, (848, 480)) for part in np.split(faces, [len(hand.faces)])]
    both = rasterise(pixels, verts[:, 2], faces, (848, 480))
    of_object = (both.face >= len(hand.faces)).sum()
    assert 0.2 * len(alone[1].rows) < of_object < len(alone[1].rows)
    assert len(both.rows) - of_object < len(alone[0].rows)


@pytest.mark.parametrize("number", [0, 1, 2, 4, 5, 8])
def test_objects_are_above_the_desk_and_have_a_shadow_all_around_their_foot(number: int) -> None:
    """Lying on it, too, and not beyond its edge."""
    sequence, moment = moment_of(number, 0)
    painter = Painter(MODEL, sequence, np.random.default_rng(number))
    for seed in range(6):
        scene = painter.scene(moment, np.random.default_rng(seed))
        below = np.linalg.solve(scene.desk, [*moment.object_pose[:2, 3], 1])
        assert painter._desk.room_m(below[:2]) > 0.085
    foot = object_named(sequence.object_name).verts_m @ moment.object_pose[:3, :3].T + moment.object_pose[:3, 3]
    assert foot[:, 2].min() == pytest.approx(sequence.desk_m, abs=1e-5)
    near = foot[foot[:, 2] < sequence.desk_m + 0.02, :2]
    to_lamp = sequence.lamp[:2] / np.linalg.norm(sequence.lamp[:2])
    beside = near[(near @ to_lamp).argmax()] + 0.005 * to_lamp  # where the lamp throws none
    column, row = np.rint(beside / 0.006 + 103.5).astype(int)
    assert scene.shadow[row, column] == 1

    away = moment.object_pose.copy()
    away[0, 3] += 50
    without = painter.scene(replace(moment, object_pose=away), np.random.default_rng(0)).shadow
    rows, columns = np.nonzero(scene.shadow != without)
    places = (np.stack([columns, rows], axis=1) - 103.5) * 0.006
    assert np.linalg.norm(places - moment.object_pose[:2, 3], axis=1).max() < 0.25, "nothing else has a foot"


def test_sleeves_do_not_end_inside_a_picture() -> None:
    """Of the demo's data set, where arms reach furthest towards the middle."""
    for number in range(12):
        sequence = make_sequence(number, 0, Spread())
        painter = Painter(MODEL, sequence, np.random.default_rng(0))
        for index in range(0, 26, 5):
            moment = make_moment(MODEL, sequence, index, 26, 0, Spread())
            surfaces = painter.scene(moment, np.random.default_rng(1)).surfaces
            for sleeve, camera in product(surfaces[1 : 2 * len(moment.hands) : 2], sequence.cameras):
                rings = to_camera(camera, sleeve.verts_m[:-1]).reshape(-1, 16, 3)
                last = rings[(rings[..., 2] > 0).all(1)][-1]
                x, y = (last[:, :2] / last[:, 2:] @ camera.intrinsics[:2, :2].T + camera.intrinsics[:2, 2]).T
                assert (x < 0).all() or (x > 847).all() or (y < 0).all() or (y > 479).all()


def test_the_noise_is_that_of_a_sensor() -> None:
    sequence, moment = moment_of(2, 0)
    painter = Painter(MODEL, sequence, np.random.default_rng(0))
    scene = painter.scene(moment, np.random.default_rng(1))
    one, two = (painter.paint(scene, sequence.cameras[0], np.random.default_rng(s)).astype(float) for s in (2, 3))
    level = (one - two).std() / np.sqrt(2)
    assert 0.9 < level < 2.1
    assert abs((one - two).mean()) < 0.05


@pytest.mark.parametrize("name", list(SIZES))
def test_every_size_has_its_people_objects_and_samples_in_every_list(name: str) -> None:
    size = SIZES[name]
    sequences = [
        make_sequence(i, 0, Spread(), subjects=size.subjects, objects=size.objects) for i in range(size.sequences)
    ]
    assert len({s.key for s in sequences}) == size.sequences
    assert len({s.object_name for s in sequences}) == size.objects
    assert len({p.name for s in sequences for p in s.subjects}) == size.subjects
    handovers = Counter(s.object_name for s in sequences if len(s.subjects) == 2)
    assert len(handovers) >= min(3, size.sequences // 6)
    for path, text in list_files(sequences, 2).items():
        assert len(json.loads(text)) > 0, path


def test_full_is_twenty_thousand_pictures_of_ten_people_and_twelve_objects() -> None:
    pictures = {name: 4 * size.sequences * size.frames for name, size in SIZES.items()}
    assert pictures == {"demo": 1248, "small": 4000, "full": 20000}
    assert (SIZES["full"].subjects, SIZES["full"].objects) == (10, len(OBJECTS)) == (10, 12)
