"""check_model passes a model that keeps the contract, and names the rule that one breaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pydantic import ConfigDict, Field, field_serializer
from torch import Tensor, nn
from torch.nn import functional as F

from hmr_core.config import ModelConfig
from hmr_core.nn.model import Inputs, PoseModel, Prediction, Targets
from hmr_core.plugins import ModelSpec
from hmr_core.testing import check_import, check_model, check_spec

RECIPE = """
[model]
image_size = 32
[train]
epochs = 1
batch_size = 4
learning_rate = 3e-3
"""


class Config(ModelConfig):
    width: int = 8


class Good(PoseModel):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, config.width, 3, 2, 1), nn.BatchNorm2d(config.width), nn.ReLU(), nn.AdaptiveAvgPool2d(4)
        )
        self.head = nn.Linear(config.width * 16, 63)

    def forward(self, inputs: Inputs) -> Prediction:
        assert inputs.image is not None
        return Prediction(joints_uvd=self.head(self.backbone(inputs.image).flatten(1)).view(-1, 21, 3).sigmoid())

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        assert prediction.joints_uvd is not None
        visible = targets.joints_vis[..., None]
        return {"uvd": F.mse_loss(prediction.joints_uvd * visible, targets.joints_uvd * visible)}


def write_recipe(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


def make_spec(
    folder: Path,
    build: Callable[[Any], Any] = Good,
    *,
    config: Any = Config,
    recipe: str = RECIPE,
    consumes: Literal["image", "joints"] = "image",
) -> ModelSpec:
    recipes = {"tiny": write_recipe(folder, recipe)}
    return ModelSpec(
        name="toy",
        summary="",
        config=config,
        recipes=recipes,
        root_joint=9,
        build=build,
        consumes=consumes,
        needs_hand=consumes == "joints",
    )


def changed(prediction: Prediction, **arrays: Any) -> Prediction:
    """A prediction with arrays that its own shape checks would not let through (users do not run them)."""
    for name, array in arrays.items():
        object.__setattr__(prediction, name, array)
    return prediction


def test_a_good_model_passes(tmp_path: Path) -> None:
    check_spec(make_spec(tmp_path))


def test_checking_a_model_leaves_torchs_generator_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    check_spec(make_spec(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)


class OfJoints(PoseModel):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(63, 64), nn.ReLU(), nn.Linear(64, 58))

    def forward(self, inputs: Inputs) -> Prediction:
        assert inputs.joints is not None
        local = (inputs.joints - inputs.joints[:, :1]) * 10
        out = self.net(local.flatten(1))
        return Prediction(rotations=out[:, :48].view(-1, 16, 3), betas=out[:, 48:])

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        assert prediction.rotations is not None
        assert prediction.betas is not None
        target = (targets.joints - targets.root[:, None])[:, :16] * 10
        return {"rotations": F.mse_loss(prediction.rotations, target), "betas": prediction.betas.square().mean()}


def test_a_good_model_of_joints_passes(tmp_path: Path) -> None:
    check_spec(make_spec(tmp_path, OfJoints, consumes="joints"))


class WithMesh(Good):
    """A mesh and a confidence besides, and a loss that goes below zero, as log-likelihoods do."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.mesh = nn.Linear(config.width * 16, 778 * 3)
        self.sigma = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Inputs) -> Prediction:
        assert inputs.image is not None
        features = self.backbone(inputs.image).flatten(1)
        joints = self.head(features).view(-1, 21, 3).sigmoid()
        verts = self.mesh(features).view(-1, 778, 3).sigmoid()
        return Prediction(joints_uvd=joints, verts_uvd=verts, confidence=torch.ones_like(joints[..., 0]))

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        assert prediction.verts_uvd is not None
        mesh = F.mse_loss(prediction.verts_uvd, targets.verts_uvd)
        joints = super().loss(prediction, targets)["uvd"]
        return {"nll": joints * torch.exp(-self.sigma * 9) + self.sigma - 0.1, "mesh": mesh}


def test_a_good_model_of_a_mesh_with_a_negative_loss_passes(tmp_path: Path) -> None:
    check_spec(make_spec(tmp_path, WithMesh))


# Models that break one rule each.


class ReturnsATensor(Good):
    def forward(self, inputs: Inputs) -> Any:
        return super().forward(inputs).joints_uvd


class NoJoints(Good):
    def forward(self, inputs: Inputs) -> Prediction:
        return changed(super().forward(inputs), joints_uvd=None)


class WrongShape(Good):
    def forward(self, inputs: Inputs) -> Prediction:
        prediction = super().forward(inputs)
        assert prediction.joints_uvd is not None
        return changed(prediction, joints_uvd=prediction.joints_uvd[..., :2])


class Double(Good):
    def forward(self, inputs: Inputs) -> Prediction:
        prediction = super().forward(inputs)
        assert prediction.joints_uvd is not None
        return changed(prediction, joints_uvd=prediction.joints_uvd.double())


class NotFinite(Good):
    def forward(self, inputs: Inputs) -> Prediction:
        prediction = super().forward(inputs)
        assert prediction.joints_uvd is not None
        return changed(prediction, joints_uvd=prediction.joints_uvd / 0)


class Overconfident(Good):
    def forward(self, inputs: Inputs) -> Prediction:
        return changed(super().forward(inputs), confidence=torch.full((len(inputs.image), 21), 1.5))  # type: ignore[arg-type]


class LossIsATensor(Good):
    def loss(self, prediction: Prediction, targets: Targets) -> Any:
        return super().loss(prediction, targets)["uvd"]


class LossOfEachSample(Good):
    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        assert prediction.joints_uvd is not None
        return {"uvd": (prediction.joints_uvd - targets.joints_uvd).square().mean((1, 2))}


class DividesByTheVisible(Good):
    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        return {"uvd": super().loss(prediction, targets)["uvd"] / targets.joints_vis.sum()}


class Detached(Good):
    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in super().loss(prediction, targets).items()}


class UnusedLayer(Good):
    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.unused = nn.Linear(2, 2)


class WildGradient(Good):
    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.factor = nn.Parameter(torch.zeros(()))

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        return {**super().loss(prediction, targets), "root": self.factor.abs().sqrt()}


_calls = 0


class OwnRandomness(Good):
    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        global _calls
        _calls += 1
        return {name: value * (1 + _calls / 1000) for name, value in super().loss(prediction, targets).items()}


class LearnsNothing(Good):
    def forward(self, inputs: Inputs) -> Prediction:
        prediction = super().forward(inputs)
        assert prediction.joints_uvd is not None
        return Prediction(joints_uvd=0.5 + 1e-4 * prediction.joints_uvd)


class NormalisesOverTheBatch(Good):
    def forward(self, inputs: Inputs) -> Prediction:
        prediction = super().forward(inputs)
        assert prediction.joints_uvd is not None
        return Prediction(joints_uvd=prediction.joints_uvd + 0.1 * prediction.joints_uvd.mean(0))


class DependsOnTheOrder(Good):
    def forward(self, inputs: Inputs) -> Prediction:
        prediction = super().forward(inputs)
        assert prediction.joints_uvd is not None
        rank = torch.arange(len(prediction.joints_uvd)).view(-1, 1, 1)
        return Prediction(joints_uvd=prediction.joints_uvd + 0.01 * rank)


class DropoutInEval(Good):
    def forward(self, inputs: Inputs) -> Prediction:
        prediction = super().forward(inputs)
        assert prediction.joints_uvd is not None
        return Prediction(joints_uvd=F.dropout(prediction.joints_uvd, 0.01, training=True))


class UnsavedTensor(Good):
    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.offset = torch.rand(21, 3)

    def forward(self, inputs: Inputs) -> Prediction:
        prediction = super().forward(inputs)
        assert prediction.joints_uvd is not None
        return Prediction(joints_uvd=prediction.joints_uvd + self.offset)


class ComputesFromParameters(Good):
    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.register_buffer("offset", self.head.bias.detach().view(21, 3).clone(), persistent=False)

    def forward(self, inputs: Inputs) -> Prediction:
        prediction = super().forward(inputs)
        assert prediction.joints_uvd is not None
        assert isinstance(self.offset, Tensor)
        return Prediction(joints_uvd=prediction.joints_uvd + self.offset)


class SharedWeights(Good):
    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.twin = self.head


_width = 0


class GrowsWithEveryBuild(Good):
    def __init__(self, config: Config) -> None:
        global _width
        _width += 1
        super().__init__(Config(image_size=32, width=8 + (_width if torch.initial_seed() == 1 else 0)))


class Frozen(Good):
    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.requires_grad_(False)


BROKEN: Mapping[type[PoseModel], str] = {
    Frozen: "it has no trainable parameter",
    ReturnsATensor: "forward returns a Tensor, not a Prediction",
    NoJoints: "it gives neither joints_uvd nor rotations and betas, so that it has no joints",
    WrongShape: "Prediction.joints_uvd has shape (4, 21, 2), not (4, 21, 3)",
    Double: "Prediction.joints_uvd is torch.float64, not torch.float32",
    NotFinite: "Prediction.joints_uvd is not finite",
    Overconfident: "Prediction.confidence leaves 0..1",
    LossIsATensor: "loss returns Tensor tensor(",
    LossOfEachSample: 'the loss "uvd" is no scalar tensor ((4,)): the trainer could not sum it',
    DividesByTheVisible: 'the loss "uvd" is nan for a batch in which no point is visible',
    Detached: "its losses do not depend on its parameters (is something detached?)",
    UnusedLayer: "the loss gives no gradient for unused.weight and 1 more. It would never learn",
    WildGradient: "the gradient of factor is not finite at the first step",
    OwnRandomness: "the same seed gives other losses",
    LearnsNothing: "it cannot learn one batch by heart: 60 steps of Adam at the recipe's rate (0.003) took the loss",
    NormalisesOverTheBatch: "in eval mode joints_uvd of a sample depends on the other samples of its batch",
    DependsOnTheOrder: "in eval mode joints_uvd of a sample depends on the order of its batch",
    DropoutInEval: "in eval mode joints_uvd of a sample depends on the order of its batch",
    UnsavedTensor: "after saving and loading, joints_uvd differs by",
    ComputesFromParameters: "after saving and loading, joints_uvd differs by nan: something that it depends on is "
    "neither in its config nor in its state dict. Make it a parameter, or a buffer (register_buffer); and compute "
    "nothing from parameters at build(), which leaves them uninitialised when weights are loaded next",
    SharedWeights: "its state dict cannot be saved as safetensors, as checkpoints are",
    GrowsWithEveryBuild: "its own state dict does not load into a model rebuilt from its config",
}


@pytest.mark.parametrize("model", BROKEN, ids=lambda model: model.__name__)
def test_a_model_that_breaks_a_rule(tmp_path: Path, model: type[PoseModel]) -> None:
    with pytest.raises(AssertionError) as caught:
        check_spec(make_spec(tmp_path, model))
    assert str(caught.value).startswith('model "toy": ')
    assert BROKEN[model] in str(caught.value)


def test_build_that_gives_no_hand_model(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"build\(config\) returns a Linear, not a subclass of .*PoseModel\.$"):
        check_spec(make_spec(tmp_path, lambda config: nn.Linear(2, 2)))


class TakesAnything(Config):
    model_config = ConfigDict(extra="allow")


class NotFrozen(Config):
    model_config = ConfigDict(frozen=False)


class LosesAKey(Config):
    secret: int = Field(3, exclude=True)


class ChangesAKey(Config):
    @field_serializer("width")
    def more(self, width: int) -> int:
        return width + 1


@pytest.mark.parametrize(
    ("config", "recipe", "text"),
    [
        (dict, RECIPE, "its config is <class 'dict'>, not a subclass of hmr_core.config.ModelConfig"),
        (TakesAnything, RECIPE, "its config class takes unknown keys"),
        (NotFrozen, RECIPE, "its config class is not frozen"),
        (LosesAKey, RECIPE.replace("size = 32", "size = 32\nsecret = 4"), "is not the same after a trip through JSON"),
        (ChangesAKey, RECIPE, "is not the same after a trip through JSON"),
        (Config, RECIPE.replace("image_size", "img_size"), "Nobody could train with it."),
        (Config, "[model", "cannot be read: "),
    ],
)
def test_a_broken_config_or_recipe(tmp_path: Path, config: type, recipe: str, text: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_spec(make_spec(tmp_path, config=config, recipe=recipe))
    assert text in str(caught.value)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match='it has no recipe "small", only: tiny'):
        check_spec(make_spec(tmp_path), recipe="small")


def test_a_model_that_is_not_installed() -> None:
    with pytest.raises(AssertionError, match='unknown model "no-such-model"'):
        check_model("no-such-model")


PLUGIN = """
from pathlib import Path
from hmr_core.plugins import ModelSpec, hookimpl

@hookimpl
def hmr_models():
    from hmr_core.config import ModelConfig
    return [ModelSpec(name="toy", summary="", config=ModelConfig, recipes={}, root_joint=9, build=None)]
"""


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (PLUGIN, ""),
        ("import torch\n" + PLUGIN, 'importing the module of plugin "x" imports torch'),
        (PLUGIN.replace("    return", "    import torch\n    return"), 'hmr_models() of plugin "x" imports torch'),
    ],
)
def test_torch_may_not_be_imported(
    tmp_path: Path, fakes: Any, monkeypatch: pytest.MonkeyPatch, code: str, text: str
) -> None:
    fakes.install(tmp_path, "x", code)
    monkeypatch.syspath_prepend(tmp_path)
    registry = fakes.registry(fakes.plugin("x", hmr_models=fakes.models("toy")))
    if not text:
        check_import("model", "toy", registry)
        return
    with pytest.raises(AssertionError) as caught:
        check_import("model", "toy", registry)
    assert text in str(caught.value)
