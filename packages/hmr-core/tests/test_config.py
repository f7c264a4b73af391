"""Recipes and their overrides, checked by name and type."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from hmr_core.config import GivenBy, ModelConfig, OnlyWith, Section, configure, section_options
from hmr_core.data.augment import sample_generator
from hmr_core.data.loading import epoch_order
from hmr_core.errors import HmrError, UsageError
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import (
    LARGEST_SEED,
    MOST_EPOCHS,
    TrainConfig,
    changed_options,
    load_recipe,
    options,
    override,
    parse_recipe,
)


class Backbone(Section):
    depth: int = 50
    weights: str = "random"


class Fast(Section):
    steps: int = 1


class Kinds(Section):
    only_with = (OnlyWith("fast", "kind", ("fast",)),)
    kind: Literal["slow", "fast"] = "slow"
    fast: Fast = Fast()


class Config(ModelConfig):
    backbone: Backbone = Backbone()
    sizes: tuple[int, ...] = (1, 2)
    fit: Kinds = Kinds()


@pytest.fixture
def spec(small_spec: ModelSpec) -> ModelSpec:
    return replace(small_spec, config=Config)


def test_overrides_reach_every_section_and_model_keys_need_no_prefix(spec: ModelSpec) -> None:
    sets = ["backbone.weights=some/file.pth", "model.backbone.depth=18", "train.learning_rate=3e-4", "augment.scale=0"]
    recipe = load_recipe(spec, "tiny", [*sets, "sizes=[3, 4, 5]", "train.clip_norm=0.5", "train.subset=train+val"])
    assert recipe.model.backbone == Backbone(depth=18, weights="some/file.pth")
    assert recipe.model.sizes == (3, 4, 5)
    assert recipe.train.learning_rate == 3e-4
    assert recipe.train.clip_norm == 0.5
    assert recipe.train.subset == "train+val"
    assert recipe.augment.scale == 0
    assert override(spec, recipe, ["train.clip_norm=null"]).train.clip_norm is None


def test_a_misspelt_override_asks_for_the_closest(spec: ModelSpec) -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe(spec, "tiny", ["train.learing_rate=1"])
    assert str(caught.value) == (
        'unknown option "train.learing_rate". Did you mean "train.learning_rate" or "train.final_learning_rate"? '
        "`hmr models small` lists what set takes."
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("train.epochs=many", "Input should be a valid integer"),
        ("train.epochs=1.5", "Input should be a valid integer"),
        ("train.epochs=true", "Input should be a valid integer"),
        ("train.epochs=0", "Input should be greater than 0"),
        ("train.learning_rate=inf", "Input should be a finite number"),
        ("train.epochs=2026-11-29", "Input should be a valid integer"),
        ("train.epochs=3 # three", "Input should be a valid integer"),
        ("train.epochs=1000001", "Input should be less than or equal to 1000000"),
        ("train.learning_rate=10:00:00", "Input should be a valid number"),
        ("train.schedule=2026-11-29", "Input should be 'multistep' or 'cosine'"),
        ("train.seed=9223372036854775808", "Input should be less than or equal to 9223372036854775807"),
        (f"train.seed={'9' * 5000}", "Input should be a valid integer"),
        ("train.milestones=[-1]", "Input should be greater than 0"),
        ("train.milestones=[5, 3]", "milestones are epochs in rising order, such as [30, 60]"),
        ("train.milestones=[3, 3]", "milestones are epochs in rising order, such as [30, 60]"),
        ("image_size=100000", "Input should be less than or equal to 4096"),
        ("sizes=[2026-11-29]", "Input should be a valid integer"),
        ("train.schedule=sometimes", "Input should be 'multistep' or 'cosine'"),
    ],
)
def test_an_override_of_the_wrong_type_says_what_is_valid(spec: ModelSpec, text: str, reason: str) -> None:
    key, value = text.split("=", 1)
    with pytest.raises(UsageError) as caught:
        load_recipe(spec, "tiny", [text])
    assert str(caught.value).startswith(f'{text}: "{value}" is not valid for {key}: {reason}')
    assert "`hmr models small` lists the options with their types." in str(caught.value)


def test_a_value_that_is_not_utf8_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(UsageError, match=r"^backbone\.weights=\.\.\.: the value is not UTF-8"):
        load_recipe(spec, "tiny", ["backbone.weights=w_\udcfc.pth"])


def test_the_largest_seed_is_one_to_every_generator_after_every_epoch() -> None:
    train = TrainConfig(epochs=MOST_EPOCHS, batch_size=1, seed=LARGEST_SEED)
    for epoch in (1, train.epochs):
        torch.Generator().manual_seed(train.seed + epoch)
        assert sorted(epoch_order(np.arange(3), train.seed, epoch)) == [0, 1, 2]
        sample_generator(train.seed, epoch, "a").random()


def test_an_override_without_an_effect_is_refused(spec: ModelSpec) -> None:
    cosine = ["train.schedule=cosine"]
    refused = {
        ("train.milestones=[2]", *cosine): r"train\.milestones=\[2\]: train\.milestones has no effect where "
        r"train\.schedule is cosine\. Set train\.schedule=multistep, too, or leave train\.milestones out\.$",
        ("train.final_learning_rate=1e-5",): r"where train\.schedule is multistep\. Set train\.schedule=cosine, too",
        ('train.freeze=["body"]',): r"train\.freeze has no effect where train\.freeze_epochs is 0\. Set that, too",
        ("train.freeze_epochs=2",): r"train\.freeze_epochs has no effect where train\.freeze is \[\]\. Set that, too",
        ("train.patience=2", "train.subset=train+val"): r"^train\.patience=2: train\.patience has no effect where "
        r"train\.subset is train\+val\. Set train\.subset=train, too, or leave train\.patience out\.$",
        (*cosine, "train.gamma=0.5"): r"train\.gamma has no effect where train\.schedule is cosine\.",
        ("train.gamma=0.5",): r"^train\.gamma=0\.5: train\.gamma has no effect where train\.milestones is \[\]\. "
        r"Set that, too, or leave train\.gamma out\.$",
        ("augment.occlusion_area=0.3", "augment.occlusion_probability=0"): r"where augment\.occlusion_probability is 0",
        ("fit.fast.steps=3",): r"^fit\.fast\.steps=3: fit\.fast\.steps has no effect where fit\.kind is slow\. "
        r"Set fit\.kind=fast, too, or",
    }
    for sets, message in refused.items():
        with pytest.raises(UsageError, match=message):
            load_recipe(spec, "tiny", sets)
    load_recipe(spec, "tiny", ["train.milestones=[2]", "train.gamma=0.5"])
    load_recipe(spec, "tiny", ["fit.fast.steps=3", "fit.kind=fast"])
    # What is off needs nothing else, and a recipe may hold what has no effect just now.
    load_recipe(
        spec, "tiny", [*cosine, "train.milestones=[]", "augment.rotation_deg=0", "augment.rotation_probability=0"]
    )
    with_milestones = load_recipe(spec, "tiny", ["train.milestones=[2]"])
    assert override(spec, with_milestones, cosine).train.milestones == (2,)


def test_an_override_without_a_value_shows_the_form(spec: ModelSpec) -> None:
    with pytest.raises(UsageError, match=r'^"train.epochs" is not key=value\. set takes key=value, such as train\.'):
        load_recipe(spec, "tiny", ["train.epochs"])


def test_an_unknown_recipe_lists_the_valid_ones(spec: ModelSpec) -> None:
    with pytest.raises(
        UsageError, match=r'unknown recipe of small "tinny"\. Did you mean "tiny"\? Valid: published, tiny'
    ):
        load_recipe(spec, "tinny")
    with pytest.raises(
        UsageError, match=r'recipe of small "published".* Valid: tiny. Where no recipe is given, it is published, '
    ):
        load_recipe(replace(spec, recipes={"tiny": spec.recipes["tiny"]}), "published")


def test_a_recipe_with_an_unknown_key_is_refused_by_name(spec: ModelSpec, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[model]\nimage_size = 32\n[train]\nepochs = 1\nbatch_size = 2\nspeed = 3\n")
    with pytest.raises(HmrError, match=r"recipe bad of small \(.*bad\.toml\) is not valid: train\.speed: Extra inputs"):
        load_recipe(replace(spec, recipes={"bad": path}), "bad")


def test_a_recipe_with_a_date_for_a_text_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[model]\nimage_size = 32\nbackbone.weights = 2026-11-29\n[train]\nepochs = 1\nbatch_size = 2\n")
    with pytest.raises(HmrError, match=r"bad\.toml\) is not valid: backbone\.weights: Input should be a valid string"):
        load_recipe(replace(spec, recipes={"bad": path}), "bad")


def test_a_recipe_that_is_no_toml_is_an_error_with_its_path(spec: ModelSpec, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[model")
    with pytest.raises(HmrError, match=r"recipe bad of small \(.*bad\.toml\) cannot be read"):
        load_recipe(replace(spec, recipes={"bad": path}), "bad")


def test_a_recipe_survives_a_round_trip(spec: ModelSpec) -> None:
    recipe = load_recipe(spec, "tiny", ["sizes=[7]", "train.milestones=[3, 4]"])
    assert parse_recipe(spec, recipe.model_dump(mode="json"), source="itself") == recipe


def test_options_are_named_as_set_takes_them(spec: ModelSpec) -> None:
    names = options(spec)
    assert {"image_size", "backbone.depth", "sizes", "data.bbox_expand", "augment.scale", "train.seed"} <= set(names)


class PairConfig(Section):
    low: int = 0
    high: int = 9

    @model_validator(mode="after")
    def _ordered(self) -> PairConfig:
        if self.low > self.high:
            raise PydanticCustomError("order", "low is above high")
        return self


def test_options_go_together_when_all_of_them_are_set() -> None:
    def made(*overrides: str) -> PairConfig:
        return configure(PairConfig, {}, overrides, GivenBy("solver_set", "hmr solvers x", "low=3"))

    assert made("low=20", "high=30") == made("high=30", "low=20") == PairConfig(low=20, high=30)
    for others in ([], ["high=30"]):  # what is given next is not to blame
        with pytest.raises(UsageError, match=r"^low=40: low is above high\.$"):
            made("low=40", *others)
    with pytest.raises(UsageError, match=r'^low=x: "x" is not valid for low: Input should be'):
        made("low=x", "high=30")


def test_options_of_training_go_together_when_all_of_them_are_set(spec: ModelSpec) -> None:
    refused = {
        ("train.clip_norm=1", "train.clip_global_norm=1"): r"^train\.clip_global_norm=1: train\.clip_norm and "
        r"train\.clip_global_norm exclude each other: set one of them to null\.$",
        ("train.schedule=cosine", "train.final_learning_rate=0.1"): r"^train\.final_learning_rate=0\.1: "
        r"train\.final_learning_rate \(0\.1\) is not below train\.learning_rate \(0\.01\)\.$",
        ("train.batch_size=12", "train.grad_accum=5"): r"^train\.grad_accum=5: a batch of 12 has no 5 equal parts; "
        r"train\.grad_accum may be 1, 2, 3, 4, 6, 12\.$",
    }
    for sets, message in refused.items():
        with pytest.raises(UsageError, match=message):
            load_recipe(spec, "tiny", sets)
    together = ["train.grad_accum=5", "train.clip_norm=1", "train.clip_global_norm=2", "train.clip_norm=null"]
    train = load_recipe(spec, "tiny", [*together, "train.batch_size=15"]).train
    assert (train.grad_accum, train.clip_norm, train.clip_global_norm) == (5, None, 2)


class PriorConfig(Section):
    pose: float = 1


class FitConfig(Section):
    kind: Literal["slow", "fast"] = "slow"
    steps: int | None = Field(None, gt=0)
    weights: PriorConfig = PriorConfig()


def test_a_section_of_its_own_takes_overrides_as_a_recipe_does() -> None:
    def made(*overrides: str, **values: Any) -> FitConfig:
        return configure(FitConfig, values, overrides, GivenBy("solver_set", "hmr solvers x", "steps=3"))

    assert made(kind="fast") == FitConfig(kind="fast")
    assert made("steps=3", "weights.pose=2", "kind=slow", kind="fast") == FitConfig(
        steps=3, weights=PriorConfig(pose=2)
    )
    assert made("steps=null", steps=5).steps is None
    bad = {
        "steps": r'^"steps" is not key=value\. solver_set takes key=value, such as steps=3\.$',
        "step=3": r'^unknown option "step"\. Did you mean "steps"\? `hmr solvers x` lists what solver_set takes\.$',
        "weights.poses=3": r'unknown option "weights\.poses"\. Did you mean "weights\.pose"\?',
        "steps=0": r'^steps=0: "0" is not valid for steps: Input should be greater than 0\.',
        'steps="3"': r'""3"" is not valid for steps: Input should be a valid integer\.',
        "kind=quick": r"""is not valid for kind: Input should be 'slow' or 'fast'\.""",
    }
    for text, message in bad.items():
        with pytest.raises(UsageError, match=message):
            made(text)
    with pytest.raises(ValidationError, match="kind"):
        made(kind="quick")
    assert list(section_options(FitConfig)) == ["kind", "steps", "weights.pose"]


def test_options_that_make_another_model_are_told(spec: ModelSpec) -> None:
    recipe = load_recipe(spec, "tiny")
    sets = ["backbone.depth=14", "data.bbox_expand=1.2", "train.epochs=7", "augment.color=0"]
    changed = load_recipe(spec, "tiny", sets)
    assert changed_options(spec, recipe, recipe) == []
    assert changed_options(spec, changed, recipe) == ["backbone.depth=14", "data.bbox_expand=1.2"]
