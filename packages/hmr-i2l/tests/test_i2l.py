"""I2L-MeshNet against the recorded outputs of the published code, by definitions, and as a plugin."""

from __future__ import annotations

import json
import tomllib
from copy import deepcopy
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.evaluation.evaluate import evaluate
from hmr_core.evaluation.subject import EvaluationSubject, LoadedHand
from hmr_core.geometry.camera import project, to_uvd
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.source import HandModelSource
from hmr_core.nn.backbones.config import BackboneConfig
from hmr_core.nn.backbones.resnet import ResNet
from hmr_core.nn.decode import decode
from hmr_core.nn.model import Inputs, Prediction
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import load_recipe, parse_recipe
from hmr_core.testing import check_model
from hmr_core.testing.golden import assert_close, golden_targets, load_golden
from hmr_core.weights.checkpoints import load_checkpoint
from hmr_core.weights.state_dict import Uninitialised
from hmr_i2l.model import I2LMeshNet
from hmr_i2l.plugin import hmr_models
from hmr_i2l.spec import RELEASED

GOLDEN = Path(__file__).parent / "data/golden"
SPEC: ModelSpec = hmr_models()[0]
RECORD = json.loads((GOLDEN / "i2l_resnet50.json").read_text())


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_golden(GOLDEN / "i2l_resnet50.npz")


@pytest.fixture(scope="module")
def recorded_state(rule: ModuleType) -> dict[str, Tensor]:
    """What the released file holds, with the rule's values."""
    state: dict[str, Tensor] = rule.state_dict(RECORD)
    return state


@pytest.fixture(scope="module")
def model(recorded_state: dict[str, Tensor], mini_hand: HandModel) -> I2LMeshNet:
    """The published network with the recorded weights: large, so that it is made once, and no test may change it."""
    with Uninitialised():
        model = SPEC.build(load_recipe(SPEC, "published", RELEASED.overrides).model)
    assert isinstance(model, I2LMeshNet)
    used = {name: value for name, value in recorded_state.items() if not name.startswith(tuple(RELEASED.ignored))}
    model.load_state_dict(used)  # strict: the released names, but for those that are said to be ignored
    model.use_hand(mini_hand)
    return model


def test_eval_outputs_match_the_recorded_ones(model: I2LMeshNet, golden: dict[str, Tensor], rule: ModuleType) -> None:
    truth = golden_targets(golden, torch.float32)
    inputs = Inputs(image=rule.image(RECORD), intrinsics=truth.intrinsics)
    with torch.no_grad():
        prediction = model.eval()(inputs)
    assert prediction.joints_uvd is not None
    assert prediction.verts_uvd is not None
    assert_close(prediction.joints_uvd, golden["out_2d_uvd"], 1e-4)
    assert_close(prediction.joints_uvd * 64, golden["out_joint_coord_img"], 1e-4)
    assert_close(prediction.verts_uvd * 64, golden["out_mesh_coord_img"], 1e-4)
    assert_close(prediction.joint_regressor @ prediction.verts_uvd * 64, golden["out_joint_img_from_mesh"], 1e-4)
    points = decode(prediction, inputs, truth.root, root_joint=0)
    assert points.verts is not None
    assert_close(points.joints, golden["out_joints_3d"], 1e-4)
    assert_close(points.verts, golden["out_verts_3d"], 1e-4)
    assert_close(project(points.joints, truth.intrinsics), golden["out_joints_2d"], 1e-4)


def test_training_outputs_losses_and_gradients_match_the_recorded_ones(
    model: I2LMeshNet, golden: dict[str, Tensor], rule: ModuleType
) -> None:
    model = deepcopy(model).double().train()
    prediction = model(Inputs(image=rule.image(RECORD).double()))
    assert prediction.joints_uvd is not None
    assert prediction.verts_uvd is not None
    assert_close(prediction.joints_uvd * 64, golden["out_train_joint_coord_img"], 1e-6)
    assert_close(prediction.verts_uvd * 64, golden["out_train_mesh_coord_img"], 1e-6)
    losses = model.loss(prediction, golden_targets(golden, torch.float64))
    recorded = {
        name: RECORD["losses"][f"{other}"] * weight
        for name, other, weight in (
            ("joint", "joint_fit", 1),
            ("mesh", "mesh_fit", 1),
            ("mesh_joint", "mesh_joint_fit", 1),
            ("normal", "mesh_normal", 0.1),
            ("edge", "mesh_edge", 1),
        )
    }
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(recorded, rel=1e-6)
    total = torch.stack(list(losses.values())).sum()
    assert total.item() == pytest.approx(RECORD["losses"]["total"], rel=1e-6)
    torch.autograd.backward(total)
    norms = {name: p.grad.norm().item() for name, p in model.named_parameters() if p.grad is not None}
    assert {name: norms[name] for name in RECORD["grad_norms"]} == pytest.approx(RECORD["grad_norms"], rel=1e-6)


def test_the_released_checkpoint_gives_the_published_pipeline_s_points(
    tmp_path: Path,
    recorded_state: dict[str, Tensor],
    mini_pack: Pack,
    mini_hand: HandModel,
    recorded_figures: dict[str, dict[str, Any]],
) -> None:
    path = tmp_path / "I2L_MeshNet.pth.tar"
    torch.save(recorded_state, path)
    checkpoint = load_checkpoint(path, SPEC)
    assert checkpoint.recipe.model.middle_tip == 445
    source = HandModelSource(model=mini_hand, path=None, digest=None)
    evaluation = evaluate(
        EvaluationSubject(
            spec=SPEC,
            checkpoint=checkpoint,
            pack=mini_pack,
            split="sp0",
            subset="test",
            hand=LoadedHand(source=source, layer=HandLayer(mini_hand)),
        ),
        device=torch.device("cpu"),
        batch_size=8,
        workers=0,
    )
    recorded = np.load(GOLDEN / "e2e_i2l_default.npz")
    np.testing.assert_allclose(evaluation.predictions.joints, recorded["joints"], rtol=0, atol=0.05e-3)
    np.testing.assert_allclose(evaluation.predictions.verts, recorded["verts"], rtol=0, atol=0.05e-3)
    metrics = evaluation.report["metrics"]
    for name in ("mpjpe_mm", "mpvpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm"):
        assert metrics[name] == pytest.approx(recorded_figures["i2l"][name], abs=0.05), name
    assert metrics["pck_auc_0_50mm"] == pytest.approx(recorded_figures["i2l"]["pck_auc_0_50mm"], abs=0.001)
    assert evaluation.report["recipe"]["model"]["middle_tip"] == 445


# The plugin and its recipes.


def test_the_contract() -> None:
    assert [point.value for point in entry_points(group="hmr", name="i2l")] == ["hmr_i2l.plugin"]
    check_model("i2l")


@pytest.mark.parametrize("name", sorted(SPEC.recipes))
def test_recipes_write_down_what_they_are(name: str) -> None:
    recipe = load_recipe(SPEC, name)
    assert recipe.summary
    assert parse_recipe(SPEC, tomllib.loads(SPEC.recipes[name].read_text()), source=name) == recipe


@pytest.mark.parametrize(
    ("sets", "text"),
    [
        (
            ["image_size=100"],
            r"image_size must be a multiple of 32 \(the stride of the backbone resnet18\), such as 128, not 100",
        ),
        (["stage=param"], r"stage=param needs the stage lixel that it builds on: set lixel_weights=FILE, a run, a"),
        (
            ["lixel_weights=runs/x"],
            r"lixel_weights has no effect where stage is lixel\. Set stage=param, too, or leave",
        ),
        (["param_loss.shape=2"], r"param_loss\.shape has no effect where stage is lixel\. Set stage=param, too"),
        (["middle_tip=778"], r"middle_tip"),
        (["head.depth=1"], r"head\.depth"),
    ],
)
def test_configs_that_no_network_could_have_are_refused(sets: list[str], text: str) -> None:
    with pytest.raises(HmrError, match=text):
        load_recipe(SPEC, "tiny", sets)


# The network's parts, in a small one.


def small(*sets: str) -> I2LMeshNet:
    torch.manual_seed(0)
    model = SPEC.build(load_recipe(SPEC, "tiny", ["image_size=64", "backbone.width=8", *sets]).model)
    assert isinstance(model, I2LMeshNet)
    return model


def small_image(batch: int = 2) -> Inputs:
    return Inputs(image=torch.rand(batch, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5)


def test_the_joints_of_the_mesh_are_the_hand_s_and_five_vertices(mini_hand: HandModel) -> None:
    model = small()
    model.use_hand(mini_hand)
    layer = HandLayer(mini_hand)
    rest = layer(torch.zeros(1, 16, 3), torch.ones(1, 10))
    torch.testing.assert_close((model.joint_regressor @ rest.verts), rest.joints, atol=1e-6, rtol=0)
    other = small("middle_tip=445")
    other.use_hand(mini_hand)
    changed = (other.joint_regressor != model.joint_regressor).any(1).nonzero().flatten().tolist()
    assert changed == [12]
    assert other.joint_regressor[12].nonzero().flatten().tolist() == [445]
    assert model.joint_regressor[12].nonzero().flatten().tolist() == [444]


def test_the_hand_model_is_given_not_saved(mini_hand: HandModel) -> None:
    model = small()
    assert not {"joint_regressor", "faces"} & set(model.state_dict())
    with pytest.raises(ValueError, match="needs the hand model: call use_hand"):
        model(small_image())
    model.use_hand(mini_hand)
    first = model.joint_regressor.clone()
    assert torch.equal(model.faces, mini_hand.faces)
    model.use_hand(replace(mini_hand, joint_regressor=mini_hand.joint_regressor.flip(0), faces=mini_hand.faces.flip(1)))
    assert torch.equal(model.joint_regressor[0], first[3])  # MANO's last joint is the thumb's, OpenPose's fourth
    assert torch.equal(model.faces, mini_hand.faces.flip(1))


def test_the_mesh_sees_the_joints_but_does_not_teach_them(mini_hand: HandModel) -> None:
    model = small().train()
    model.use_hand(mini_hand)
    verts = model(small_image()).verts_uvd
    torch.autograd.backward(verts.sum())
    assert all(parameter.grad is None for parameter in model.pose_net.parameters())
    assert model.pose_backbone.layer4[0].conv1.weight.grad is None
    assert model.pose_backbone.conv1.weight.grad is not None  # by way of the early features


def test_points_are_float32_under_autocast(mini_hand: HandModel) -> None:
    model = small().eval()
    model.use_hand(mini_hand)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        prediction = model(small_image())
    for points in (prediction.joints_uvd, prediction.verts_uvd):
        assert points.dtype == torch.float32
        assert not torch.equal(points, points.bfloat16().float())


def test_losses_are_in_cells_and_weighted(golden: dict[str, Tensor], mini_hand: HandModel) -> None:
    """Off by 1/64 of the crop along x: by one cell of 64; all else fits, so that edges and normals cost nothing."""
    torch.manual_seed(0)
    weights = [f"loss.{name}" for name in ("joint=2", "mesh=3", "mesh_joint=5", "normal=7", "edge=11")]
    sets = ["image_size=256", "head.depth=64", "backbone.width=8", *weights]
    with Uninitialised():
        model = SPEC.build(load_recipe(SPEC, "tiny", sets).model)
    model.use_hand(mini_hand)
    truth = golden_targets(golden, torch.float32)
    truth = replace(truth, joints_vis=torch.ones(2, 21), verts_vis=torch.ones(2, 778))
    joints, verts = (to_uvd(points, truth.root, truth.intrinsics, 256) for points in (truth.joints, truth.verts))
    step = torch.tensor([1 / 64, 0, 0])
    losses = model.loss(Prediction(joints_uvd=joints + step, verts_uvd=verts + step), truth)
    assert losses["joint"].item() == pytest.approx(2 / 3, rel=1e-4)
    assert losses["mesh"].item() == pytest.approx(3 / 3, rel=1e-4)
    mesh_joints = model.joint_regressor @ (64 * (verts + step))
    assert losses["mesh_joint"].item() == pytest.approx(5 * (mesh_joints - 64 * joints).abs().mean().item(), rel=1e-4)
    assert losses["edge"].item() == pytest.approx(0, abs=1e-3)
    unseen = replace(truth, joints_vis=torch.zeros(2, 21), verts_vis=torch.zeros(2, 778))
    assert not any(model.loss(Prediction(joints_uvd=joints, verts_uvd=0 * verts), unseen).values())


def test_initial_weights_have_the_published_spread() -> None:
    assert load_recipe(SPEC, "published").model.init_std == 0.001
    model = small("backbone.width=32", "head.channels=64", "init_std=0.001")
    spread = {name: parameter.detach().std().item() for name, parameter in model.named_parameters()}
    for name in ("pose_net.deconv.0.weight", "mesh_net.deconv.6.weight", "pose2feat.conv.0.weight"):
        assert spread[name] == pytest.approx(0.001, rel=0.03), name
    assert not model.pose2feat.conv[0].bias.any()
    outputs, _, height, width = model.mesh_backbone.layer1[0].conv1.weight.shape
    assert spread["mesh_backbone.layer1.0.conv1.weight"] == pytest.approx(
        (2 / (outputs * height * width)) ** 0.5, rel=0.05
    )
    # torch's own for a 1D convolution: uniform within 1 / sqrt(inputs)
    assert spread["mesh_net.conv_x.0.weight"] == pytest.approx((1 / 3 / 64) ** 0.5, rel=0.03)


def test_an_imagenet_file_loads_into_both_backbones(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pth"
    state = {
        name: torch.full_like(value, 0.25)
        for name, value in ResNet(BackboneConfig(name="resnet18")).state_dict().items()
    }
    torch.save({**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, path)
    model = small("backbone.width=64", f"backbone.weights={path}")
    model.pretrain()
    backbones = {k: v for k, v in model.state_dict().items() if "_backbone." in k and "num_batches" not in k}
    assert len(backbones) == 100 + 95  # the second has no stem: no convolution, no batch norm
    assert all(bool((value == 0.25).all()) for value in backbones.values())
