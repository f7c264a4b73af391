"""The other hand: mirrored rotations of a mirrored model give mirrored points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.mano_file import read_mano_file
from hmr_core.hand.mirror import mirrored
from hmr_core.hand.model import SHAPES, HandModel
from hmr_core.hand.pose_space import add_mean_pose, from_components
from hmr_core.hand.side import side_of
from hmr_core.hand.synthetic import load_synthetic_hand

MANO = Path(__file__).parent / "data/mano_v1_2/models/MANO_RIGHT.pkl"
M = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)


@pytest.fixture(scope="module", params=["mano", "synthetic"])
def hand(request: pytest.FixtureRequest) -> HandModel:
    return read_mano_file(MANO) if request.param == "mano" else load_synthetic_hand()


def test_mirrored_rotations_give_mirrored_points(hand: HandModel) -> None:
    generator = torch.Generator().manual_seed(0)
    wrist, coefficients, betas = (torch.randn(3, n, generator=generator, dtype=torch.float64) for n in (3, 45, 10))
    right, left = (HandLayer(model, torch.float64) for model in (hand, mirrored(hand)))
    vectors = add_mean_pose(hand, from_components(hand, wrist, 0.5 * coefficients))
    expected = right(vectors, betas)
    matrices = axis_angle_to_matrix(vectors)
    found = left(M[:, None] * matrices * M, betas)
    torch.testing.assert_close(found.verts, expected.verts * M, atol=1e-14, rtol=0)
    torch.testing.assert_close(found.joints, expected.joints * M, atol=1e-14, rtol=0)
    # The same coefficients in the other hand's own pose space, with the wrist turned the mirrored way.
    again = add_mean_pose(left.model, from_components(left.model, -wrist * M, 0.5 * coefficients))
    torch.testing.assert_close(left(again, betas).verts, expected.verts * M, atol=1e-14, rtol=0)


def test_twice_is_the_model_again(hand: HandModel) -> None:
    other = mirrored(hand)
    again = mirrored(other)
    for name in SHAPES:
        assert torch.equal(getattr(again, name), getattr(hand, name)), name
    assert (hand.side, other.side, again.side) == ("right", "left", "right")
    assert again.source == hand.source


def test_its_faces_look_outwards_still() -> None:
    hand = load_synthetic_hand()
    for model in (hand, mirrored(hand)):
        corners = model.template[model.faces]
        volume = torch.linalg.det(corners - model.template.mean(0)).sum() / 6
        assert 1e-4 < volume < 1e-3, "some hundred cubic centimetres"


def test_side_by_shape(hand: HandModel) -> None:
    joints = (hand.joint_regressor @ hand.template).numpy()
    assert side_of(joints) == "right"
    assert side_of(joints * M.numpy()) == "left"
    for angle in (0.3, -0.3):
        tilt = axis_angle_to_matrix(torch.tensor([angle, -angle, angle], dtype=torch.float64)).numpy()
        assert side_of(joints @ tilt.T) == "right"


def test_side_of_what_does_not_lie_as_a_hand() -> None:
    joints = (load_synthetic_hand().joint_regressor @ load_synthetic_hand().template).numpy()
    assert side_of(np.zeros((16, 3))) is None
    assert side_of(np.full((16, 3), np.nan)) is None
    upright = joints[:, [0, 2, 1]]  # the palm facing along z
    assert side_of(upright) is None


@pytest.mark.parametrize(("between", "side"), [(15, "right"), (5, None), (-5, None), (-15, "left")])
def test_a_thumb_along_the_fingers_tells_no_side(between: float, side: str | None) -> None:
    angle = np.radians(between)
    joints = np.zeros((16, 3))
    joints[[1, 4, 7, 10], 0] = 0.09
    joints[15] = 0.05 * np.cos(angle), 0, -0.05 * np.sin(angle)
    assert side_of(joints) == side
