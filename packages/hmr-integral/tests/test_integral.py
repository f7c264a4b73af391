"""Integral-Pose against the recorded outputs of the published code, by definitions, and as a plugin."""

from __future__ import annotations

import json
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

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.evaluation.evaluate import evaluate
from hmr_core.evaluation.subject import EvaluationSubject
from hmr_core.geometry.camera import project
from hmr_core.nn.decode import decode
from hmr_core.nn.model import Inputs, Prediction
from hmr_core.nn.soft_argmax import normalise_volume, soft_argmax_3d
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import load_recipe, parse_recipe
from hmr_core.testing import check_model
from hmr_core.testing.golden import assert_close, golden_targets, load_golden
from hmr_core.weights.checkpoints import load_checkpoint
from hmr_integral.model import IntegralPose
from hmr_integral.plugin import hmr_models

GOLDEN = Path(__file__).parent / "data/golden"
SPEC: ModelSpec = hmr_models()[0]


RECORD = json.loads((GOLDEN / "integral_resnet50.json").read_text())


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_golden(GOLDEN / "integral_resnet50.npz")


@pytest.fixture
def model(rule: ModuleType) -> IntegralPose:
    recipe = load_recipe(SPEC, "published")
    model = SPEC.build(recipe.model)
    model.load_state_dict(rule.state_dict(RECORD))  # strict: the released names, no more and no fewer
    assert isinstance(model, IntegralPose)
    return model


def test_eval_outputs_match_the_recorded_ones(model: IntegralPose, golden: dict[str, Tensor], rule: ModuleType) -> None:
    model.eval()
    truth = golden_targets(golden, torch.float32)
    inputs = Inputs(image=rule.image(RECORD), intrinsics=truth.intrinsics)
    with torch.no_grad():
        prediction = model(inputs)
    assert prediction.joints_uvd is not None
    assert prediction.confidence is not None
    assert_close(prediction.joints_uvd, golden["out_uvd"], 1e-4)
    assert_close(prediction.confidence, golden["out_uvd_confi"], 1e-4)
    assert_close(prediction.joints_uvd[..., :2] * 224, golden["out_joints_2d"], 1e-4)
    points = decode(prediction, inputs, truth.root, root_joint=0)
    assert points.verts is None
    assert_close(points.joints, golden["out_joints_3d"], 1e-4)
    assert_close(project(points.joints, truth.intrinsics), golden["out_joints_2d"], 1e-4)


def test_training_outputs_losses_and_gradients_match_the_recorded_ones(
    model: IntegralPose, golden: dict[str, Tensor], rule: ModuleType
) -> None:
    model.double().train()
    prediction = model(Inputs(image=rule.image(RECORD).double()))
    assert prediction.joints_uvd is not None
    assert_close(prediction.joints_uvd, golden["out_train_uvd"], 1e-6)
    losses = model.loss(prediction, golden_targets(golden, torch.float64))
    assert losses["uvd"].item() == pytest.approx(RECORD["losses"]["total"], rel=1e-6)
    assert losses["uvd"].item() / 100 == pytest.approx(RECORD["losses"]["uvd_loss"], rel=1e-6)
    torch.autograd.backward(losses["uvd"])
    parameters = dict(model.named_parameters())
    assert set(RECORD["grad_norms"]) <= set(parameters)
    for name, norm in RECORD["grad_norms"].items():
        gradient = parameters[name].grad
        assert gradient is not None, name
        assert float(gradient.norm()) == pytest.approx(norm, rel=1e-6), name


def test_the_released_checkpoint_gives_the_published_pipeline_s_joints(
    tmp_path: Path, mini_pack: Pack, rule: ModuleType, recorded_figures: dict[str, dict[str, Any]]
) -> None:
    path = tmp_path / "IntegralPose.pth.tar"
    torch.save(rule.state_dict(RECORD), path)
    evaluation = evaluate(
        EvaluationSubject(
            spec=SPEC, checkpoint=load_checkpoint(path, SPEC), pack=mini_pack, split="sp0", subset="test"
        ),
        device=torch.device("cpu"),
        batch_size=8,
        workers=0,
    )
    recorded = recorded_figures["integral"]
    joints = np.load(GOLDEN / "e2e_integral_default.npz")["joints"]
    np.testing.assert_allclose(evaluation.predictions.joints, joints, rtol=0, atol=0.05e-3)
    metrics = evaluation.report["metrics"]
    assert metrics["mpjpe_mm"] == pytest.approx(recorded["mpjpe_mm"], abs=0.05)
    assert metrics["pa_mpjpe_mm"] == pytest.approx(recorded["pa_mpjpe_mm"], abs=0.05)
    assert metrics["pck_auc_0_50mm"] == pytest.approx(recorded["pck_auc_0_50mm"], abs=0.001)


def test_a_released_file_with_a_tensor_of_another_shape_is_refused(tmp_path: Path, rule: ModuleType) -> None:
    state = rule.state_dict(RECORD)
    state["pose_head.final_layer.bias"] = torch.zeros(21 * 32)
    torch.save(state, tmp_path / "x.pth.tar")
    with pytest.raises(HmrError, match=r'"integral": pose_head\.final_layer\.bias has shape \(672,\), and .* \(588,\)'):
        load_checkpoint(tmp_path / "x.pth.tar", SPEC)


# The recipe.


@pytest.mark.parametrize("name", sorted(SPEC.recipes))
def test_recipes_write_down_what_they_are(name: str) -> None:
    recipe = load_recipe(SPEC, name)
    assert recipe.summary
    assert parse_recipe(SPEC, tomllib.loads(SPEC.recipes[name].read_text()), source=name) == recipe


def test_an_image_size_that_the_backbone_cannot_halve_five_times_is_refused() -> None:
    with pytest.raises(
        HmrError,
        match=r"image_size must be a multiple of 32 \(the stride of the backbone resnet18\), such as 128, not 100",
    ):
        load_recipe(SPEC, "tiny", ["image_size=100"])


# The parts.


def test_the_contract() -> None:
    assert [point.value for point in entry_points(group="hmr", name="integral")] == ["hmr_integral.plugin"]
    check_model("integral")


@pytest.mark.parametrize("norm", ["sigmoid", "softmax"])
def test_soft_argmax_is_the_expectation_over_the_normalised_volume(norm: Any) -> None:
    logits = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    heat, peak = normalise_volume(logits, norm)
    found = soft_argmax_3d(heat)
    for sample in range(2):
        for joint in range(3):
            volume = logits[sample, joint]
            weights = torch.sigmoid(volume) if norm == "sigmoid" else torch.exp(volume) / torch.exp(volume).sum()
            assert float(peak[sample, joint]) == pytest.approx(float(weights.max()))
            weights = weights / (weights.sum() + 1e-7)
            expected = [0.0, 0.0, 0.0]
            for z in range(4):
                for y in range(5):
                    for x in range(6):
                        weight = float(weights[z, y, x])
                        expected = [e + weight * c for e, c in zip(expected, (x / 6, y / 5, z / 4), strict=True)]
            assert found[sample, joint].tolist() == pytest.approx(expected)


def test_soft_argmax_is_computed_in_float32_under_autocast(golden: dict[str, Tensor]) -> None:
    recipe = load_recipe(SPEC, "tiny")
    model = SPEC.build(recipe.model).eval()
    image = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low = model(Inputs(image=image)).joints_uvd
    with torch.no_grad():
        full = model(Inputs(image=image)).joints_uvd
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, full, atol=0.02, rtol=0)
    assert not torch.equal(low, low.bfloat16().float())  # its values are not those of bfloat16


def test_invisible_joints_do_not_count(golden: dict[str, Tensor], model: IntegralPose) -> None:
    truth = golden_targets(golden, torch.float32)
    prediction = Prediction(joints_uvd=truth.joints_uvd + 1)
    whole = float(model.loss(prediction, replace(truth, joints_vis=torch.ones(2, 21)))["uvd"])
    visible = torch.ones(2, 21)
    visible[0, 5:] = 0
    assert whole == pytest.approx(50)  # 100 * 0.5 * 1^2
    assert float(model.loss(prediction, replace(truth, joints_vis=visible))["uvd"]) == pytest.approx(50 * 26 / 42)


def test_a_small_beta_makes_the_loss_l1(golden: dict[str, Tensor]) -> None:
    model = SPEC.build(load_recipe(SPEC, "tiny", ["loss_beta=1e-6"]).model)
    truth = golden_targets(golden, torch.float32)
    off = Prediction(joints_uvd=truth.joints_uvd + 0.03)
    assert model.loss(off, replace(truth, joints_vis=torch.ones(2, 21)))["uvd"].item() == pytest.approx(3, rel=1e-3)
