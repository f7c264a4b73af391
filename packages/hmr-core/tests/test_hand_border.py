"""The open end of a hand's mesh, and the faces that close it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from hmr_core.errors import HmrError
from hmr_core.hand.border import border_loop, closed_faces
from hmr_core.hand.mano_file import read_mano_file
from hmr_core.hand.mirror import mirrored
from hmr_core.hand.model import HandModel
from hmr_core.hand.synthetic import load_synthetic_hand


@pytest.mark.parametrize("hand", [load_synthetic_hand(), mirrored(load_synthetic_hand())], ids=["right", "left"])
def test_closed_faces_are_watertight_and_look_outwards(hand: HandModel) -> None:
    faces = closed_faces(hand)
    assert faces.shape == (1552, 3)
    assert torch.equal(faces[:1538], hand.faces)
    edges = Counter((a, b) for f in faces.tolist() for a, b in zip(f, f[1:] + f[:1], strict=True))
    assert set(edges.values()) == {1}, "two faces run along an edge in the same direction"
    assert all((b, a) in edges for a, b in edges), "there is a hole"
    assert 778 - len(edges) // 2 + 1552 == 2, "a sphere's Euler number"
    # Together they look out of the wrist, which is at the far end of x.
    corners = hand.template[faces[1538:]]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outwards = 1 if hand.side == "right" else -1
    out_of_wrist = outwards * normals[:, 0]
    assert out_of_wrist.sum() > 0.9 * normals.norm(dim=1).sum()
    border = hand.template[torch.from_numpy(border_loop(hand.faces.numpy()))]
    across = (border[:, None] - border).norm(dim=-1).max()
    longest = (corners - corners.roll(1, 1)).norm(dim=-1).amax(1)
    assert longest.median() < 0.9 * across, "they are compact, not slivers from one vertex"


def test_a_mesh_without_a_single_hole_cannot_be_closed() -> None:
    tubes = read_mano_file(Path(__file__).parent / "data/mano_v1_2/models/MANO_RIGHT.pkl")
    with pytest.raises(HmrError) as error:
        closed_faces(tubes)
    assert str(error.value) == (
        'the mesh of the hand model "mano" cannot be closed: the mesh\'s border is not a single loop.'
    )


def test_border_loop_refuses_a_closed_mesh_and_two_holes() -> None:
    tetrahedron = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    with pytest.raises(ValueError, match="not a single loop"):
        border_loop(tetrahedron)
    with pytest.raises(ValueError, match="not a single loop"):
        border_loop(np.array([[0, 1, 2], [3, 4, 5]]))
    assert sorted(border_loop(tetrahedron[1:])) == [0, 1, 2]
