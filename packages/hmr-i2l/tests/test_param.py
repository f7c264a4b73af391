"""Stage param: MANO's parameters behind a frozen lixel stage."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hmr_core.errors import HmrError
from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.nn.decode import pose_for_loss
from hmr_core.nn.model import Inputs, Prediction, Targets
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.events import CheckpointSaved, Event
from hmr_core.plugins.recipes import load_recipe
from hmr_core.plugins.registry import discover
from hmr_core.plugins.run import Run
from hmr_core.testing import check_spec
from hmr_core.training.asked_data import asked_packs
from hmr_core.training.request import TrainingRequest
from hmr_core.training.resume import go_on
from hmr_core.training.session import start
from hmr_core.weights.checkpoint_record import CheckpointRecord
from hmr_core.weights.checkpoints import load_checkpoint, save_checkpoint
from hmr_i2l.model import I2LMeshNet
from hmr_i2l.param import I2LParam
from hmr_i2l.plugin import hmr_models

SPEC: ModelSpec = hmr_models()[0]
SMALL = ("image_size=64", "head.channels=16", "head.depth=16", "backbone.width=8")


def build(weights: Path | str, *sets: str) -> I2LParam:
    torch.manual_seed(0)
    recipe = load_recipe(SPEC, "tiny", [*SMALL, "stage=param", f"lixel_weights={weights}", *sets])
    model = SPEC.build(recipe.model)
    assert isinstance(model, I2LParam)
    return model


@pytest.fixture(scope="module")
def lixel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of stage lixel."""
    torch.manual_seed(1)
    recipe = load_recipe(SPEC, "tiny", SMALL)
    model = SPEC.build(recipe.model)
    folder = tmp_path_factory.mktemp("lixel") / "epoch-0001"
    record = CheckpointRecord(model="i2l", split="sp0", epoch=1, recipe=recipe.model_dump(mode="json"))
    save_checkpoint(folder, model, torch.optim.Adam(model.parameters()), record)
    return folder


def image(batch: int = 3) -> Inputs:
    return Inputs(image=torch.rand(batch, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5)


def test_the_contract(tmp_path: Path) -> None:
    recipe = tmp_path / "param.toml"
    recipe.write_text(
        '[model]\nimage_size = 64\nbackbone = { name = "resnet18", width = 8 }\nhead = { channels = 16, depth = 16 }\n'
        'stage = "param"\nlixel_weights = "runs/not-there"\n[train]\nepochs = 1\nbatch_size = 4\nlearning_rate = 1e-3\n'
    )
    check_spec(replace(SPEC, recipes={"tiny": recipe}))


def test_six_numbers_are_viewed_as_three_rows_of_two(mini_hand: HandModel) -> None:
    """With the last layer's bias alone: 1 0 / 0 1 / 0 0 is no rotation."""
    regressor = build("x").param_regressor.eval()
    with torch.no_grad():
        regressor.fc_pose[0].weight.zero_()
        regressor.fc_pose[0].bias.copy_(torch.tensor([1.0, 0, 0, 1, 0, 0]).repeat(16))
        matrices, betas = regressor(torch.rand(2, 21, 3))
    torch.testing.assert_close(matrices, torch.eye(3).expand(2, 16, 3, 3))
    assert betas.shape == (2, 10)


def test_layers_begin_as_published() -> None:
    regressor = build("x").param_regressor
    for layer in (regressor.fc[0], regressor.fc[3], regressor.fc_pose[0]):
        assert layer.weight.detach().std().item() == pytest.approx(0.01, rel=0.03)
        assert not layer.bias.any()


def test_it_starts_from_a_lixel_checkpoint_and_leaves_it_as_it_is(lixel: Path, mini_hand: HandModel) -> None:
    model = build(lixel)
    fresh = {k: v.clone() for k, v in model.param_regressor.state_dict().items()}
    model.pretrain()
    model.use_hand(mini_hand)
    assert all(torch.equal(fresh[name], value) for name, value in model.param_regressor.state_dict().items())
    start = load_checkpoint(lixel, SPEC).model
    assert isinstance(start, I2LMeshNet)
    start.use_hand(mini_hand)
    expected = {name: value.clone() for name, value in start.state_dict().items()}
    model.train()
    with torch.no_grad():
        lixel_points = start.eval()(image())
    prediction = model(image())
    torch.testing.assert_close(prediction.joints_uvd, lixel_points.joints_uvd)
    torch.testing.assert_close(prediction.verts_uvd, lixel_points.verts_uvd)
    torch.autograd.backward(prediction.rotations.sum() + prediction.betas.sum())
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name, p in model.named_parameters() if p.requires_grad}
    assert with_gradient == {f"param_regressor.{name}" for name, _ in model.param_regressor.named_parameters()}
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in expected.items())  # statistics of batch norm, too


def test_it_starts_from_a_released_file_whatever_its_middle_tip(
    lixel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small one: the published recipe of the spec in use is this test's own."""
    start = load_checkpoint(lixel, SPEC)
    path = tmp_path / "I2L_MeshNet.pth.tar"
    torch.save({**start.model.state_dict(), "human_model_layer.th_faces": torch.zeros(1538, 3)}, path)
    recipe = tmp_path / "published.toml"
    shape = dict(text.split("=") for text in SMALL)
    recipe.write_text(
        f"[model]\nimage_size = {shape['image_size']}\n"
        f'backbone = {{ name = "resnet18", width = {shape["backbone.width"]}, image_norm = "half" }}\n'
        f"head = {{ channels = {shape['head.channels']}, depth = {shape['head.depth']} }}\n"
        f"sigma = {start.recipe.model.sigma}\n[train]\nepochs = 1\nbatch_size = 4\n"
    )
    monkeypatch.setattr("hmr_i2l.param.i2l_spec", lambda build: replace(SPEC, recipes={"published": recipe}))
    model = build(path)
    model.pretrain()
    assert model.config.middle_tip == 444
    loaded = model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in start.model.state_dict().items())


def test_training_mode_is_the_regressor_s_alone() -> None:
    model = build("x").train()
    modes = {name for name, module in model.named_modules() if module.training}
    assert modes == {name for name, _ in model.named_modules() if not name or name.startswith("param_regressor")}
    assert not any(module.training for module in model.eval().modules())


def test_the_joints_of_the_lixel_mesh_go_in_as_cells(lixel: Path, mini_hand: HandModel) -> None:
    model = build(lixel).eval()
    model.pretrain()
    model.use_hand(mini_hand)
    seen: list[Tensor] = []
    model.param_regressor.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        prediction = model(image())
    expected = prediction.joint_regressor @ prediction.verts_uvd * torch.tensor([16.0, 16, 16])
    torch.testing.assert_close(seen[0], expected)


def hand_targets(hand: HandModel) -> tuple[Targets, HandLayer]:
    generator = torch.Generator().manual_seed(2)
    layer = HandLayer(hand)
    rotations, betas = 0.3 * torch.randn(2, 16, 3, generator=generator), torch.randn(2, 10, generator=generator)
    posed = layer(rotations, betas, centre=0)
    root = torch.tensor([[0.0, 0.1, 0.6], [0.1, 0.0, 0.7]])
    zeros = torch.zeros(2, 21, 3)
    targets = Targets(
        joints_uvd=zeros,
        joints_vis=torch.zeros(2, 21),
        verts_uvd=torch.zeros(2, 778, 3),
        verts_vis=torch.zeros(2, 778),
        joints=posed.joints + root[:, None],
        verts=posed.verts + root[:, None],
        rotations=rotations,
        betas=betas,
        joints_known=torch.ones(2, 21),
        verts_known=torch.ones(2),
        pose_known=torch.ones(2),
        root=root,
        intrinsics=torch.eye(3).expand(2, 3, 3),
    )
    return targets, layer


def test_the_losses_by_their_definitions(mini_hand: HandModel) -> None:
    model = build("x", *(f"param_loss.{name}" for name in ("rotation=2", "shape=3", "joint=5", "vertex=7")))
    truth, layer = hand_targets(mini_hand)
    exact = Prediction(rotations=truth.rotations, betas=truth.betas)
    same = pose_for_loss(exact, truth.root, root_joint=0, layer=layer)
    for name, value in model.loss(same, truth).items():
        assert value.item() == pytest.approx(0, abs=1e-5), name
    guess = Prediction(rotations=0.5 * truth.rotations, betas=truth.betas + 0.5)
    elsewhere = pose_for_loss(guess, truth.root + 0.2, root_joint=0, layer=layer)  # where the hand is does not matter
    losses = model.loss(elsewhere, truth)
    matrices, true_matrices = axis_angle_to_matrix(0.5 * truth.rotations), axis_angle_to_matrix(truth.rotations)
    assert losses["rotation"].item() == pytest.approx(2 * (matrices - true_matrices).abs().mean().item())
    assert losses["shape"].item() == pytest.approx(3 * 0.5)
    assert elsewhere.joints is not None
    assert elsewhere.verts is not None
    for name, weight, points, true in (
        ("joint", 5, elsewhere.joints, truth.joints),
        ("vertex", 7, elsewhere.verts, truth.verts),
    ):
        total = 0.0
        for sample in range(2):
            bone = (truth.joints[sample, 9] - truth.joints[sample, 0]).norm()
            off = (points[sample] - elsewhere.joints[sample, 0]) - (true[sample] - truth.joints[sample, 0])
            total += float((off / bone).abs().sum())
        assert losses[name].item() == pytest.approx(weight * total / points.numel(), rel=1e-4), name


@pytest.mark.parametrize(
    ("sets", "text"),
    [
        (["head.depth=24"], r"lixel_weights=\S+ was trained with head\.depth=16, and this recipe has 24\. Give set="),
        (["image_size=96"], r"was trained with image_size=64, and this recipe has 96\. Give set=image_size=64"),
        (["backbone.name=resnet34"], r"was trained with backbone\.name=resnet18"),
        (["sigma=3"], r"was trained with sigma="),
    ],
)
def test_a_lixel_stage_of_another_size_is_refused(lixel: Path, sets: list[str], text: str) -> None:
    with pytest.raises(HmrError, match=text):
        build(lixel, *sets).pretrain()


def test_what_is_no_lixel_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"no such checkpoint: \S+nowhere\. lixel_weights takes a run's folder"):
        build(tmp_path / "nowhere").pretrain()
    model = build("x")
    recipe = load_recipe(SPEC, "tiny", [*SMALL, "stage=param", "lixel_weights=x"]).model_dump(mode="json")
    record = CheckpointRecord(model="i2l", split="sp0", epoch=1, recipe=recipe)
    save_checkpoint(tmp_path / "epoch-0001", model, torch.optim.Adam(model.parameters()), record)
    with pytest.raises(HmrError, match=r"is of stage param; stage param starts from one of stage lixel"):
        build(tmp_path / "epoch-0001").pretrain()


def test_a_run_goes_on_without_the_file_it_started_from(
    tmp_path: Path, lixel: Path, mini_pack_path: Path, mini_hand_path: Path
) -> None:
    copy = tmp_path / "lixel"
    shutil.copytree(lixel, copy)
    sets = (*SMALL, "stage=param", f"lixel_weights={copy}", "train.epochs=2", "train.batch_size=16")
    request = TrainingRequest(
        model="i2l", split="sp0", recipe="tiny", overrides=sets, data=asked_packs(mini_pack_path),
        hand_model=mini_hand_path, device="cpu", out=tmp_path / "whole",
    )  # fmt: skip

    def stop(run: Run, event: Event) -> None:
        if isinstance(event, CheckpointSaved):
            raise KeyboardInterrupt

    whole = start(request, discover())
    with pytest.raises(KeyboardInterrupt):
        start(replace(request, out=tmp_path / "halves"), discover(), [stop])
    shutil.rmtree(copy)
    halves = go_on(tmp_path / "halves", discover(), device="cpu")
    states = [load_checkpoint(run.checkpoints, SPEC).model.state_dict() for run in (whole, halves)]
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())
