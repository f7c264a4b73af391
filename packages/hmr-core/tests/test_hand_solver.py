"""What solvers share: which joints are refused, and where a fitted hand is placed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hmr_core.hand.layer import HandLayer
from hmr_core.hand.solver import HandFit, Solver, UnsolvableJointsError, check_joints, measured_bone, scale_and_place
from hmr_core.hand.synthetic import load_synthetic_hand


def hands(count: int = 3) -> Tensor:
    layer = HandLayer(load_synthetic_hand())
    joints = layer.joints(torch.zeros(count, 16, 3), torch.zeros(count, 10))
    return joints + torch.tensor([0.0, 0.0, 0.6])


def refusal(joints: Tensor) -> UnsolvableJointsError:
    with pytest.raises(UnsolvableJointsError) as caught:
        check_joints(joints)
    return caught.value


def test_hands_pass_and_so_do_tiny_and_far_ones() -> None:
    joints = hands()
    check_joints(joints)
    check_joints(joints * (0.0003 / measured_bone(joints))[:, None, None])
    check_joints(joints + torch.tensor([0.0, 0.0, 1000.0]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_joint_that_is_no_number_is_named(value: float) -> None:
    joints = hands()
    joints[1, 20, 2] = value
    error = refusal(joints)
    assert str(error) == "no mesh for sample 1: its joints are not all finite numbers."
    assert error.index == 1
    assert error.reason == "its joints are not all finite numbers"


def test_joints_in_one_place() -> None:
    joints = hands()
    joints[2] = joints[2, :1]
    assert str(refusal(joints)) == "no mesh for sample 2: its joints are all in one place."


def test_a_bone_without_length() -> None:
    joints = hands()
    joints[0, 9] = joints[0, 0]
    text = "no mesh for sample 0: its wrist and its middle knuckle (joints 0 and 9) are in one place."
    assert str(refusal(joints)) == text


def test_millimetres() -> None:
    joints = hands()
    joints[1] *= 1000
    assert str(refusal(joints)) == (
        f"no mesh for sample 1: its bone from the wrist to the middle knuckle (joints 0 and 9) is "
        f"{float(measured_bone(joints)[1]):.4g} m long, and a hand's is about 0.1 m; are these millimetres? "
        "Joints are taken in metres."
    )


def test_placing_keeps_the_shape_and_takes_place_and_size_from_the_measured_hand() -> None:
    rotations = 0.1 * torch.arange(96, dtype=torch.float64).sin().reshape(2, 16, 3)
    posed = HandLayer(load_synthetic_hand(), torch.float64)(rotations, rotations[:, :10, 0])
    measured = 1.3 * hands(2).double()
    joints, verts = scale_and_place(posed.joints, posed.verts, measured)
    torch.testing.assert_close(joints[:, 9], measured[:, 9])
    torch.testing.assert_close(measured_bone(joints), measured_bone(measured))
    scale = measured_bone(measured) / measured_bone(posed.joints)
    torch.testing.assert_close(
        torch.cdist(joints, verts), torch.cdist(posed.joints, posed.verts) * scale[:, None, None]
    )


def test_a_solver_is_told_by_its_method() -> None:
    class Nothing:
        pass

    class Some:
        def solve(self, joints: Tensor, *, on_batch: object = None) -> HandFit:
            raise NotImplementedError

    assert isinstance(Some(), Solver)
    assert not isinstance(Nothing(), Solver)
