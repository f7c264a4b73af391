"""Recipes: what a model is, what data it sees and how it trains, as frozen records that refuse unknown keys.

A recipe is a TOML file in a plugin with the sections [model], [data], [augment] and [train]. `--set key=value`
overrides one value; a key that does not begin with the name of a section is a key of [model]. What an override gives
must have an effect; what a recipe holds besides is kept for the day when it has one (see `OnlyWith`).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import pairwise
from operator import getitem
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, SerializeAsAny, ValidationError, field_validator

from hmr_core.errors import HmrError, UsageError, unknown_name
from hmr_core.files import read_bytes
from hmr_core.option_names import meant
from hmr_core.option_text import json_text, read_value, value_text
from hmr_core.shell import command_line

if TYPE_CHECKING:
    from hmr_core.plugins.specs import ModelSpec


MOST_EPOCHS = 1_000_000
LARGEST_SEED = 2**63 - 1
"""TOML's largest integer. PyTorch takes seeds below 2**64, and an epoch's seed is the seed plus the epoch."""


class OnlyWith(NamedTuple):
    """That an option of a section has an effect only where another one of it has certain values.

    option: the key of one option, or of a section within the section and so of all in it. values: none for any but 0,
    null and the empty list.
    """

    option: str
    other: str
    values: tuple[Any, ...] = ()


class Section(BaseModel):
    """A part of a recipe: frozen, and an unknown key is an error.

    only_with: an option that a user gives where it has no effect is refused; a recipe may hold it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    only_with: ClassVar[tuple[OnlyWith, ...]] = ()


class ModelConfig(Section):
    """What the configuration of every model of images has; plugins subclass it, models of joints Section itself."""

    image_size: int = Field(gt=0, le=4096, description="side of the square crop that the model sees, in pixels")


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
    """How a model is trained: Adam, a schedule by epochs, gradients clipped one parameter tensor at a time."""

    only_with = (
        OnlyWith("milestones", "schedule", ("multistep",)),
        OnlyWith("gamma", "schedule", ("multistep",)),
        OnlyWith("gamma", "milestones"),
    )

    subset: Literal["train", "train+val"] = Field("train", description="what to train on; never test")
    epochs: int = Field(gt=0, le=MOST_EPOCHS, description="passes over the training subset")
    batch_size: int = Field(gt=0, description="samples in a step; a last partial batch is dropped")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's rate at the start")
    weight_decay: float = Field(0, ge=0, description="Adam's L2 penalty")
    schedule: Literal["multistep", "cosine"] = Field(
        "multistep", description="multistep: times gamma after each milestone; cosine: down to zero, step by step"
    )
    milestones: tuple[PositiveInt, ...] = Field(
        (), description="epochs after which the rate falls (multistep), in rising order; later ones than the last wait"
    )
    gamma: float = Field(0.1, gt=0, le=1, description="what the rate is multiplied by at a milestone (multistep)")
    clip_norm: float | None = Field(None, gt=0, description="largest L2 norm of each parameter tensor's gradient")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="bfloat16 runs the trunk under autocast")
    seed: int = Field(
        0, ge=0, le=LARGEST_SEED, description="seed of the initial weights, the order and the augmentation"
    )

    @field_validator("milestones")
    @classmethod
    def _rising(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if any(after <= before for before, after in pairwise(milestones)):
            raise ValueError("milestones are epochs in rising order, such as [30, 60]")
        return milestones


class Recipe(Section):
    """A whole recipe: everything that a run depends on, but for the data and the machine.

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
    """The class of a model's recipes."""
    return JointRecipe if spec.consumes == "joints" else ImageRecipe


SECTIONS = ("model", "data", "augment", "train")


def changed_options(spec: ModelSpec, recipe: Recipe, other: Recipe) -> list[str]:
    """By what of [model] and [data] a recipe's checkpoints are another model than those of another recipe.

    As `--set` takes it: `key=value`, of the first recipe.
    """

    def values(of: Recipe) -> dict[str, Any]:
        dumped = of.model_dump(mode="json")
        keys = [key for key in options(spec) if not key.startswith(("augment.", "train."))]
        return {key: reduce(getitem, _path(key), dumped) for key in keys}

    own, its = values(recipe), values(other)
    return [f"{key}={value_text(value)}" for key, value in own.items() if value != its[key]]


S = TypeVar("S", bound=Section)


def load_recipe(spec: ModelSpec, name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A model's recipe by name, with `key=value` overrides applied and everything checked by name and type.

    Raises UsageError for an unknown recipe or key or a value of the wrong type, HmrError for a broken recipe file.
    """
    if name not in spec.recipes:
        hint = "Without --recipe it is published, which this model has not." if name == "published" else ""
        raise unknown_name(f"recipe of {spec.name}", name, spec.recipes, hint)
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
    """A recipe from plain values, such as a TOML file's or a checkpoint's; HmrError names the source and the key."""
    try:
        return _validated(spec, values)
    except ValidationError as error:
        raise HmrError(f"{source} is not valid: {_first_problem(error)}") from error


def override(spec: ModelSpec, recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe with each `key=value` applied in turn; UsageError for an unknown key or a value of the wrong type."""
    values = recipe.model_dump(mode="json")
    places = {key: _Place(_path(key), field.annotation) for key, field in options(spec).items()}
    flag = _Flag("--set", f"`{command_line('hmr models', spec.name)}`", "train.learning_rate=3e-4")
    _apply(values, overrides, places, flag, lambda: _validated(spec, values))
    return parse_recipe(spec, values, source=f"the recipe of {spec.name}")


def configure(
    kind: type[S], values: Mapping[str, Any], overrides: Sequence[str], *, flag: str, command: str, example: str
) -> S:
    """A section from plain values, with each `key=value` applied in turn; what neither gives has its default.

    flag, command, example: what the overrides were given by, what lists the options, an override that could be given.
    Raises UsageError for an unknown key or a value of the wrong type, and pydantic's own error for the plain values.
    """
    changed: dict[str, Any] = json.loads(json_text(dict(values)))

    def validated() -> S:
        return kind.model_validate_json(json_text(changed), strict=True)

    validated()
    places = {key: _Place(tuple(key.split(".")), field.annotation) for key, field in section_options(kind).items()}
    _apply(changed, overrides, places, _Flag(flag, f"`{command}`", example), validated)
    return validated()


def section_options(kind: type[Section]) -> dict[str, Any]:
    """Every option of a section: dotted key, as an override takes it, to its pydantic field."""
    return {".".join(key): field for key, field in _leaves(kind, ())}


class _Flag(NamedTuple):
    """How a command takes overrides: its option, the command that lists the keys, an override that works."""

    name: str
    command: str
    example: str


class _Place(NamedTuple):
    """Where an option's value lies among the values, and its type."""

    path: tuple[str, ...]
    type: Any


def _apply(
    values: dict[str, Any],
    overrides: Sequence[str],
    places: Mapping[str, _Place],
    flag: _Flag,
    validate: Callable[[], Section],
) -> None:
    """Put each `key=value` into its place in `values`.

    Each value is checked at once; whether options go together and have an effect, when all of them are set, so that
    their order is free.
    """
    given: dict[str, str] = {}
    against: dict[str, str] = {}
    for number, text in enumerate(overrides, start=1):
        key, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f'{flag.name} takes key=value, not "{text}". Example: {flag.name} {flag.example}')
        name = key.strip()
        name = name if name in places else name.removeprefix("model.")
        if name not in places:
            raise UsageError(
                f'{flag.name}: unknown option "{key.strip()}".{meant(name, places)} {flag.command} lists the options.'
            )
        if not _is_unicode(value):
            raise UsageError(f"{flag.name} {key}=...: the value is not UTF-8. If it is a path, rename the file.")
        path, kind = places[name]
        place = values
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = read_value(kind, value.strip())
        given[name] = text
        try:
            checked = validate()
            against.clear()
        except ValidationError as error:
            if not error.errors()[0]["loc"]:  # of the section as a whole
                problem = _first_problem(error, with_place=False)
                against.setdefault(problem, text)  # what is given next has nothing to do with it
                if number < len(overrides):
                    continue
                raise UsageError(f"{flag.name} {against[problem]}: {problem}") from error
            raise UsageError(
                f'{flag.name} {text}: "{value}" is not valid for {key}: {_first_problem(error, with_place=False)} '
                f"{flag.command} lists the options with their types."
            ) from error
    keys = {place.path: key for key, place in places.items()}
    for name, text in given.items():
        for depth, needs, has in _without_effect(checked, places[name].path):
            other = keys[(*places[name].path[:depth], *needs.other.split("."))]
            remedy = f"Set {other}={value_text(needs.values[0])}, too" if needs.values else "Set that, too"
            raise UsageError(
                f"{flag.name} {text}: {name} has no effect where {other} is {value_text(has)}. {remedy}, or leave "
                f"{name} out."
            )


def _without_effect(section: Section, path: tuple[str, ...]) -> Iterator[tuple[int, OnlyWith, Any]]:
    """What an option's value has no effect for, none if it has: how deep the section is that says so, and what it has.

    What is off, as at 0, lacks nothing.
    """
    if not reduce(getattr, path, section):
        return
    place = section
    for depth in range(len(path)):
        for needs in place.only_with:
            part = tuple(needs.option.split("."))
            has: Any = reduce(getattr, needs.other.split("."), place)
            if path[depth : depth + len(part)] == part and (has not in needs.values if needs.values else not has):
                yield depth, needs, has.model_dump() if isinstance(has, Section) else has
        place = getattr(place, path[depth])


def _is_unicode(text: str) -> bool:
    """Whether a text is no bytes in disguise, as an argument is that is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _validated(spec: ModelSpec, values: Mapping[str, Any]) -> Recipe:
    # By way of JSON, since that is where pydantic's strict mode takes a list for a tuple but not "3" for 3.
    given = values.get("model", {})
    model = spec.config.model_validate_json(json_text(given), strict=True)
    rest = recipe_class(spec).model_validate_json(json_text({**values, "model": {}}), strict=True)
    return rest.model_copy(update={"model": model})


def options(spec: ModelSpec) -> dict[str, Any]:
    """Every option of a model's recipe: dotted key, as `--set` takes it, to its pydantic field."""
    found: dict[str, Any] = {}
    for section in SECTIONS:
        config = spec.config if section == "model" else recipe_class(spec).model_fields[section].annotation
        assert isinstance(config, type)
        for key, field in _leaves(config, ()):
            found[".".join(key if section == "model" else (section, *key))] = field
    return found


def _leaves(config: type[BaseModel], prefix: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], Any]]:
    for name, field in config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _leaves(kind, (*prefix, name))
        else:
            yield (*prefix, name), field


def _path(key: str) -> tuple[str, ...]:
    """Where in a recipe's values an option of `options` lies."""
    path = tuple(key.split("."))
    return path if path[0] in SECTIONS else ("model", *path)


def _first_problem(error: ValidationError, *, with_place: bool = True) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    text = problem["msg"].removeprefix("Value error, ")  # pydantic's name for what a section says itself
    return f"{place}: {text}." if with_place and place else f"{text}."
