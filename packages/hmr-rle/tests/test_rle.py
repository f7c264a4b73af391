"""RLE against the recorded outputs of the published code, by definitions, and as a plugin."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hmr_core.errors import HmrError
from hmr_core.evaluation.evaluate import evaluate
from hmr_core.evaluation.subject import EvaluationSubject
from hmr_core.geometry.camera import project
from hmr_core.nn.decode import decode
from hmr_core.nn.model import Inputs, Prediction, Targets
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import load_recipe, parse_recipe
from hmr_core.testing import check_model
from hmr_core.testing.golden import assert_close, golden_targets, load_golden
from hmr_core.weights.checkpoints import load_checkpoint
from hmr_rle.flow import LOWEST, RealNVP
from hmr_rle.model import RLE, DirectionLinear
from hmr_rle.plugin import hmr_models

GOLDEN = Path(__file__).parent / "data/golden"
SPEC: ModelSpec = hmr_models()[0]
RECORD = json.loads((GOLDEN / "rle_resnet50.json").read_text())


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_golden(GOLDEN / "rle_resnet50.npz")


@pytest.fixture
def model(rule: ModuleType) -> RLE:
    model = SPEC.build(load_recipe(SPEC, "published").model)
    model.load_state_dict(rule.state_dict(RECORD))  # strict: the released names, no more and no fewer
    assert isinstance(model, RLE)
    return model


def small(*sets: str, seed: int = 0) -> RLE:
    """A model of the tiny recipe, smaller still."""
    config = load_recipe(SPEC, "tiny", ["backbone.width=8", "image_size=32", *sets]).model
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SPEC.build(config)
    assert isinstance(model, RLE)
    return model


def noise(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def sigma_of(prediction: Prediction) -> Tensor:
    return prediction.extras["sigma"]


def uvd_of(prediction: Prediction) -> Tensor:
    assert prediction.joints_uvd is not None
    return prediction.joints_uvd


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


# Against the recorded outputs.


def test_eval_outputs_match_the_recorded_ones(model: RLE, golden: dict[str, Tensor], rule: ModuleType) -> None:
    model.eval()
    truth = golden_targets(golden, torch.float32)
    inputs = Inputs(image=rule.image(RECORD), intrinsics=truth.intrinsics)
    with torch.no_grad():
        prediction = model(inputs)
    assert_close(uvd_of(prediction), golden["out_pred_uvd"], 1e-4)
    assert_close(sigma_of(prediction), golden["out_pred_sigma"], 1e-4)
    assert_close(prediction.confidence, golden["out_maxvals"][..., 0], 1e-4)
    points = decode(prediction, inputs, truth.root, root_joint=0)
    assert points.verts is None
    assert_close(points.joints, golden["out_joints_3d"], 1e-4)
    assert_close(points.joints - truth.root[:, None], golden["out_joints_3d_rel"], 1e-4)
    assert_close(project(points.joints, truth.intrinsics), golden["out_joints_2d"], 1e-4)


def test_training_outputs_losses_and_gradients_match_the_recorded_ones(
    model: RLE, golden: dict[str, Tensor], rule: ModuleType
) -> None:
    model.double().train()
    prediction = model(Inputs(image=rule.image(RECORD).double()))
    assert_close(uvd_of(prediction), golden["out_train_pred_uvd"], 1e-6)
    assert_close(sigma_of(prediction), golden["out_train_pred_sigma"], 1e-6)
    truth = golden_targets(golden, torch.float64)
    residual = (uvd_of(prediction) - truth.joints_uvd) / sigma_of(prediction)
    assert_close(model.flow3d.log_prob(residual.view(-1, 3)).view(2, 21, 1), golden["out_train_log_phi"], 1e-6)
    losses = model.loss(prediction, truth)
    assert list(losses) == ["flow", "laplace"]
    assert losses["laplace"].item() / 63 == pytest.approx(RECORD["losses"]["Q_log_prob"], rel=1e-6)
    assert total(losses).item() == pytest.approx(RECORD["losses"]["rle_loss"], rel=1e-6)
    torch.autograd.backward(total(losses))
    parameters = dict(model.named_parameters())
    assert set(RECORD["grad_norms"]) <= set(parameters)
    for name, norm in RECORD["grad_norms"].items():
        gradient = parameters[name].grad
        assert gradient is not None, name
        assert float(gradient.norm()) == pytest.approx(norm, rel=1e-6), name


def test_the_released_checkpoint_gives_the_published_pipeline_s_joints(
    tmp_path: Path, mini_pack: Any, rule: ModuleType, recorded_figures: dict[str, dict[str, Any]]
) -> None:
    assert SPEC.released is not None
    path = tmp_path / SPEC.released.file
    torch.save(rule.state_dict(RECORD), path)
    evaluation = evaluate(
        EvaluationSubject(
            spec=SPEC, checkpoint=load_checkpoint(path, SPEC), pack=mini_pack, split="sp0", subset="test"
        ),
        device=torch.device("cpu"),
        batch_size=8,
        workers=0,
    )
    joints = np.load(GOLDEN / "e2e_rle_default.npz")["joints"]
    np.testing.assert_allclose(evaluation.predictions.joints, joints, rtol=0, atol=0.05e-3)
    metrics, recorded = evaluation.report["metrics"], recorded_figures["rle"]
    assert metrics["mpjpe_mm"] == pytest.approx(recorded["mpjpe_mm"], abs=0.05)
    assert metrics["pa_mpjpe_mm"] == pytest.approx(recorded["pa_mpjpe_mm"], abs=0.05)
    assert metrics["pck_auc_0_50mm"] == pytest.approx(recorded["pck_auc_0_50mm"], abs=0.001)


def test_the_published_figures_are_a_whole_table_of_plausible_rows() -> None:
    assert set(SPEC.published) == {"sp0", "sp1", "sp2"}
    for row in SPEC.published.values():
        assert set(row) == {"mpjpe_mm", "pck_auc_0_50mm", "mpvpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm"}
        assert row["pck_auc_0_50mm"] == pytest.approx(1 - row["mpjpe_mm"] / 50, abs=0.01)


# The plugin and its recipes.


def test_the_contract() -> None:
    assert [point.value for point in entry_points(group="hmr", name="rle")] == ["hmr_rle.plugin"]
    check_model("rle")


def test_the_published_recipe_is_the_published_one() -> None:
    recipe = load_recipe(SPEC, "published")
    config: Any = recipe.model
    assert (config.backbone.name, config.backbone.width) == ("resnet50", None)
    assert (config.backbone.freeze_batch_norm, config.backbone.weights) == ("first", "imagenet")
    assert (config.sigma_floor, config.skip_invisible) == (1e-7, False)
    train = recipe.train
    assert (train.subset, train.schedule, train.milestones, train.gamma) == ("train+val", "multistep", (30, 60), 0.1)
    assert (train.epochs, train.batch_size, train.learning_rate, train.clip_norm) == (100, 256, 1e-3, 35)
    assert SPEC.root_joint == 0


@pytest.mark.parametrize("name", sorted(SPEC.recipes))
def test_recipes_write_down_what_they_are(name: str) -> None:
    recipe = load_recipe(SPEC, name)
    assert recipe.summary
    assert parse_recipe(SPEC, tomllib.loads(SPEC.recipes[name].read_text()), source=name) == recipe


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            "image_size=100",
            r"image_size must be a multiple of 32 \(the stride of the backbone resnet18\), such as 128, not 100",
        ),
        ("sigma_floor=0", r'"0" is not valid for sigma_floor: .*greater than 0'),
    ],
)
def test_values_that_cannot_work_are_refused(value: str, text: str) -> None:
    with pytest.raises(HmrError, match=text):
        load_recipe(SPEC, "tiny", [value])


def test_joints_without_an_image_are_refused() -> None:
    with pytest.raises(ValueError, match=r"RLE consumes images; inputs\.image is None"):
        small()(Inputs(joints=torch.zeros(1, 21, 3)))


# The heads.


def test_the_coordinates_see_only_the_direction_of_the_features() -> None:
    layer = DirectionLinear(8, 5).double()
    x = noise(3, 8, dtype=torch.float64)
    unit = x / (x * x).sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(layer(x), layer.linear(unit), rtol=1e-6, atol=0)
    torch.testing.assert_close(layer(x), layer(100 * x), rtol=1e-6, atol=0)
    assert torch.equal(layer(torch.zeros(1, 8, dtype=torch.float64))[0], layer.linear.bias)


def test_the_root_s_depth_is_subtracted_in_eval_mode_only() -> None:
    model = small("backbone.freeze_batch_norm=all")  # so that the backbone gives the same in both modes
    torch.nn.init.normal_(model.fc_coord.linear.weight)
    image = noise(2, 3, 32, 32)
    with torch.no_grad():
        trained = uvd_of(model.train()(Inputs(image=image)))
        evaluated = uvd_of(model.eval()(Inputs(image=image)))
    assert torch.equal(trained[..., :2], evaluated[..., :2])
    assert not torch.allclose(trained[:, 0, 2], torch.tensor(0.5))
    assert torch.equal(evaluated[:, 0, 2], torch.full((2,), 0.5))
    torch.testing.assert_close(evaluated[..., 2] - evaluated[:, :1, 2], trained[..., 2] - trained[:, :1, 2])


@pytest.mark.parametrize(("floor", "bias"), [(1e-7, -200.0), (0.01, -200.0), (0.01, 200.0)])
def test_sigma_has_a_floor_and_confidence_stays_within_0_and_1(floor: float, bias: float) -> None:
    model = small(f"sigma_floor={floor}").eval()
    with torch.no_grad():
        model.fc_sigma.bias.fill_(bias)
        prediction = model(Inputs(image=noise(2, 3, 32, 32)))
    sure = bias < 0
    torch.testing.assert_close(sigma_of(prediction), torch.full((2, 21, 3), floor if sure else 1 + floor))
    assert prediction.confidence is not None
    assert float(prediction.confidence.max()) <= 1
    torch.testing.assert_close(prediction.confidence, torch.full((2, 21), 1 - floor if sure else 0.0))


def test_confidence_is_the_mean_of_1_minus_sigma() -> None:
    model = small().eval()
    torch.nn.init.normal_(model.fc_sigma.weight)
    with torch.no_grad():
        prediction = model(Inputs(image=noise(2, 3, 32, 32)))
    sigma = sigma_of(prediction)
    assert float(sigma.std()) > 0.01
    torch.testing.assert_close(prediction.confidence, 1 - (sigma[..., 0] + sigma[..., 1] + sigma[..., 2]) / 3)


def test_heads_flow_and_loss_are_computed_in_float32_under_autocast(golden: dict[str, Tensor]) -> None:
    model = small()
    for layer in (model.fc_coord.linear, model.fc_sigma):
        torch.nn.init.normal_(layer.weight)
    truth, inputs = golden_targets(golden, torch.float32), Inputs(image=noise(2, 3, 32, 32))
    with torch.no_grad():
        full = model(inputs)
        losses = model.loss(full, truth)
        with torch.autocast("cpu", torch.bfloat16):
            low = model(inputs)
            assert {name: float(v) for name, v in model.loss(full, truth).items()} == {
                name: float(v) for name, v in losses.items()
            }
    # Of the backbone's bfloat16 features the heads make exactly what float32 makes of them.
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = model.preact(inputs.image)[-1]
    assert features.dtype == torch.bfloat16
    pooled = features.float().mean((2, 3))
    with torch.no_grad():
        assert torch.equal(uvd_of(low), model.fc_coord(pooled).view(2, 21, 3))
        assert torch.equal(
            sigma_of(low), torch.sigmoid(model.fc_sigma(pooled)).view(2, 21, 3) + model.config.sigma_floor
        )
    for array in (uvd_of(low), sigma_of(low), low.confidence):
        assert array.dtype == torch.float32


def test_layers_begin_near_zero_by_xavier_s_rule() -> None:
    model = SPEC.build(load_recipe(SPEC, "tiny", ["backbone.width=64"]).model)
    assert isinstance(model, RLE)
    networks = [*model.flow3d.s, *model.flow3d.t]
    weights = [model.fc_coord.linear.weight, model.fc_sigma.weight, *(n[2].weight for n in networks)]
    weights.append(torch.cat([n[0].weight for n in networks]).reshape(-1, 64, 3)[0])
    for weight in weights:
        outputs, inputs = weight.shape
        bound = 0.01 * math.sqrt(6 / (inputs + outputs))
        assert bound * 0.9 < float(weight.detach().abs().max()) <= bound
        assert float(weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
    for network in networks:
        assert float(network[4].weight.detach().abs().max()) <= 0.01 * math.sqrt(6 / 67)


# The flow.


def wild_flow() -> RealNVP:
    """A flow that is far from the identity, in float64."""
    flow = RealNVP().double()
    generator = torch.Generator().manual_seed(0)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.12, generator=generator)
    return flow


def log_normal(z: Tensor) -> Tensor:
    """The log-density of the standard normal distribution."""
    return -0.5 * (z**2 + math.log(2 * math.pi)).sum(-1)


def test_the_flow_is_that_of_the_definition() -> None:
    flow = wild_flow()
    assert flow.mask.tolist() == [[1, 1, 0], [0, 0, 1]] * 3
    assert torch.equal(flow.loc, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(flow.cov, torch.eye(3, dtype=torch.float64))
    point = noise(3, dtype=torch.float64)

    def network(layers: Any, x: Tensor, last: Any) -> Tensor:
        for i in (0, 2):
            x = layers[i].weight @ x + layers[i].bias
            x = torch.where(x > 0, x, 0.01 * x)
        result: Tensor = last(layers[4].weight @ x + layers[4].bias)
        return result

    z, log_det = point.clone(), torch.zeros((), dtype=torch.float64)
    for i in (5, 4, 3, 2, 1, 0):
        still = [0, 1] if i % 2 == 0 else [2]
        moves = [2] if i % 2 == 0 else [0, 1]
        kept = torch.zeros(3, dtype=torch.float64)
        kept[still] = z[still]
        s, t = network(flow.s[i], kept, lambda x: x), network(flow.t[i], kept, torch.tanh)
        moved = (z[moves] - t[moves]) * torch.exp(-s[moves])
        z = kept.clone()
        z[moves] = moved
        z = z + 1e-8
        log_det = log_det - s[moves].sum()
    found, found_log_det = flow.to_normal(point[None])
    torch.testing.assert_close(found[0], z, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found_log_det[0], log_det, rtol=1e-12, atol=1e-12)


def test_the_log_density_is_that_of_the_change_of_variables() -> None:
    flow = wild_flow()
    points = noise(5, 3, dtype=torch.float64)
    for point, log_prob in zip(points, flow.log_prob(points), strict=True):
        jacobian = torch.func.jacrev(lambda p: flow.to_normal(p[None])[0][0])(point)
        z = flow.to_normal(point[None])[0][0]
        expected = log_normal(z) + torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(log_prob, expected, rtol=1e-10, atol=0)


def test_the_density_integrates_to_one() -> None:
    """By importance sampling from a wide normal distribution."""
    flow = wild_flow()
    width = 2.5
    samples = width * noise(200_000, 3, dtype=torch.float64)
    with torch.no_grad():
        log_prob = flow.log_prob(samples)
    proposal = log_normal(samples / width) - 3 * math.log(width)
    ratios = torch.exp(log_prob - proposal)
    error = float(ratios.std()) / math.sqrt(len(ratios))
    assert error < 0.01
    assert float(ratios.mean()) == pytest.approx(1, abs=4 * error)


def test_a_density_that_is_no_number_or_next_to_nothing_is_replaced_by_the_lowest() -> None:
    flow = RealNVP()
    for parameter in flow.parameters():
        torch.nn.init.zeros_(parameter)  # the identity
    points = torch.tensor([[math.nan, 0, 0], [1e30, 0, 0], [20_000, 0, 0], [1000, 0, 0], [0, 0, 0]])
    with torch.no_grad():
        found = flow.log_prob(points).tolist()
    assert found[:3] == [LOWEST] * 3
    assert found[3:] == pytest.approx([-1.5 * math.log(2 * math.pi) - 5e5, -1.5 * math.log(2 * math.pi)])


def steep_flow() -> RealNVP:
    """A flow with slopes as training makes them: its log-scales overflow between 100 and 300 from the middle."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        flow = RealNVP()
        for net in flow.s:
            for layer in (net[0], net[2], net[4]):
                layer.weight.mul_(60)
    return flow


@pytest.mark.parametrize("off", [1000.0, 1e30, math.nan])
def test_a_point_far_off_leaves_the_flow_the_gradients_of_the_others(off: float) -> None:
    flow, points = steep_flow(), noise(8, 3)
    points[0, 2] = off
    gradients = []
    for given in (points, points[1:]):
        flow.zero_grad()
        torch.autograd.backward(flow.log_prob(given).sum())
        gradients.append([parameter.grad for parameter in flow.parameters()])
    for whole, without in zip(*gradients, strict=True):
        assert whole is not None
        assert bool(whole.isfinite().all())
        torch.testing.assert_close(whole, without)


def test_the_flow_never_computes_in_less_than_float32() -> None:
    flow = wild_flow().float()
    points = noise(10, 3)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low = flow.log_prob(points)
    with torch.no_grad():
        assert torch.equal(low, flow.log_prob(points))
        assert torch.equal(flow.log_prob(points.bfloat16()), flow.log_prob(points.bfloat16().float()))
        assert flow.double().log_prob(points.double()).dtype == torch.float64


# The loss.


def off_by(truth: Targets, error: float, sigma: float) -> Prediction:
    return Prediction(joints_uvd=truth.joints_uvd + error, extras={"sigma": torch.full((2, 21, 3), sigma)})


def test_the_loss_is_that_of_the_definition_and_negative_once_the_spread_is_small(golden: dict[str, Tensor]) -> None:
    model, truth = small(), golden_targets(golden, torch.float32)
    losses = model.loss(off_by(truth, -0.02, 0.01), truth)
    log_phi = model.flow3d.log_prob(torch.full((1, 3), -2.0)).item()
    assert losses["flow"].item() == pytest.approx(63 * (math.log(0.01) - log_phi), rel=1e-4)
    laplace = math.log(0.01 * math.sqrt(2 * math.pi)) + 0.02 / (math.sqrt(2) * 0.01)
    assert losses["laplace"].item() == pytest.approx(63 * laplace, rel=1e-4)
    assert losses["laplace"].item() < 0


def test_invisible_joints_count_unless_they_are_skipped(golden: dict[str, Tensor]) -> None:
    whole = golden_targets(golden, torch.float32)
    visible = torch.ones(2, 21)
    visible[0, 5:] = 0
    truth = replace(whole, joints_vis=visible)
    prediction = off_by(truth, 0.02, 0.01)
    published, skipping = small(), small("skip_invisible=true")
    all_count = {name: value.item() for name, value in published.loss(prediction, whole).items()}
    assert {name: value.item() for name, value in published.loss(prediction, truth).items()} == all_count
    # Every joint has the same error here, so that what is left is a share of the whole.
    for name, value in skipping.loss(prediction, truth).items():
        assert value.item() == pytest.approx(all_count[name] * 26 / 42, rel=1e-4), name


def test_a_skipped_joint_changes_neither_loss_nor_gradients_whatever_it_is(golden: dict[str, Tensor]) -> None:
    model = small("skip_invisible=true")
    visible = torch.ones(2, 21)
    visible[0, 5:] = 0
    truth = replace(golden_targets(golden, torch.float32), joints_vis=visible)
    away = truth.joints_uvd.clone()
    away[0, 5:] = 1e30  # the flow gives it no finite density
    results = []
    for joints_uvd in (truth.joints_uvd, away):
        model.zero_grad()
        prediction = model.train()(Inputs(image=noise(2, 3, 32, 32)))
        loss = total(model.loss(prediction, replace(truth, joints_uvd=joints_uvd)))
        torch.autograd.backward(loss)
        results.append([loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    for first, second in zip(*results, strict=True):
        assert bool(first.isfinite().all())
        assert torch.equal(first, second)


def test_a_batch_without_a_visible_joint_gives_zero_and_finite_gradients_when_skipped(
    golden: dict[str, Tensor],
) -> None:
    model = small("skip_invisible=true").train()
    truth = replace(golden_targets(golden, torch.float32), joints_vis=torch.zeros(2, 21))
    losses = model.loss(model(Inputs(image=noise(2, 3, 32, 32))), truth)
    assert {name: value.item() for name, value in losses.items()} == {"flow": 0, "laplace": 0}
    torch.autograd.backward(total(losses))
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool((parameter.grad == 0).all()), name


def test_a_joint_far_out_of_the_ordinary_does_not_stop_a_run(golden: dict[str, Tensor]) -> None:
    """All gradients stay finite, the affected sample's among them; its flow term is the lowest there is."""
    model = small().train()
    model.flow3d = steep_flow()
    prediction = model(Inputs(image=noise(2, 3, 32, 32)))
    whole = golden_targets(golden, torch.float32)
    losses = {}
    for off in (0.0, 1000.0):  # UVD: 0.4 m, then 400 m
        joints_uvd = whole.joints_uvd.clone()
        joints_uvd[0, 8, 2] += off
        model.zero_grad()
        losses[off] = model.loss(prediction, replace(whole, joints_uvd=joints_uvd))
        torch.autograd.backward(total(losses[off]), retain_graph=True)
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert bool(parameter.grad.isfinite().all()), name
    assert losses[1000.0]["flow"].item() == pytest.approx(losses[0.0]["flow"].item() - 3 * LOWEST / 2, rel=1e-4)
