"""Configurations: frozen records that refuse unknown keys, and the `key=value` overrides of their options.

An override must have an effect (see `OnlyWith`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hmr_core.errors import Option, UsageError
from hmr_core.option_names import meant
from hmr_core.option_text import json_text, read_value, value_text


class OnlyWith(NamedTuple):
    """A rule: an option of a section has an effect only where another option of the section has certain values.

    option: the key of one option, or of a section within the section, which means every option in it. values: empty
    means any value but 0, null and the empty list.
    """

    option: str
    other: str
    values: tuple[Any, ...] = ()


class Section(BaseModel):
    """A part of a recipe: frozen, and an unknown key is an error.

    only_with: an option that has no effect is refused when a user gives it; a recipe may hold it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    only_with: ClassVar[tuple[OnlyWith, ...]] = ()


class ModelConfig(Section):
    """The base of configurations of models of images. Models of joints subclass Section instead."""

    image_size: int = Field(gt=0, le=4096, description="side of the square crop that the model sees, in pixels")


S = TypeVar("S", bound=Section)


def configure(kind: type[S], values: Mapping[str, Any], overrides: Sequence[str], given_by: GivenBy) -> S:
    """Make a section of plain values, with each `key=value` applied in turn; all else has its default.

    Raises UsageError for an unknown key or a value of the wrong type, and pydantic's own error for the plain values.
    """
    changed: dict[str, Any] = json.loads(json_text(dict(values)))

    def validated() -> S:
        return kind.model_validate_json(json_text(changed), strict=True)

    validated()
    places = {key: OptionPlace(tuple(key.split(".")), field.annotation) for key, field in section_options(kind).items()}
    apply_overrides(changed, overrides, places, given_by, validated)
    return validated()


def section_options(kind: type[Section]) -> dict[str, Any]:
    """Map every option of a section, by its dotted key as an override has it, to its pydantic field."""
    return {".".join(key): field for key, field in option_fields(kind, ())}


class GivenBy(NamedTuple):
    """How a user gives overrides: by which option, the command that lists the keys, an override that works."""

    option: str
    command: str
    example: str


class OptionPlace(NamedTuple):
    """Where an option's value lies among the values, and its type."""

    path: tuple[str, ...]
    type: Any


def apply_overrides(
    values: dict[str, Any],
    overrides: Sequence[str],
    places: Mapping[str, OptionPlace],
    given_by: GivenBy,
    validate: Callable[[], Section],
) -> None:
    """Put each `key=value` into its place in `values`.

    Each value is checked at once. Whether options go together, and whether each has an effect, is checked when all of
    them are set, so that their order does not matter.
    """
    given: dict[str, str] = {}
    against: dict[str, str] = {}
    for number, text in enumerate(overrides, start=1):
        key, separator, value = text.partition("=")
        if not separator:
            raise UsageError(
                f'"{text}" is not key=value.', Option(given_by.option), f" takes key=value, such as {given_by.example}."
            )
        name = key.strip()
        name = name if name in places else name.removeprefix("model.")
        if name not in places:
            raise UsageError(
                f'unknown option "{key.strip()}".{meant(name, places)}',
                f"`{given_by.command}` lists what ",
                Option(given_by.option),
                " takes.",
            )
        if not _is_unicode(value):
            raise UsageError(f"{key}=...: the value is not UTF-8. If it is a path, rename the file.")
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
            if _is_of_a_section(error):
                problem = first_problem(error, with_place=False)
                against.setdefault(problem, text)  # what is given next has nothing to do with it
                if number < len(overrides):
                    continue
                raise UsageError(f"{against[problem]}: {problem}") from error
            raise UsageError(
                f'{text}: "{value}" is not valid for {key}: {first_problem(error, with_place=False)} '
                f"`{given_by.command}` lists the options with their types."
            ) from error
    keys = {place.path: key for key, place in places.items()}
    for name, text in given.items():
        for depth, needs, has in _without_effect(checked, places[name].path):
            other = keys[(*places[name].path[:depth], *needs.other.split("."))]
            remedy = f"Set {other}={value_text(needs.values[0])}, too" if needs.values else "Set that, too"
            raise UsageError(
                f"{text}: {name} has no effect where {other} is {value_text(has)}. {remedy}, or leave {name} out."
            )


def _is_of_a_section(error: ValidationError) -> bool:
    """Whether the first problem is one of a section as a whole: its options do not go together."""
    problem = error.errors()[0]
    return not problem["loc"] or (problem["type"] == "value_error" and isinstance(problem["input"], Mapping))


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


def option_fields(config: type[BaseModel], prefix: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], Any]]:
    """Go through the options of a section and of the sections in it: where each lies, and its pydantic field."""
    for name, field in config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from option_fields(kind, (*prefix, name))
        else:
            yield (*prefix, name), field


def first_problem(error: ValidationError, *, with_place: bool = True) -> str:
    """Word the first problem that pydantic found as a sentence. with_place: whether to begin with the option's key."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    text = problem["msg"].removeprefix("Value error, ")  # pydantic's name for what a section says itself
    return f"{place}: {text}." if with_place and place else f"{text}."
