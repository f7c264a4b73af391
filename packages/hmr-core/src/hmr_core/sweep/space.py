"""The space of a sweep: what its trials differ in, checked against the model's recipe before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from hmr_core.errors import UsageError
from hmr_core.option_text import value_kinds, value_text
from hmr_core.plugins.recipes import Recipe, load_recipe, options, override
from hmr_core.plugins.specs import ModelSpec
from hmr_core.sweep.definition import Range, Sweep, exact

MOST_POINTS = 1_000_000
"""Of a grid: they are all listed."""


@dataclass(frozen=True)
class Choice:
    """An option that has one of some values, as texts."""

    key: str
    texts: tuple[str, ...]

    @property
    def checked(self) -> tuple[str, ...]:
        """The values that are tried on the recipe: all of them."""
        return self.texts


@dataclass(frozen=True)
class Numbers:
    """An option that has a number of a range. whole: whether it takes whole numbers alone."""

    key: str
    range: Range
    whole: bool

    @property
    def checked(self) -> tuple[str, ...]:
        """The values that are tried on the recipe: both ends."""
        return value_text(self.range.low), value_text(self.range.high)


Dimension = Choice | Numbers


def dimensions(sweep: Sweep, spec: ModelSpec, path: Path) -> tuple[Dimension, ...]:
    """The dimensions of a sweep's space, and every value of a list and both ends of a range tried on the recipe.

    path: of the sweep's file, with which errors begin.
    Raises UsageError for keys and values that the recipe does not take, in the words that an override is refused by,
    and for what the sweep's method cannot search.
    """
    try:
        recipe = load_recipe(spec, sweep.recipe)
        found = tuple(_dimension(key, values, spec) for key, values in sweep.space.items())
        _check(sweep, spec, recipe, found)
        if sweep.method == "grid":
            found = tuple(_points(dimension) for dimension in found)
            _check_grid(sweep, found)
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", *error.remedy) from error
    return found


def recipes(sweep: Sweep, spec: ModelSpec, found: tuple[Dimension, ...]) -> Iterator[Recipe]:
    """The recipes by which a space is checked: each value of each option, with the first ones of the others."""
    recipe = load_recipe(spec, sweep.recipe)
    first = {dimension.key: dimension.checked[0] for dimension in found}
    for dimension in found:
        for text in dimension.checked:
            yield override(spec, recipe, texts(sweep, first | {dimension.key: text}))


def texts(sweep: Sweep, values: Mapping[str, str]) -> tuple[str, ...]:
    """The overrides of a trial: those of all trials, then its own."""
    return *sweep.overrides, *(f"{key}={text}" for key, text in values.items())


def grid_size(found: tuple[Dimension, ...]) -> int:
    """How many points a grid has."""
    return prod(len(dimension.checked) for dimension in found)


def _dimension(key: str, values: Range | tuple[str, ...], spec: ModelSpec) -> Dimension:
    if not isinstance(values, Range):
        return Choice(key, values)
    places = options(spec)
    field = places.get(key) or places.get(key.removeprefix("model."))
    taken = set(value_kinds(field.annotation)) if field else {float}  # that there is none is told when it is tried
    if not taken & {int, float}:
        raise UsageError(f"space.{key}: this option takes no numbers, so it needs a list of values, not a range.")
    return Numbers(key, values, whole=float not in taken)


def _check(sweep: Sweep, spec: ModelSpec, recipe: Recipe, found: tuple[Dimension, ...]) -> None:
    """UsageError for a key or a value that the recipe does not take, or that leaves nothing to compare trials by."""
    override(spec, recipe, sweep.overrides)
    for made in recipes(sweep, spec, found):
        if made.train.subset != "train":
            raise UsageError(
                f"a sweep compares trials by their figures on val, and this one trains on {made.train.subset}. "
                'Set "train.subset" = "train".'
            )


def _points(dimension: Dimension) -> Choice:
    """A dimension of a grid: the values of a range one by one."""
    if isinstance(dimension, Choice):
        return dimension
    span, step = dimension.range, dimension.range.step or (1 if dimension.whole else None)
    if step is None or span.log:
        raise UsageError(
            f"space.{dimension.key}: a grid has no values of a range without a step. Give a step, or list the values."
        )
    number = int((exact(span.high) - exact(span.low)) / exact(step)) + 1
    if number > MOST_POINTS:
        raise UsageError(f"space.{dimension.key}: {number:,} values are too many for a grid. Give a larger step.")
    values = (exact(span.low) + i * exact(step) for i in range(number))
    return Choice(dimension.key, tuple(value_text(int(value) if dimension.whole else float(value)) for value in values))


def _check_grid(sweep: Sweep, found: tuple[Dimension, ...]) -> None:
    size = grid_size(found)
    if size > MOST_POINTS:
        raise UsageError(f"a grid of {size:,} points is too large. Give fewer values, or another method.")
    if sweep.trials is not None and sweep.trials > size:
        raise UsageError(f"trials is {sweep.trials}, and the grid has {size} points. Leave trials out to try them all.")
