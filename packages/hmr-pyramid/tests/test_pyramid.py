"""Pyramid: the contract, each part by itself, and what it does with data that lack a mesh or a pose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hmr_core.geometry.camera import to_uvd
from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.hand.joints import BONES
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.nn.backbones.backbone import FeatureMap
from hmr_core.nn.decode import decode, pose_for_loss
from hmr_core.nn.model import Inputs, Targets
from hmr_core.plugins.recipes import load_recipe
from hmr_core.plugins.registry import discover
from hmr_core.testing import check_backbone, check_model
from hmr_pyramid.heads import JointHead
from hmr_pyramid.model import ROOT, Pyramid
from hmr_pyramid.neck import Neck
from hmr_pyramid.pose import PoseHead, lift_by_size, palm_frame, sum_of_squares, upright
from hmr_pyramid.refining import Sampler

SMALL = ("image_size=32", "backbone.width=8", "channels=16", "pose.widths=[32]")
INTRINSICS = torch.tensor([[40.0, 0, 16], [0, 42, 15], [0, 0, 1]], dtype=torch.float64)


@pytest.fixture(scope="module")
def layer() -> HandLayer:
    return HandLayer(load_synthetic_hand(), torch.float64)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def posed(layer: HandLayer, generator: torch.Generator, batch: int = 4) -> Tensor:
    """The joints of some hands, metres, half a metre away."""
    rotations = 0.4 * torch.randn(batch, 16, 3, generator=generator, dtype=torch.float64)
    hand = layer(rotations, torch.zeros(batch, 10, dtype=torch.float64), centre=ROOT)
    return hand.joints + torch.tensor([0.02, -0.01, 0.5], dtype=torch.float64)


def small(*overrides: str) -> Pyramid:
    spec = discover().model("pyramid")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = spec.build(load_recipe(spec, "tiny", [*SMALL, *overrides]).model)
    assert isinstance(model, Pyramid)
    model.use_hand(load_synthetic_hand())
    return model


def inputs_of(batch: int, generator: torch.Generator, size: int = 32) -> Inputs:
    image = torch.rand(batch, 3, size, size, generator=generator) - 0.5
    return Inputs(image=image, intrinsics=INTRINSICS.float().expand(batch, 3, 3))


@pytest.mark.parametrize("second", [(), ("refine=2",), ("tokens=1",), ("refine=1", "tokens=1")])
def test_the_contract(second: tuple[str, ...]) -> None:
    check_model("pyramid", overrides=(*SMALL, *second))


def test_the_trunk_keeps_the_contract_of_backbones() -> None:
    check_backbone("trunk", width=16)


# Where a hand is, by its size.


def test_a_hand_of_the_known_size_is_lifted_exactly(layer: HandLayer, generator: torch.Generator) -> None:
    joints = posed(layer, generator)
    uvd = to_uvd(joints, joints[:, ROOT], INTRINSICS.expand(4, 3, 3), 32)
    for joint, other, squares in zip(joints, uvd, sum_of_squares(joints), strict=True):
        lifted = lift_by_size(other[None], INTRINSICS[None], 32, squares, ROOT)
        torch.testing.assert_close(lifted[0], joint, rtol=0, atol=1e-7)


def test_joints_of_no_hand_are_lifted_to_finite_places_with_finite_gradients(generator: torch.Generator) -> None:
    for uvd in (torch.full((1, 21, 3), 0.5), torch.rand(1, 21, 3, generator=generator), 50 * torch.ones(1, 21, 3)):
        given = uvd.requires_grad_()
        lifted = lift_by_size(given, INTRINSICS.float()[None], 32, torch.tensor(0.02), ROOT)
        assert bool(lifted.isfinite().all())
        (gradient,) = torch.autograd.grad(lifted.sum(), given)
        assert bool(gradient.isfinite().all())


# The palm's frame.


def test_what_the_network_sees_does_not_depend_on_turn_size_and_place(
    layer: HandLayer, generator: torch.Generator
) -> None:
    joints = posed(layer, generator)
    turn = axis_angle_to_matrix(torch.randn(4, 3, generator=generator, dtype=torch.float64))
    seen, frame = upright(joints)
    again, turned = upright(1.7 * joints @ turn.mT + 0.3)
    torch.testing.assert_close(again, seen)
    torch.testing.assert_close(turned, turn @ frame)
    bones = torch.stack([seen[:, child] - seen[:, parent] for parent, child in BONES], dim=1)
    torch.testing.assert_close(bones.square().sum(2).mean(1), torch.ones(4, dtype=torch.float64))


def test_the_wrist_turns_with_the_joints_and_the_rest_stays(layer: HandLayer, generator: torch.Generator) -> None:
    joints = posed(layer, generator)
    turn = axis_angle_to_matrix(torch.randn(4, 3, generator=generator, dtype=torch.float64))
    head = PoseHead((16,)).double().eval()
    torch.nn.init.normal_(head.turns.weight, std=0.3, generator=generator)
    matrices, betas = head(joints)
    turned, same = head(2 * joints @ turn.mT)
    torch.testing.assert_close(turned[:, 0], turn @ matrices[:, 0])
    torch.testing.assert_close(turned[:, 1:], matrices[:, 1:])
    torch.testing.assert_close(same, betas)


def test_a_fresh_network_lays_the_rest_pose_on_the_palm(layer: HandLayer, generator: torch.Generator) -> None:
    wrist = torch.randn(3, 1, 3, generator=generator, dtype=torch.float64)
    rotations = torch.cat([wrist, torch.zeros(3, 15, 3, dtype=torch.float64)], dim=1)
    hand = layer(rotations, torch.zeros(3, 10, dtype=torch.float64))
    head = PoseHead((16,)).double().eval()
    torch.nn.init.zeros_(head.turns.weight)
    rest = layer.joints(torch.zeros(1, 16, 3, dtype=torch.float64), torch.zeros(1, 10, dtype=torch.float64))
    head.rest_frame.copy_(palm_frame(rest)[0])
    matrices, _ = head(hand.joints)
    torch.testing.assert_close(matrices, axis_angle_to_matrix(rotations))


# Maps.


@pytest.mark.parametrize(
    ("strides", "used", "out"),
    [
        ((4, 8, 16, 32), [1, 2, 3], 8),
        ((4, 8, 16), [1, 2], 8),
        ((16,), [0], 8),
        ((14,), [0], 7),
        ((8,), [0], 8),
        ((4,), [0], 4),
        ((32,), [0], 8),
    ],
)
def test_the_neck_brings_maps_to_an_eighth(strides: tuple[int, ...], used: list[int], out: int) -> None:
    maps = [FeatureMap(3 + i, stride) for i, stride in enumerate(strides)]
    neck = Neck(maps, 5)
    height, width = (224, 448) if 14 in strides else (64, 128)
    given = [torch.zeros(2, m.channels, height // m.stride, width // m.stride) for m in maps]
    assert neck.used == used
    assert neck.out == FeatureMap(5, out)
    assert neck(given).shape == (2, 5, height // out, width // out)


def test_a_joint_is_where_its_heat_map_is_and_as_deep_as_its_depth_map_says_there() -> None:
    head = JointHead(42).double()
    with torch.no_grad():
        head.maps.weight.copy_(torch.eye(42)[:, :, None, None])
        head.maps.bias.zero_()
    maps = torch.zeros(1, 42, 4, 8, dtype=torch.float64)
    maps[0, 3, 2, 5] = 50  # all of joint 3's heat
    maps[0, 21 + 3] = 9
    maps[0, 21 + 3, 2, 5] = -0.25
    with torch.no_grad():
        uvd, spread = head(maps)
    torch.testing.assert_close(uvd[0, 3], torch.tensor([5.5 / 8, 2.5 / 4, 0.25], dtype=torch.float64))
    torch.testing.assert_close(uvd[0, 4], torch.tensor([0.5, 0.5, 0.5], dtype=torch.float64))
    assert float(spread[0, 3]) < 1e-4
    # of a map that is the same everywhere: that of a uniform distribution over 8 and 4 cells
    expected = ((8**2 - 1) / 12 / 8**2 + (4**2 - 1) / 12 / 4**2) ** 0.5
    assert float(spread[0, 4]) == pytest.approx(expected)


def test_heads_are_computed_in_float32_under_autocast(generator: torch.Generator) -> None:
    model, inputs = small().eval(), inputs_of(2, generator)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = model(inputs)
    for name in ("joints_uvd", "confidence", "rotations", "betas"):
        assert getattr(found, name).dtype == torch.float32


# What is predicted, and what is learnt from.


def test_mesh_joints_and_rotations_are_of_one_hand(generator: torch.Generator) -> None:
    model, inputs = small().eval(), inputs_of(3, generator)
    layer = HandLayer(load_synthetic_hand())
    root = torch.tensor([0.0, 0.0, 0.6]).expand(3, 3)
    with torch.no_grad():
        found = decode(model(inputs), inputs, root, root_joint=ROOT, layer=layer)
    assert found.rotations is not None
    assert found.betas is not None
    assert found.verts is not None
    hand = layer(found.rotations, found.betas)
    torch.testing.assert_close(found.joints - found.joints[:, :1], hand.joints - hand.joints[:, :1])
    torch.testing.assert_close(found.verts - found.joints[:, :1], hand.verts - hand.joints[:, :1])


def targets_of(batch: int, layer: HandLayer, generator: torch.Generator) -> Targets:
    rotations = 0.3 * torch.randn(batch, 16, 3, generator=generator)
    betas = torch.randn(batch, 10, generator=generator)
    root = torch.tensor([0.0, 0.0, 0.6]).expand(batch, 3)
    hand = layer(rotations, betas, centre=ROOT)
    joints, verts = hand.joints + root[:, None], hand.verts + root[:, None]
    intrinsics = INTRINSICS.float().expand(batch, 3, 3)
    ones = torch.ones(batch)
    return Targets(
        joints_uvd=to_uvd(joints, root, intrinsics, 32),
        joints_vis=torch.ones(batch, 21),
        verts_uvd=to_uvd(verts, root, intrinsics, 32),
        verts_vis=torch.ones(batch, 778),
        joints=joints,
        verts=verts,
        rotations=rotations,
        betas=betas,
        joints_known=torch.ones(batch, 21),
        verts_known=ones,
        pose_known=ones,
        root=root,
        intrinsics=intrinsics,
    )


def losses_of(model: Pyramid, inputs: Inputs, targets: Targets, layer: HandLayer) -> dict[str, Tensor]:
    prediction = pose_for_loss(model(inputs), targets.root, root_joint=ROOT, layer=layer)
    return model.loss(prediction, targets)


def test_what_is_not_known_counts_for_nothing(generator: torch.Generator) -> None:
    layer, model, inputs = HandLayer(load_synthetic_hand()), small().train(), inputs_of(4, generator)
    known = targets_of(4, layer, generator)
    nothing = torch.zeros(4)
    joints_alone: dict[str, Any] = {"verts_known": nothing, "pose_known": nothing}
    lacking = replace(
        known, **joints_alone, verts=known.verts * 0, rotations=known.rotations * 0, betas=known.betas + 9
    )
    losses = losses_of(model, inputs, lacking, layer)
    assert {name for name, value in losses.items() if float(value.detach()) == 0} == {"rotation", "shape", "vertex"}
    sum(losses.values()).backward()
    learning = {name.split(".")[0] for name, value in model.named_parameters() if value.grad is not None}
    assert learning == {"backbone", "neck", "joint_head", "pose_head"}
    # The joints of one sample are not known, and what stands there changes nothing.
    mask = torch.ones(4, 21)
    mask[1] = 0
    masked = replace(known, joints_vis=mask, joints_known=mask)
    other = known.joints_uvd.clone()
    other[1] += 3
    model.eval()
    with torch.no_grad():
        some = losses_of(model, inputs, masked, layer)
        same = losses_of(model, inputs, replace(masked, joints_uvd=other), layer)
    assert {name: float(value) for name, value in some.items()} == {name: float(value) for name, value in same.items()}


def test_joints_learn_from_their_own_loss_alone(generator: torch.Generator) -> None:
    layer, model, inputs = HandLayer(load_synthetic_hand()), small().train(), inputs_of(4, generator)
    losses = losses_of(model, inputs, targets_of(4, layer, generator), layer)
    pose = sum(losses[name] for name in ("rotation", "shape", "joint", "vertex"))
    assert isinstance(pose, Tensor)
    pose.backward()
    assert all(value.grad is None for value in model.joint_head.parameters())
    assert all(value.grad is not None for value in model.pose_head.parameters())


def test_the_spread_learns_to_be_the_error(generator: torch.Generator) -> None:
    layer, model, inputs = HandLayer(load_synthetic_hand()), small().eval(), inputs_of(2, generator)
    targets = targets_of(2, layer, generator)
    with torch.no_grad():
        prediction = model(inputs)
        uvd = prediction.joints_uvd
        assert uvd is not None
        exact = replace(targets, joints_uvd=uvd.clone())
        spread = prediction.extras["spread"]
        off = exact.joints_uvd.clone()
        off[..., 0] += spread
        posed_ = pose_for_loss(prediction, targets.root, root_joint=ROOT, layer=layer)
        assert float(model.loss(posed_, replace(targets, joints_uvd=off))["spread"]) == pytest.approx(0, abs=1e-7)
        assert float(model.loss(posed_, exact)["spread"]) > 1e-3


@pytest.mark.parametrize("second", ["refine=2", "tokens=1"])
def test_a_second_look_adds_nothing_at_first_and_both_looks_learn(second: str, generator: torch.Generator) -> None:
    layer, model, inputs = HandLayer(load_synthetic_hand()), small(second).train(), inputs_of(4, generator)
    prediction = model(inputs)
    assert torch.equal(prediction.joints_uvd, prediction.extras["first_uvd"])
    losses = losses_of(model, inputs, targets_of(4, layer, generator), layer)
    assert float(losses["first"].detach()) == float(losses["uvd"].detach())
    sum(losses.values()).backward()
    assert all(value.grad is not None for name, value in model.named_parameters())


def test_a_joint_outside_of_the_crop_has_nothing_of_the_maps(generator: torch.Generator) -> None:
    sampler = Sampler([FeatureMap(5, 8)], 6)
    features = torch.rand(1, 5, 4, 4, generator=generator)
    uvd = torch.full((1, 21, 3), 0.625)
    uvd[0, 1] = torch.tensor([2.0, 0.5, 0.5])
    with torch.no_grad():
        tokens = sampler([features], uvd)
        lateral = sampler.laterals[0]
        assert isinstance(lateral, torch.nn.Linear)
        inside = (
            sampler.joints[0] + sampler.places(uvd[0, 0] - 0.5) + lateral(features[0, :, 2, 2])
        )  # that cell's middle
        torch.testing.assert_close(tokens[0, 0], inside)
        outside = sampler.joints[1] + sampler.places(uvd[0, 1] - 0.5) + lateral(torch.zeros(5))
        torch.testing.assert_close(tokens[0, 1], outside)


def test_it_says_what_it_lacks() -> None:
    spec = discover().model("pyramid")
    model = spec.build(load_recipe(spec, "tiny", SMALL).model)
    with pytest.raises(ValueError, match=r"inputs\.intrinsics is None"):
        model(Inputs(image=torch.zeros(1, 3, 32, 32)))
    with pytest.raises(ValueError, match="call use_hand before it predicts"):
        model(Inputs(image=torch.zeros(1, 3, 32, 32), intrinsics=torch.eye(3)[None]))


@pytest.mark.parametrize("name", sorted(discover().model("pyramid").recipes))
def test_recipes_write_down_what_they_are(name: str) -> None:
    recipe = load_recipe(discover().model("pyramid"), name)
    assert recipe.summary
    assert ("not yet measured" in recipe.summary) == (name == "base")


def test_noise_is_added_in_training_alone_and_comes_from_torch_s_generator(
    layer: HandLayer, generator: torch.Generator
) -> None:
    joints = posed(layer, generator)
    head = PoseHead((16,), noise=0.1).double()
    torch.nn.init.normal_(head.turns.weight, std=0.3, generator=generator)
    found = []
    with torch.no_grad(), torch.random.fork_rng():
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            found.append(head.train()(joints)[0])
        assert torch.equal(found[0], found[1])
        assert not torch.equal(found[0], found[2])
        assert torch.equal(head.eval()(joints)[0], head(joints)[0])
