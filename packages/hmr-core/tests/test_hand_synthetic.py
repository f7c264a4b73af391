"""The synthetic hand has MANO's layout and is a hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from hmr_core.hand.border import border_loop
from hmr_core.hand.joints import BONES, MANO_PARENTS, TIP_VERTICES
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.synthetic import load_synthetic_hand


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return load_synthetic_hand()


def rest_joints(hand: HandModel, betas: torch.Tensor) -> np.ndarray:
    identity = torch.eye(3, dtype=torch.float64).repeat(len(betas), 16, 1, 1)
    return HandLayer(hand, torch.float64).joints(identity, betas).numpy()


def directed_edges(faces: np.ndarray) -> list[tuple[int, int]]:
    return [(int(f[i]), int(f[(i + 1) % 3])) for f in faces for i in range(3)]


def test_mesh_is_one_oriented_disc_with_a_border_of_16_edges(hand: HandModel) -> None:
    faces = hand.faces.numpy()
    assert hand.template.shape == (778, 3)
    assert faces.shape == (1538, 3)
    assert hand.parents == MANO_PARENTS
    edges = Counter(directed_edges(faces))
    assert max(edges.values()) == 1, "two faces run along an edge in the same direction"
    border = [e for e in edges if e[::-1] not in edges]
    assert len(border) == 16
    assert sorted(border_loop(faces)) == sorted({v for e in border for v in e})
    undirected = {tuple(sorted(e)) for e in edges}
    assert 778 - len(undirected) + 1538 == 1, "a disc's Euler number"
    reached, front = {0}, [0]
    neighbours: dict[int, set[int]] = {}
    for a, b in undirected:
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    while front:
        new = neighbours[front.pop()] - reached
        reached |= new
        front += new
    assert len(reached) == 778


def test_border_is_behind_the_wrist_and_moves_with_it(hand: HandModel) -> None:
    border = border_loop(hand.faces.numpy())
    wrist = (hand.joint_regressor[0] @ hand.template).numpy()
    assert (hand.template.numpy()[border, 0] > wrist[0] + 0.01).all()
    assert (hand.skin_weights.numpy()[border, 0] > 0.999).all()


def test_faces_look_outwards(hand: HandModel) -> None:
    corners = hand.template.numpy()[hand.faces.numpy()]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.linalg.norm(normals, axis=1).min() > 1e-7, "a face without area"
    # A ray along a face's normal leaves the hand: from just outside, it meets the surface an even number of times.
    for i in range(0, 1538, 37):
        start = corners[i].mean(0) + 1e-5 * normals[i] / np.linalg.norm(normals[i])
        direction = np.array([-0.97, 0.2, 0.1])  # away from the open wrist
        assert crossings(start, direction, corners) % 2 == 0, f"face {i} looks inwards"


def crossings(start: np.ndarray, direction: np.ndarray, corners: np.ndarray) -> int:
    """How many triangles a ray meets (Moeller and Trumbore, 1997)."""
    e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = np.cross(direction, e2)
    det = (e1 * p).sum(1)
    s = start - corners[:, 0]
    u = (s * p).sum(1) / det
    q = np.cross(s, e1)
    v = (q @ direction) / det
    t = (e2 * q).sum(1) / det
    return int(((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)).sum())


def test_tips_are_the_ends_of_the_fingers(hand: HandModel) -> None:
    template = hand.template.numpy()
    weights = hand.skin_weights.numpy()
    joints = rest_joints(hand, torch.zeros(1, 10).double())[0]
    for finger, (tip, last) in enumerate(zip(TIP_VERTICES, (15, 3, 6, 12, 9), strict=True)):
        end, before = joints[4 + 4 * finger], joints[3 + 4 * finger]
        np.testing.assert_allclose(end, template[tip], atol=1e-12)
        along = (end - before) / np.linalg.norm(end - before)
        own = np.flatnonzero(weights[:, last] > 0.5)
        assert own[(template[own] @ along).argmax()] == tip


def test_joints_are_inside_and_bones_have_human_lengths(hand: HandModel) -> None:
    joints = rest_joints(hand, torch.zeros(1, 10).double())[0]
    corners = hand.template.numpy()[hand.faces.numpy()]
    for joint in range(21):
        if joint % 4 or joint == 0:
            assert crossings(joints[joint], np.array([-0.3, 0.95, 0.1]), corners) % 2 == 1, f"joint {joint} is outside"
    lengths = {child: np.linalg.norm(joints[child] - joints[parent]) for parent, child in BONES}
    assert 0.09 < lengths[9] < 0.1
    assert 0.18 < lengths[9] + lengths[10] + lengths[11] + lengths[12] < 0.2
    assert all(0.018 < length < 0.05 for child, length in lengths.items() if child % 4 != 1)


def test_rows_sum_to_one_and_nothing_is_negative(hand: HandModel) -> None:
    for rows in (hand.skin_weights, hand.joint_regressor):
        assert (rows >= 0).all()
        torch.testing.assert_close(rows.sum(1), torch.ones(len(rows), dtype=torch.float64), atol=1e-6, rtol=0)


def test_pose_components_are_orthonormal(hand: HandModel) -> None:
    gram = hand.pose_components @ hand.pose_components.T
    torch.testing.assert_close(gram, torch.eye(45, dtype=torch.float64), atol=1e-6, rtol=0)
    assert hand.pose_mean.abs().max() > 0.1, "a hand at rest is a little bent"


def test_shapes_change_bones_and_are_independent(hand: HandModel) -> None:
    betas = torch.cat([torch.zeros(1, 10), torch.eye(10)]).double()
    joints = rest_joints(hand, betas)
    lengths = np.stack([np.linalg.norm(joints[:, c] - joints[:, p], axis=1) for p, c in BONES], axis=1)
    assert (np.abs(lengths[1:] / lengths[0] - 1).max(1) < 0.12).all()
    directions = hand.shape_dirs.reshape(-1, 10)
    assert directions.norm(dim=0).min() > 0.005
    assert torch.linalg.cond(directions) < 100
