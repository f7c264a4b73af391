"""Integral-Pose against the recorded outputs of the published code, by definitions, and as a plugin."""

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

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.evaluation.evaluate import evaluate
from hmr_core.evaluation.subject import EvaluationSubject
from hmr_core.geometry.camera import project
from hmr_core.nn.decode import decode
from hmr_core.nn.model import Inputs, Prediction
from hmr_core.nn.resnet import FrozenBatchNorm2d, ResNet
from hmr_core.nn.resnet_config import ResNetConfig
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
    with pytest.raises(HmrError, match=r"image_size must be a multiple of 32 \(the backbone's stride\), not 100"):
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


@pytest.mark.parametrize(
    ("depth", "parameters"),
    # torchvision's own counts, less the classifier (512 or 2048 times 1000, and 1000).
    [(18, 11_689_512 - 513_000), (34, 21_797_672 - 513_000), (50, 25_557_032 - 2_049_000),
     (101, 44_549_160 - 2_049_000), (152, 60_192_808 - 2_049_000)],
)  # fmt: skip
def test_backbones_have_torchvision_s_size_and_stride(depth: Any, parameters: int) -> None:
    with torch.device("meta"):
        backbone = ResNet(ResNetConfig(depth=depth))
        features = backbone(torch.empty(1, 3, 64, 96))
    assert sum(p.numel() for p in backbone.parameters()) == parameters
    assert features.shape == (1, backbone.channels, 2, 3)


def test_convolutions_begin_with_the_spread_of_he_fan_out() -> None:
    backbone = ResNet(ResNetConfig(depth=18))
    for convolution in (backbone.conv1, backbone.layer1[0].conv1, backbone.layer2[0].downsample[0]):
        outputs, _, height, width = convolution.weight.shape
        assert float(convolution.weight.detach().std()) == pytest.approx(
            (2 / (outputs * height * width)) ** 0.5, rel=0.05
        )


def test_batch_norm_freezes_as_asked() -> None:
    def frozen(mode: Any) -> list[str]:
        with torch.device("meta"):
            backbone = ResNet(ResNetConfig(depth=50, freeze_batch_norm=mode))
        return [name for name, module in backbone.named_modules() if isinstance(module, FrozenBatchNorm2d)]

    first = ["bn1"] + [
        f"layer{stage}.0.{name}" for stage in (1, 2, 3, 4) for name in ("bn1", "bn2", "bn3", "downsample.1")
    ]
    assert frozen("none") == []
    assert sorted(frozen("first")) == sorted(first)
    assert len(frozen("all")) == 53


def test_a_frozen_batch_norm_never_changes() -> None:
    norm = FrozenBatchNorm2d(4)
    norm.running_mean += 0.5
    norm.weight *= 2
    norm.train()
    image = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(norm(image), (image - 0.5) / (1 + 1e-5) ** 0.5 * 2)
    assert list(norm.parameters()) == []
    assert torch.equal(norm.running_mean, torch.full((4,), 0.5))


# Weights to start from.


def imagenet_like(depth: Any = 18) -> dict[str, Tensor]:
    """A state dict as torchvision's files have it: nothing frozen, a classifier, values of our own."""
    state = {
        name: torch.full_like(value, 0.25) for name, value in ResNet(ResNetConfig(depth=depth)).state_dict().items()
    }
    return {**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize("freeze", ["none", "first", "all"])
def test_an_imagenet_file_loads_into_the_backbone(tmp_path: Path, freeze: str) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(imagenet_like(), path)
    sets = [f"backbone.weights={path}", f"backbone.freeze_batch_norm={freeze}", "backbone.width=64"]
    model = SPEC.build(load_recipe(SPEC, "tiny", sets).model)
    model.pretrain()
    backbone = {k: v for k, v in model.state_dict().items() if k.startswith("backbone.") and "num_batches" not in k}
    assert all(bool((value == 0.25).all()) for value in backbone.values())


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, r'no such file\. Valid for backbone\.weights: "random", "imagenet", or a file of torchvision\'s'),
        (
            b"not a file of weights",
            r"it is no file of torch's\. Valid for backbone\.weights: \"random\", \"imagenet\"",
        ),
        (b"", r"it is empty\. Valid for backbone"),
        (b"PK\x03\x04 and no more", r"it is a damaged or cut off zip file, as torch's are: get it again"),
        (b"\x80\x02}q\x00", r"it is no file of torch's, or a damaged one"),
        (
            b"\x20" + bytes(7) + b"{",
            r"cannot be read as safetensors: .*\. It is cut off or damaged: copy it",
        ),
        (["a list"], r"does not hold a state dict \(names to tensors\).*: it holds a list\."),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7)}, r"does not fit this backbone: it lacks bn1\.bias and 98 more"),
        ({**imagenet_like(), "extra": torch.zeros(1)}, r"it has the unknown extra\. Is backbone\.depth the file's\?"),
        ({**imagenet_like(), "conv1.weight": torch.zeros(32, 3, 7, 7)}, r"it has another shape of conv1\.weight\."),
        (
            {**imagenet_like(), "conv1.weight": torch.full((64, 3, 7, 7), math.nan)},
            r"holds numbers that are not finite, first in conv1\.weight\. Get it again",
        ),
    ],
    ids=["missing", "garbage", "empty", "zip", "pickle", "safetensors", "list", "part", "extra", "shape", "nan"],
)
def test_weights_that_do_not_fit_the_backbone_are_refused(tmp_path: Path, content: Any, text: str) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    backbone = ResNet(ResNetConfig(depth=18, weights=str(path)))
    with pytest.raises(HmrError, match=text):
        backbone.load_pretrained()


def test_imagenet_weights_that_cannot_be_fetched_name_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, **options: Any) -> dict[str, Tensor]:
        assert url == "https://download.pytorch.org/models/resnet18-5c106cde.pth"
        assert options["check_hash"]
        assert options["weights_only"]
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    with pytest.raises(HmrError, match=r"resnet18-5c106cde\.pth could not be fetched: no route to host.*weights=FILE"):
        ResNet(ResNetConfig(depth=18, weights="imagenet")).load_pretrained()


def test_fetched_imagenet_weights_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **options: imagenet_like())
    backbone = ResNet(ResNetConfig(depth=18, weights="imagenet"))
    backbone.load_pretrained()
    assert bool((backbone.conv1.weight == 0.25).all())
    with pytest.raises(HmrError, match="no ImageNet weights for a backbone of width 32, only for 64"):
        ResNet(ResNetConfig(depth=18, width=32, weights="imagenet")).load_pretrained()
