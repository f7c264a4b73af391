"""From predictions to points in camera space: what each kind of prediction becomes, and where its root joint is put."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hmr_core.errors import HmrError
from hmr_core.geometry.camera import from_uvd, to_uvd
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.regressor import joint_regressor_21
from hmr_core.hand.solver import UnsolvableJointsError, measured_bone, scale_and_place
from hmr_core.nn.decode import Points, decode, pose_for_loss
from hmr_core.nn.model import Inputs, Prediction

SIZE = 64
ROOT = torch.tensor([[0.02, -0.03, 0.5], [0.0, 0.05, 0.7]])


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def inputs() -> Inputs:
    """Two crops whose cameras differ."""
    cameras = torch.tensor([[[150.0, 0, 32], [0, 160, 30], [0, 0, 1]], [[140.0, 0, 37], [0, 140, 37], [0, 0, 1]]])
    return Inputs(image=torch.zeros(2, 3, SIZE, SIZE), intrinsics=cameras)


@pytest.fixture
def layer(mini_hand: HandModel) -> HandLayer:
    return HandLayer(mini_hand)


@pytest.fixture
def rotated(generator: torch.Generator) -> Prediction:
    """Rotations and betas alone."""
    return Prediction(
        rotations=0.3 * torch.randn(2, 16, 3, generator=generator), betas=torch.randn(2, 10, generator=generator)
    )


@pytest.fixture
def joints_uvd(generator: torch.Generator) -> Tensor:
    return torch.rand(2, 21, 3, generator=generator)


def lifted(uvd: Tensor | None, inputs: Inputs, root: Tensor = ROOT) -> Tensor:
    assert uvd is not None
    assert inputs.intrinsics is not None
    return from_uvd(uvd, root, inputs.intrinsics, SIZE)


def test_uvd_is_lifted_by_the_crop_s_camera_and_the_root_s_depth_alone(inputs: Inputs, joints_uvd: Tensor) -> None:
    prediction = Prediction(joints_uvd=joints_uvd, confidence=torch.full((2, 21), 0.5))
    points = decode(prediction, inputs, ROOT, root_joint=0)
    assert inputs.intrinsics is not None
    torch.testing.assert_close(to_uvd(points.joints, ROOT, inputs.intrinsics, SIZE), joints_uvd, atol=1e-5, rtol=0)
    assert points.verts is points.rotations is points.betas is None
    assert points.confidence is prediction.confidence
    aside = decode(prediction, inputs, ROOT + torch.tensor([0.1, 0.2, 0.0]), root_joint=0)
    assert torch.equal(aside.joints, points.joints)
    farther = decode(prediction, inputs, ROOT + torch.tensor([0.0, 0.0, 0.1]), root_joint=0)
    torch.testing.assert_close(farther.joints[..., 2], points.joints[..., 2] + 0.1)


def test_half_precision_is_lifted_in_float32(inputs: Inputs, joints_uvd: Tensor) -> None:
    points = decode(Prediction(joints_uvd=joints_uvd.half()), inputs, ROOT, root_joint=0)
    assert torch.equal(points.joints, lifted(joints_uvd.half().float(), inputs))


def test_joints_by_a_regressor_are_those_of_the_lifted_mesh(
    inputs: Inputs, mini_hand: HandModel, joints_uvd: Tensor, generator: torch.Generator
) -> None:
    regressor, verts_uvd = joint_regressor_21(mini_hand).float(), torch.rand(2, 778, 3, generator=generator)
    prediction = Prediction(joints_uvd=joints_uvd, verts_uvd=verts_uvd, joint_regressor=regressor)
    points = decode(prediction, inputs, ROOT, root_joint=0)
    assert points.verts is not None
    torch.testing.assert_close(points.verts, lifted(verts_uvd, inputs))
    torch.testing.assert_close(points.joints, regressor @ points.verts)
    in_uvd = lifted(regressor @ verts_uvd, inputs)
    assert float((points.joints - in_uvd).abs().max()) > 1e-4  # lifting is not linear
    own = decode(replace(prediction, joint_regressor=None), inputs, ROOT, root_joint=0)
    assert torch.equal(own.joints, lifted(joints_uvd, inputs))


@pytest.mark.parametrize("root_joint", [0, 9])
def test_rotations_are_posed_where_the_predicted_joints_are(
    inputs: Inputs, layer: HandLayer, rotated: Prediction, joints_uvd: Tensor, root_joint: int
) -> None:
    prediction = replace(rotated, joints_uvd=joints_uvd, confidence=torch.full((2, 21), 0.5))
    points = decode(prediction, inputs, ROOT, root_joint=root_joint, layer=layer)
    assert rotated.rotations is not None
    assert rotated.betas is not None
    hand = layer(rotated.rotations, rotated.betas)
    shift = (lifted(joints_uvd, inputs) - hand.joints).mean(1, keepdim=True)  # the least sum of squared distances
    torch.testing.assert_close(points.joints, hand.joints + shift)
    assert points.verts is not None
    torch.testing.assert_close(points.verts, hand.verts + shift)
    assert points.rotations is rotated.rotations
    assert points.betas is rotated.betas
    assert points.confidence is prediction.confidence


def test_a_posed_hand_is_where_the_mesh_s_joints_are_if_the_joints_are_the_mesh_s(
    inputs: Inputs,
    mini_hand: HandModel,
    layer: HandLayer,
    rotated: Prediction,
    joints_uvd: Tensor,
    generator: torch.Generator,
) -> None:
    regressor, verts_uvd = joint_regressor_21(mini_hand).float(), torch.rand(2, 778, 3, generator=generator)
    prediction = replace(rotated, joints_uvd=joints_uvd, verts_uvd=verts_uvd, joint_regressor=regressor)
    points = decode(prediction, inputs, ROOT, root_joint=0, layer=layer)
    of_mesh = (regressor @ lifted(verts_uvd, inputs)).mean(1)
    torch.testing.assert_close(points.joints.mean(1), of_mesh)
    assert float((of_mesh - lifted(joints_uvd, inputs).mean(1)).norm(dim=-1).min()) > 1e-3


def test_rotations_without_uvd_are_posed_at_the_root(inputs: Inputs, layer: HandLayer, rotated: Prediction) -> None:
    points = decode(rotated, inputs, ROOT, root_joint=9, layer=layer)
    torch.testing.assert_close(points.joints[:, 9], ROOT)
    elsewhere = decode(rotated, inputs, ROOT + 1, root_joint=9, layer=layer)
    torch.testing.assert_close(elsewhere.joints, points.joints + 1)


def test_the_hand_of_a_model_of_joints_is_scaled_and_placed_by_the_given_ones(
    layer: HandLayer, rotated: Prediction, generator: torch.Generator
) -> None:
    given = 0.1 * torch.randn(2, 21, 3, generator=generator) + ROOT[:, None]
    points = decode(rotated, Inputs(joints=given), ROOT, root_joint=9, layer=layer)
    assert rotated.rotations is not None
    assert rotated.betas is not None
    hand = layer(rotated.rotations, rotated.betas)
    joints, verts = scale_and_place(hand.joints, hand.verts, given)
    assert points.verts is not None
    torch.testing.assert_close(points.joints, joints, atol=1e-6, rtol=0)
    torch.testing.assert_close(points.verts, verts, atol=1e-6, rtol=0)
    torch.testing.assert_close(measured_bone(points.joints), measured_bone(given))
    assert points.rotations is rotated.rotations
    nowhere = decode(rotated, Inputs(joints=given), torch.full((2, 3), torch.nan), root_joint=9, layer=layer)
    assert torch.equal(nowhere.joints, points.joints), "the root is not used"


def test_given_joints_that_are_no_hand_s_are_named(layer: HandLayer, rotated: Prediction) -> None:
    given = torch.randn(2, 21, 3, generator=torch.Generator().manual_seed(3))
    given[:, 9] = given[:, 0] + 0.1
    given[1] = 0.3
    with pytest.raises(UnsolvableJointsError, match="all in one place") as caught:
        decode(rotated, Inputs(joints=given), ROOT, root_joint=0, layer=layer)
    assert caught.value.index == 1


def test_what_cannot_be_decoded_says_what_is_missing(
    inputs: Inputs, layer: HandLayer, rotated: Prediction, joints_uvd: Tensor
) -> None:
    with pytest.raises(HmrError, match="neither joints_uvd nor rotations and betas"):
        decode(Prediction(), inputs, ROOT, root_joint=0, layer=layer)
    for prediction in (rotated, replace(rotated, joints_uvd=joints_uvd)):
        with pytest.raises(ValueError, match="no hand to pose: its spec must say needs_hand=True"):
            decode(prediction, inputs, ROOT, root_joint=0)
        with pytest.raises(ValueError, match="must give rotations and betas"):
            decode(replace(prediction, betas=None), inputs, ROOT, root_joint=0, layer=layer)
    with pytest.raises(ValueError, match="must give rotations and betas"):
        decode(Prediction(), Inputs(joints=torch.rand(2, 21, 3)), ROOT, root_joint=0, layer=layer)


def test_the_loss_gets_the_posed_hand_at_the_true_root_joint(
    layer: HandLayer, rotated: Prediction, joints_uvd: Tensor
) -> None:
    prediction = replace(rotated, joints_uvd=joints_uvd, extras={"own": torch.zeros(2)})
    posed = pose_for_loss(prediction, ROOT, root_joint=9, layer=layer)
    assert posed.joints is not None
    assert posed.verts is not None
    torch.testing.assert_close(posed.joints[:, 9], ROOT)
    assert replace(posed, joints=None, verts=None) == prediction
    assert rotated.rotations is not None
    assert rotated.betas is not None
    hand = layer(rotated.rotations, rotated.betas, centre=9)
    assert torch.equal(posed.verts, hand.verts + ROOT[:, None])


def test_the_loss_gets_a_prediction_without_rotations_as_it_is(joints_uvd: Tensor) -> None:
    prediction = Prediction(joints_uvd=joints_uvd)
    assert pose_for_loss(prediction, ROOT, root_joint=0, layer=None) is prediction


def test_rotations_have_gradients_through_the_posed_hand(layer: HandLayer, rotated: Prediction) -> None:
    assert rotated.rotations is not None
    rotations = rotated.rotations.requires_grad_()
    posed = pose_for_loss(rotated, ROOT, root_joint=0, layer=layer)
    assert posed.verts is not None
    torch.autograd.backward(posed.verts.square().sum())
    assert rotations.grad is not None
    assert float(rotations.grad.abs().min(2).values.max()) > 0


def test_points_move_as_one(joints_uvd: Tensor) -> None:
    moved = Points(joints=joints_uvd, betas=torch.zeros(2, 10)).to("meta")
    assert {tensor.device.type for tensor in moved.tensors()} == {"meta"}
    assert moved.verts is None
