"""The hand layer against a loop over joints and vertices in float64, and its invariances and gradients."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hmr_core.errors import HmrError
from hmr_core.geometry.rotations import axis_angle_to_matrix, axis_angle_to_quaternion
from hmr_core.hand.joints import MANO_PARENTS, TIP_VERTICES
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.regressor import joint_regressor_21
from hmr_core.hand.synthetic import load_synthetic_hand


@pytest.fixture(scope="module")
def hand() -> HandModel:
    """The synthetic hand with other pose correctives, large enough that they count."""
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 1e-3, (778, 3, 135)))
    return replace(load_synthetic_hand(), pose_dirs=noise)


@pytest.fixture(scope="module")
def layer(hand: HandModel) -> HandLayer:
    return HandLayer(hand, torch.float64)


def pose(seed: int, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Axis-angle rotations and betas."""
    generator = np.random.default_rng(seed)
    rotations = torch.from_numpy(generator.normal(0, 0.6, (batch, 16, 3)))
    return rotations, torch.from_numpy(generator.normal(0, 1, (batch, 10)))


def loop_skin(
    hand: HandModel, rotations: np.ndarray, betas: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """The papers' equations for one hand, written as loops over homogeneous matrices."""
    shaped = hand.template.numpy().copy()
    for k in range(10):
        shaped += betas[k] * hand.shape_dirs.numpy()[:, :, k]
    rest = hand.joint_regressor.numpy() @ shaped
    feature = np.concatenate([(rotations[j] - np.eye(3)).ravel() for j in range(1, 16)])
    posed = shaped + hand.pose_dirs.numpy() @ feature
    world: list[np.ndarray] = []
    for j in range(16):
        local = np.eye(4)
        local[:3, :3] = rotations[j]
        local[:3, 3] = rest[j] if j == 0 else rest[j] - rest[MANO_PARENTS[j]]
        world.append(local if j == 0 else world[MANO_PARENTS[j]] @ local)
    verts = np.zeros((778, 3))
    for v in range(778):
        for j in range(16):
            to_rest = np.eye(4)
            to_rest[:3, 3] = -rest[j]
            moved = world[j] @ to_rest @ np.append(posed[v], 1)
            verts[v] += hand.skin_weights.numpy()[v, j] * moved[:3]
    places = [w[:3, 3] for w in world] + [verts[v] for v in TIP_VERTICES]
    order = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
    return verts, np.stack([places[i] for i in order]), world


def test_the_layer_equals_the_loop(hand: HandModel, layer: HandLayer) -> None:
    vectors, betas = pose(1, batch=2)
    rotations = axis_angle_to_matrix(vectors)
    posed = layer(rotations, betas)
    for i in range(2):
        expected_verts, expected_joints, expected_world = loop_skin(hand, rotations[i].numpy(), betas[i].numpy())
        np.testing.assert_allclose(posed.verts[i].numpy(), expected_verts, atol=1e-12)
        np.testing.assert_allclose(posed.joints[i].numpy(), expected_joints, atol=1e-12)
        np.testing.assert_allclose(posed.transforms[i].numpy(), np.stack(expected_world), atol=1e-12)


def test_no_rotation_and_no_shape_is_the_template(hand: HandModel, layer: HandLayer) -> None:
    posed = layer(torch.zeros(1, 16, 3).double(), torch.zeros(1, 10).double())
    torch.testing.assert_close(posed.verts[0], hand.template, atol=1e-12, rtol=0)
    torch.testing.assert_close(posed.joints[0, 9], hand.joint_regressor[4] @ hand.template, atol=1e-12, rtol=0)


def test_rotations_of_any_kind_give_the_same_hand(layer: HandLayer) -> None:
    vectors, betas = pose(2)
    expected = layer(vectors, betas)
    quaternions = axis_angle_to_quaternion(vectors)
    lengths = torch.linspace(-3, 2, 48, dtype=torch.float64).reshape(3, 16, 1)
    for rotations in (axis_angle_to_matrix(vectors), quaternions, lengths * quaternions):
        found = layer(rotations, betas)
        torch.testing.assert_close(found.verts, expected.verts, atol=1e-14, rtol=0)
        torch.testing.assert_close(found.transforms, expected.transforms, atol=1e-14, rtol=0)


@pytest.mark.parametrize("shape", [(2, 16, 2), (2, 15, 3), (2, 48), (2, 16, 3, 4), (16, 3)])
def test_rotations_of_another_shape_are_refused(layer: HandLayer, shape: tuple[int, ...]) -> None:
    betas = torch.zeros(2, 10).double()
    for call in (layer, layer.joints):
        with pytest.raises(ValueError) as error:
            call(torch.ones(shape).double(), betas)
        assert str(error.value) == (
            f"rotations of shape {shape}; valid: (batch, 16, 3) axis-angle, (batch, 16, 4) quaternions, "
            "(batch, 16, 3, 3) matrices"
        )


@pytest.mark.parametrize("centre", [None, 0, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_joints_alone_equal_those_with_the_mesh(hand: HandModel, dtype: torch.dtype, centre: int | None) -> None:
    layer = HandLayer(hand, dtype)
    rotations, betas = (a.to(dtype) for a in pose(3))
    alone = layer.joints(rotations, betas, centre=centre)
    assert alone.dtype == dtype
    atol = 1e-15 if dtype == torch.float64 else 1e-7
    torch.testing.assert_close(alone, layer(rotations, betas, centre=centre).joints, atol=atol, rtol=0)


def test_joints_alone_touch_only_the_tips(hand: HandModel) -> None:
    layer = deepcopy(HandLayer(hand, torch.float64))  # buffers of the model's own type are the model's arrays
    others = torch.ones(778, dtype=torch.bool)
    others[list(TIP_VERTICES)] = False
    for name in ("template", "shape_dirs", "pose_dirs", "skin_weights"):
        getattr(layer, name)[others] = torch.nan
    rotations, betas = pose(3)
    assert layer.joints(rotations, betas).isfinite().all()
    assert layer(rotations, betas).verts.isnan().any()


def test_centring_moves_everything_by_one_joint(layer: HandLayer) -> None:
    rotations, betas = pose(4)
    free, centred = layer(rotations, betas), layer(rotations, betas, centre=9)
    origin = free.joints[:, 9:10]
    assert centred.joints[:, 9].abs().max() == 0
    torch.testing.assert_close(centred.verts, free.verts - origin)
    torch.testing.assert_close(centred.joints, free.joints - origin)
    torch.testing.assert_close(centred.transforms[..., :3, 3], free.transforms[..., :3, 3] - origin)
    torch.testing.assert_close(centred.transforms[..., :3], free.transforms[..., :3])


def test_wrist_rotation_turns_the_hand_about_its_wrist(layer: HandLayer) -> None:
    vectors, betas = pose(5)
    rotations = axis_angle_to_matrix(vectors)
    turn = axis_angle_to_matrix(torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64))
    turned = rotations.clone()
    turned[:, 0] = turn @ rotations[:, 0]
    before, after = layer(rotations, betas), layer(turned, betas)
    torch.testing.assert_close(after.joints[:, 0], before.joints[:, 0])
    wrist = before.joints[:, :1]
    torch.testing.assert_close(after.verts, (before.verts - wrist) @ turn.T + wrist)


def test_single_precision_stays_single_and_close(hand: HandModel, layer: HandLayer) -> None:
    rotations, betas = pose(6)
    posed = HandLayer(hand)(rotations.float(), betas.float())
    assert posed.verts.dtype == posed.joints.dtype == posed.transforms.dtype == torch.float32
    assert (posed.verts - layer(rotations, betas).verts).abs().max() < 1e-6


def test_samples_do_not_depend_on_their_batch(layer: HandLayer) -> None:
    rotations, betas = pose(7)
    together, alone = layer(rotations, betas), layer(rotations[1:2], betas[1:2])
    torch.testing.assert_close(together.verts[1:2], alone.verts, atol=1e-14, rtol=0)


def test_everything_stays_on_the_layers_device(hand: HandModel) -> None:
    layer = deepcopy(HandLayer(hand)).to("meta")  # a device without numbers; mixing it with the CPU's is an error
    rotations, betas = (a.float().to("meta") for a in pose(7))
    posed = layer(rotations, betas, centre=9)
    joints = layer.joints(rotations, betas, centre=9)
    assert {a.device.type for a in (posed.verts, posed.joints, posed.transforms, joints)} == {"meta"}


def test_no_hand_is_a_batch_too(layer: HandLayer) -> None:
    posed = layer(torch.zeros(0, 16, 3).double(), torch.zeros(0, 10).double(), centre=0)
    assert posed.verts.shape == (0, 778, 3)
    assert posed.joints.shape == (0, 21, 3)


def test_a_layer_has_nothing_to_train_or_save(layer: HandLayer) -> None:
    assert list(layer.parameters()) == []
    assert layer.state_dict() == {}


@pytest.mark.parametrize("kind", ["axis-angle", "zero", "quaternions", "matrices"])
def test_gradients_of_the_mesh_equal_finite_differences(layer: HandLayer, kind: str) -> None:
    vectors, betas = pose(8, batch=1)
    make = {
        "axis-angle": lambda v: v,
        "zero": torch.zeros_like,
        "quaternions": axis_angle_to_quaternion,
        "matrices": axis_angle_to_matrix,
    }[kind]
    # A fixed random projection: every vertex, joint and transform counts, at the cost of few backward passes.
    generator = torch.Generator().manual_seed(0)
    verts, joints, transforms = (
        torch.randn(6, *shape, generator=generator, dtype=torch.float64) for shape in ((778, 3), (21, 3), (16, 4, 4))
    )

    def some(rotations: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
        posed = layer(rotations, betas)
        terms = ((verts, posed.verts), (joints, posed.joints), (transforms, posed.transforms))
        return torch.stack([(weight * value).flatten(1).sum(1) for weight, value in terms])

    assert torch.autograd.gradcheck(some, (make(vectors).requires_grad_(), betas.requires_grad_()))


def test_gradients_of_the_joints_alone_equal_finite_differences(layer: HandLayer) -> None:
    rotations, betas = pose(9, batch=1)
    inputs = (rotations.requires_grad_(), betas.requires_grad_())
    assert torch.autograd.gradcheck(lambda r, b: layer.joints(r, b, centre=9), inputs)


def test_the_regressor_gives_the_joints_of_the_mesh_at_rest(mini_hand: HandModel) -> None:
    regressor = joint_regressor_21(mini_hand)
    layer = HandLayer(mini_hand, torch.float64)
    rest = layer(torch.zeros(1, 16, 3, dtype=torch.float64), torch.zeros(1, 10, dtype=torch.float64))
    torch.testing.assert_close(regressor @ rest.verts[0], rest.joints[0])
    other = joint_regressor_21(mini_hand, (745, 317, 445, 556, 673)) - regressor
    assert other.nonzero().tolist() == [[12, 444], [12, 445]]  # the middle finger's tip alone


def test_a_layer_is_loaded_from_a_file_or_is_of_the_synthetic_hand(
    mini_hand: HandModel, mini_hand_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    assert HandLayer.load().model.name == load_synthetic_hand().name
    assert HandLayer.load(mini_hand_path).model.name == HandLayer.load(str(mini_hand_path)).model.name == mini_hand.name
    monkeypatch.setenv("HMR_HAND_MODEL", str(mini_hand_path))
    assert HandLayer.load().model.name == mini_hand.name
    with pytest.raises(HmrError, match=r"no hand model at no\.npz"):
        HandLayer.load("no.npz")
