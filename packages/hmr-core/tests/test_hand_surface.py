"""The synthetic hand's surface: its triangles at rest, and what becomes of it when fingers bend and shapes change.

The bounds are what was measured, with a little slack.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hmr_core.hand.border import closed_faces
from hmr_core.hand.joints import MANO_TO_OPENPOSE
from hmr_core.hand.layer import HandLayer, PosedHand
from hmr_core.hand.model import HandModel
from hmr_core.hand.poses import FINGER_ORDER, FLEXION_DEG, Bends, bend_fingers, random_poses
from hmr_core.hand.synthetic import load_synthetic_hand

FLAT = torch.eye(3, dtype=torch.float64).repeat(1, 16, 1, 1)


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return load_synthetic_hand()


def without_correctives(hand: HandModel) -> HandModel:
    return replace(hand, pose_dirs=torch.zeros_like(hand.pose_dirs))


def posed(hand: HandModel, rotations: torch.Tensor, betas: torch.Tensor | None = None) -> PosedHand:
    zero = torch.zeros(len(rotations), 10, dtype=torch.float64)
    return HandLayer(hand, torch.float64)(rotations, zero if betas is None else betas)


def all_bent(hand: HandModel, share: float) -> torch.Tensor:
    return bend_fingers(hand, Bends(flexion=np.full((1, 5, 3), share), sideways=np.full((1, 5), 0.5)))


def one_joint_bent(hand: HandModel, finger: int, place: int) -> torch.Tensor:
    """One joint at the end of its range, the others as in the template."""
    low, high = np.moveaxis(np.array([FLEXION_DEG[name] for name in FINGER_ORDER], dtype=np.float64), -1, 0)
    flexion = (-low / (high - low))[None]
    flexion[0, finger, place] = 1
    return bend_fingers(hand, Bends(flexion=flexion, sideways=np.full((1, 5), 0.5)))


def folds_deg(verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The angle between the normals at every inner edge."""
    corners = verts[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    owner = {(f[k], f[(k + 1) % 3]): i for i, f in enumerate(faces.tolist()) for k in range(3)}
    pairs = np.array([(i, owner[b, a]) for (a, b), i in owner.items() if a < b and (b, a) in owner])
    return np.degrees(np.arccos(np.clip((normals[pairs[:, 0]] * normals[pairs[:, 1]]).sum(1), -1, 1)))


def crossing_faces(verts: np.ndarray, faces: np.ndarray) -> int:
    """How many pairs of faces without a common corner cut each other: an edge of one goes through the other."""
    corners = verts[faces]
    low, high = corners.min(1), corners.max(1)
    near = np.triu(np.ones((len(faces), len(faces)), dtype=bool), 1)
    for axis in range(3):
        near &= (low[:, None, axis] <= high[None, :, axis]) & (high[:, None, axis] >= low[None, :, axis])
    first, second = np.nonzero(near)
    apart = (faces[first][:, :, None] != faces[second][:, None]).all((1, 2))
    first, second = first[apart], second[apart]
    a, b = corners[first], corners[second]
    return int((edges_cut(a, b) | edges_cut(b, a)).sum())


def edges_cut(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether an edge of triangle a meets triangle b, of each pair (Moeller and Trumbore, 1997)."""
    e1, e2 = b[:, 1] - b[:, 0], b[:, 2] - b[:, 0]
    cut = np.zeros(len(a), dtype=bool)
    for k in range(3):
        direction = a[:, (k + 1) % 3] - a[:, k]
        p = np.cross(direction, e2)
        det = (e1 * p).sum(1)
        safe = np.where(np.abs(det) > 1e-18, det, np.inf)
        s = a[:, k] - b[:, 0]
        q = np.cross(s, e1)
        u, v, t = (s * p).sum(1) / safe, (q * direction).sum(1) / safe, (q * e2).sum(1) / safe
        cut |= np.isfinite(safe) & (u >= 0) & (v >= 0) & (u + v <= 1) & (t >= 0) & (t <= 1)
    return cut


def volume(hand: HandModel, verts: torch.Tensor) -> float:
    a, b, c = verts[0][closed_faces(hand)].unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


def thickness_mm(hand: HandModel, of: PosedHand, finger: int, place: int) -> float:
    """From a joint to the nearest vertex that bends with it."""
    joint = 1 + 3 * finger + place
    share = hand.skin_weights[:, joint]
    around = of.verts[0][(share > 0.1) & (share < 0.9)]
    return 1000 * float((around - of.joints[0, MANO_TO_OPENPOSE.index(joint)]).norm(dim=1).min())


def test_crossing_faces_are_found() -> None:
    verts = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.2, 0.2, -1], [0.2, 0.2, 1], [0.3, 0.2, 1]], dtype=np.float64)
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    assert crossing_faces(verts, faces) == 1
    verts[3:, 0] += 2
    assert crossing_faces(verts, faces) == 0


def test_triangles_at_rest_are_compact_and_the_surface_smooth_and_free_of_crossings(hand: HandModel) -> None:
    verts, faces = hand.template.numpy(), hand.faces.numpy()
    corners = verts[faces]
    sides_mm = 1000 * np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2)
    assert sides_mm.min() > 2.2
    assert sides_mm.max() < 19
    a, b, c = sides_mm.T
    angles = [
        np.degrees(np.arccos((y * y + z * z - x * x) / (2 * y * z))) for x, y, z in ((a, b, c), (b, c, a), (c, a, b))
    ]
    assert np.min(angles) > 28
    assert np.max(angles) < 115
    folds = folds_deg(verts, faces)
    assert np.quantile(folds, 0.99) < 57
    assert folds.max() < 100, "the sharpest are in the webs between the fingers"
    assert crossing_faces(verts, faces) == 0


def test_correctives_keep_the_volume_of_a_bending_hand(hand: HandModel) -> None:
    rest = volume(hand, hand.template[None])
    assert 2.5e-4 < rest < 4.5e-4, "cubic metres"
    for share, worst in ((0.5, 0.005), (1.0, 0.032)):
        rotations = all_bent(hand, share)
        change = abs(volume(hand, posed(hand, rotations).verts) / rest - 1)
        plain = abs(volume(hand, posed(without_correctives(hand), rotations).verts) / rest - 1)
        assert change < worst
        assert plain > 2.5 * change, "without correctives it is worse"


def test_correctives_keep_bent_joints_thick(hand: HandModel) -> None:
    rest = posed(hand, FLAT)
    shares = np.zeros((2, 5, 3))
    for finger in range(5):
        for place in range(3):
            rotations = one_joint_bent(hand, finger, place)
            for row, model in enumerate((hand, without_correctives(hand))):
                bent = thickness_mm(hand, posed(model, rotations), finger, place)
                shares[row, finger, place] = bent / thickness_mm(hand, rest, finger, place)
    assert shares[0].min() > 0.9
    fingers = shares[:, :4]  # the thumb's joints bend less
    assert fingers[1, :, 1].max() < 0.75, "without correctives the middle joints lose a quarter and more"
    assert (fingers[0] > fingers[1]).all()


def test_skin_of_a_bent_joint_hardly_crosses_itself(hand: HandModel) -> None:
    faces = hand.faces.numpy()
    found = np.zeros(2, dtype=int)
    for finger in range(5):
        for place in range(3):
            rotations = one_joint_bent(hand, finger, place)
            for row, model in enumerate((hand, without_correctives(hand))):
                found[row] += crossing_faces(posed(model, rotations).verts[0].numpy(), faces)
    assert found[0] <= 8
    assert found[1] > 30


def test_surfaces_of_random_poses_mostly_do_not_cross_themselves(hand: HandModel) -> None:
    rotations = random_poses(hand, 20, np.random.default_rng(1))
    verts, faces = posed(hand, rotations).verts.numpy(), hand.faces.numpy()
    assert sum(crossing_faces(v, faces) > 0 for v in verts) <= 1


def test_correctives_are_local_and_stay_small_beyond_the_limits(hand: HandModel) -> None:
    by_joint = hand.pose_dirs.reshape(778, 3, 15, 9)
    untouched = hand.skin_weights[:, 1:] == 0
    assert by_joint.abs().amax((1, 3))[untouched].max() == 0
    assert by_joint.abs().amax((0, 1, 3)).min() > 5e-4, "every joint has some"
    # Any turn by 46 degrees, twists too.
    axes = np.random.default_rng(0).normal(size=(200, 15, 3))
    vectors = torch.from_numpy(0.8 * axes / np.linalg.norm(axes, axis=2, keepdims=True))
    turns = torch.linalg.matrix_exp(cross_matrices(vectors)) - torch.eye(3)
    moved = torch.einsum("vckn,pkn->pvkc", by_joint, turns.reshape(200, 15, 9)).norm(dim=-1)
    assert moved.max() < 0.006


def cross_matrices(v: torch.Tensor) -> torch.Tensor:
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).reshape(*v.shape, 3)


def test_shapes_keep_the_surface_whole(hand: HandModel) -> None:
    faces = hand.faces.numpy()
    rest = volume(hand, hand.template[None])
    for component in range(10):
        for beta in (-2.0, 2.0):
            betas = torch.zeros(1, 10, dtype=torch.float64)
            betas[0, component] = beta
            verts = posed(hand, FLAT, betas).verts
            assert crossing_faces(verts[0].numpy(), faces) == 0
            assert folds_deg(verts[0].numpy(), faces).max() < 120
            assert 0.7 < volume(hand, verts) / rest < 1.4
