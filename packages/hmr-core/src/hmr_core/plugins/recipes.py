"""Recipes: what a model is, what data it sees and how it trains, as frozen records that refuse unknown keys.

A recipe is a TOML file in a plugin with the sections [model], [data], [augment] and [train]. An override `key=value`
changes one value; a key that does not begin with the name of a section is a key of [model]. An override must have an
effect; a recipe may hold values that have none at the moment (see `OnlyWith`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import pairwise
from operator import getitem
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt, SerializeAsAny, ValidationError, field_validator, model_validator

from hmr_core.config import GivenBy, OnlyWith, OptionPlace, Section, apply_overrides, first_problem, option_fields
from hmr_core.errors import HmrError, Option, unknown_name
from hmr_core.files import read_bytes
from hmr_core.option_text import json_text, value_text
from hmr_core.plugins.backbones import settle_backbones
from hmr_core.shell import command_line

if TYPE_CHECKING:
    from hmr_core.plugins.specs import ModelSpec

MOST_EPOCHS = 1_000_000
LARGEST_SEED = 2**63 - 1
"""TOML's largest integer. PyTorch takes seeds below 2**64, and an epoch's seed is the seed plus the epoch."""


class DataConfig(Section):
    """The crop that a model is trained and evaluated on."""

    bbox_expand: float = Field(1.7, gt=0, le=30, description="side of the crop over the longer side of the joints' box")


class AugmentConfig(Section):
    """Augmentation of training samples, as published; all of it is off at 0."""

    only_with = (
        OnlyWith("rotation_deg", "rotation_probability"),
        OnlyWith("rotation_probability", "rotation_deg"),
        OnlyWith("occlusion_area", "occlusion_probability"),
        OnlyWith("occlusion_probability", "occlusion_area"),
    )

    scale: float = Field(0.125, ge=0, lt=1, description="standard deviation and bound of the crop's scale factor")
    rotation_deg: float = Field(
        60, ge=0, le=90, description="standard deviation of the rotation; clipped at twice that"
    )
    rotation_probability: float = Field(1, ge=0, le=1, description="share of the samples that are rotated")
    color: float = Field(0.3, ge=0, lt=1, description="each channel is multiplied by a factor within 1 -+ color")
    occlusion_probability: float = Field(0.1, ge=0, le=1, description="share of the samples with a rectangle of noise")
    occlusion_area: float = Field(0.2, ge=0, le=1, description="largest area of the rectangle, over the box's area")


class JointDataConfig(Section):
    """The joints that a model of joints is evaluated on: the annotated ones, with noise if asked for."""

    noise_mm: float = Field(0, ge=0, le=1000, description="standard deviation of the given joints' noise on each axis")


class JointAugmentConfig(Section):
    """Augmentation of training samples of a model of joints; all of it is off at 0."""

    rotation_deg: float = Field(
        40, ge=0, le=180, description="standard deviation of the angle by which the hand is turned, about any axis"
    )
    scale: float = Field(0.1, ge=0, lt=1, description="standard deviation and bound of the hand's scale factor")
    noise_mm: float = Field(
        10, ge=0, le=1000, description="each sample's joints get noise on each axis, of a level drawn up to this"
    )
    sampled: float = Field(
        0.5, ge=0, le=1, description="share of samples whose pose and shape are drawn from the hand model instead"
    )


class TrainConfig(Section):
    """How a model is trained: the optimizer, its rate, what is clipped, averaged, frozen, and in which precision."""

    only_with = (
        OnlyWith("milestones", "schedule", ("multistep",)),
        OnlyWith("gamma", "schedule", ("multistep",)),
        OnlyWith("gamma", "milestones"),
        OnlyWith("final_learning_rate", "schedule", ("cosine",)),
        OnlyWith("freeze", "freeze_epochs"),
        OnlyWith("freeze_epochs", "freeze"),
        OnlyWith("patience", "subset", ("train",)),
    )

    subset: Literal["train", "train+val"] = Field("train", description="what to train on; never test")
    epochs: int = Field(gt=0, le=MOST_EPOCHS, description="passes over the training subset")
    batch_size: int = Field(
        gt=0, description="samples in a step, those of all processes together; a last partial batch is dropped"
    )
    samples_per_epoch: int | None = Field(
        None,
        gt=0,
        description="samples that an epoch draws, by turns, of each pack its share; null: as many as there are in all",
    )
    grad_accum: int = Field(
        1, gt=0, description="parts that each process's share of a batch is computed in, one after another: less memory"
    )
    optimizer: Literal["adam", "adamw"] = Field(
        "adam", description="adamw: weight decay shrinks the weights themselves, whatever their gradients are"
    )
    learning_rate: float = Field(1e-3, gt=0, description="the optimizer's rate before the schedule lowers it")
    weight_decay: float = Field(
        0,
        ge=0,
        description="adam: an L2 penalty in the gradient; adamw: times the rate, the share that weights lose",
    )
    warmup_steps: int = Field(0, ge=0, description="steps over which the rate rises from 0, in a straight line")
    schedule: Literal["multistep", "cosine"] = Field(
        "multistep",
        description="multistep: times gamma after each milestone; cosine: down to final_learning_rate, step by step",
    )
    milestones: tuple[PositiveInt, ...] = Field(
        (),
        description="epochs after which the rate falls (multistep), rising; those after the run's end have no effect",
    )
    gamma: float = Field(0.1, gt=0, le=1, description="what the rate is multiplied by at a milestone (multistep)")
    final_learning_rate: float = Field(0, ge=0, description="what the rate falls to by the run's end (cosine)")
    clip_norm: float | None = Field(None, gt=0, description="largest L2 norm of each parameter tensor's gradient")
    clip_global_norm: float | None = Field(
        None, gt=0, description="largest L2 norm of all gradients together; instead of clip_norm"
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="share of the weights' running average that a step keeps; the average is validated and saved",
    )
    freeze: tuple[str, ...] = Field(
        (), description='parts of the network that learn nothing at first, by their parameters\' names: ["backbone"]'
    )
    freeze_epochs: int = Field(
        0, ge=0, description="epochs for which they learn nothing, batch norm's statistics included"
    )
    patience: int | None = Field(
        None, gt=0, description="stop after so many epochs without a lower MPJPE on val; it must not be trained on"
    )
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = Field(
        "float32",
        description="tf32: float32 by TensorFloat-32 cores; bfloat16, float16: the network under autocast",
    )
    channels_last: bool = Field(False, description="keep the weights pixel by pixel in memory, as images are")
    compile: bool = Field(False, description="compile the network by torch.compile at the first step")
    sync_batch_norm: bool = Field(
        False, description="batch norm's statistics are those of all processes' samples, not of each one's own"
    )
    seed: int = Field(
        0, ge=0, le=LARGEST_SEED, description="seed of the initial weights, the order and the augmentation"
    )

    @field_validator("milestones")
    @classmethod
    def _rising(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if any(after <= before for before, after in pairwise(milestones)):
            raise ValueError("milestones are epochs in rising order, such as [30, 60]")
        return milestones

    @model_validator(mode="after")
    def _together(self) -> TrainConfig:
        if self.clip_norm is not None and self.clip_global_norm is not None:
            raise ValueError("train.clip_norm and train.clip_global_norm exclude each other: set one of them to null")
        if self.final_learning_rate >= self.learning_rate:
            raise ValueError(
                f"train.final_learning_rate ({self.final_learning_rate:g}) is not below train.learning_rate "
                f"({self.learning_rate:g})"
            )
        if self.batch_size % self.grad_accum:
            valid = [number for number in range(1, min(self.batch_size, 1024) + 1) if self.batch_size % number == 0]
            raise ValueError(
                f"a batch of {self.batch_size} has no {self.grad_accum} equal parts; train.grad_accum may be "
                f"{', '.join(map(str, valid))}"
            )
        return self


class Recipe(Section):
    """A whole recipe: everything that a run depends on, except the data and the machine.

    model: of the plugin's own class; make recipes by load_recipe and parse_recipe, which know it.
    """

    summary: str = Field("", description="one line for `hmr models`")
    model: SerializeAsAny[Section]
    data: DataConfig | JointDataConfig
    augment: AugmentConfig | JointAugmentConfig
    train: TrainConfig


class ImageRecipe(Recipe):
    """The recipe of a model that consumes images."""

    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()


class JointRecipe(Recipe):
    """The recipe of a model that consumes joints."""

    data: JointDataConfig = JointDataConfig()
    augment: JointAugmentConfig = JointAugmentConfig()


def recipe_class(spec: ModelSpec) -> type[Recipe]:
    """Choose the class of a model's recipes by what the model consumes."""
    return JointRecipe if spec.consumes == "joints" else ImageRecipe


SECTIONS = ("model", "data", "augment", "train")


def changed_options(spec: ModelSpec, recipe: Recipe, other: Recipe) -> list[str]:
    """List the options of [model] and [data] that make a recipe's checkpoints another model than another recipe's.

    As overrides `key=value`, of the first recipe.
    """

    def values(of: Recipe) -> dict[str, Any]:
        dumped = of.model_dump(mode="json")
        keys = [key for key in options(spec) if not key.startswith(("augment.", "train."))]
        return {key: reduce(getitem, _path(key), dumped) for key in keys}

    own, its = values(recipe), values(other)
    return [f"{key}={value_text(value)}" for key, value in own.items() if value != its[key]]


def load_recipe(spec: ModelSpec, name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a model's recipe by name, apply `key=value` overrides, and check everything by name and type.

    Raises UsageError for an unknown recipe or key or a value of the wrong type, HmrError for a broken recipe file.
    """
    if name not in spec.recipes:
        hint = ("Where no ", Option("recipe"), " is given, it is published, which this model has not.")
        raise unknown_name(f"recipe of {spec.name}", name, spec.recipes, *(hint if name == "published" else ()))
    path = spec.recipes[name]
    try:
        values = tomllib.loads(read_bytes(path).decode())
    except (OSError, ValueError) as error:
        raise HmrError(
            f"recipe {name} of {spec.name} ({path}) cannot be read: {error}. Reinstall its package."
        ) from error
    recipe = parse_recipe(spec, values, source=f"recipe {name} of {spec.name} ({path})")
    return override(spec, recipe, overrides)


def parse_recipe(spec: ModelSpec, values: Mapping[str, Any], *, source: str) -> Recipe:
    """Make a recipe of plain values, such as a TOML file's or a checkpoint's; HmrError names the source and the key."""
    try:
        return _validated(spec, values)
    except ValidationError as error:
        raise HmrError(f"{source} is not valid: {first_problem(error)}") from error


def override(spec: ModelSpec, recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Apply each `key=value` to a recipe in turn; UsageError for an unknown key or a value of the wrong type."""
    values = recipe.model_dump(mode="json")
    places = {key: OptionPlace(_path(key), field.annotation) for key, field in options(spec).items()}
    given_by = GivenBy("set", command_line("hmr models", spec.name), "train.learning_rate=3e-4")
    apply_overrides(values, overrides, places, given_by, lambda: _validated(spec, values))
    changed = parse_recipe(spec, values, source=f"the recipe of {spec.name}")
    given = {text.partition("=")[0].strip().removeprefix("model.") for text in overrides}
    return changed.model_copy(update={"model": settle_backbones(changed.model, given)})


def _validated(spec: ModelSpec, values: Mapping[str, Any]) -> Recipe:
    # By way of JSON, since that is where pydantic's strict mode takes a list for a tuple but not "3" for 3.
    given = values.get("model", {})
    model = spec.config.model_validate_json(json_text(given), strict=True)
    rest = recipe_class(spec).model_validate_json(json_text({**values, "model": {}}), strict=True)
    return rest.model_copy(update={"model": model})


def options(spec: ModelSpec) -> dict[str, Any]:
    """Map every option of a model's recipe, by its dotted key as an override has it, to its pydantic field."""
    found: dict[str, Any] = {}
    for section in SECTIONS:
        config = spec.config if section == "model" else recipe_class(spec).model_fields[section].annotation
        assert isinstance(config, type)
        for key, field in option_fields(config, ()):
            found[".".join(key if section == "model" else (section, *key))] = field
    return found


def _path(key: str) -> tuple[str, ...]:
    """Where in a recipe's values an option of `options` lies."""
    path = tuple(key.split("."))
    return path if path[0] in SECTIONS else ("model", *path)
